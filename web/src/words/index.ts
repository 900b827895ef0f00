// The page's words in five languages. English comes with the page, the others when they are chosen.

import { createContext, useContext } from "react";

import { en, type Words } from "./en";

export const LANGUAGES = { en: "English", ru: "Русский", uk: "Українська", pt: "Português", zh: "中文" } as const;
export type Language = keyof typeof LANGUAGES;
export type WordName = keyof Words;
type Values = Record<string, string | number>;

const LOAD: Record<Exclude<Language, "en">, () => Promise<Words>> = {
  ru: async () => (await import("./ru")).ru,
  uk: async () => (await import("./uk")).uk,
  pt: async () => (await import("./pt")).pt,
  zh: async () => (await import("./zh")).zh,
};

export function isLanguage(name: string | null | undefined): name is Language {
  return !!name && name in LANGUAGES;
}

export async function loadWords(language: Language): Promise<Words> {
  return language === "en" ? en : LOAD[language]();
}

/** The reader's choice in this browser, else what the browser prefers, else English. */
export function firstLanguage(): Language {
  const kept = localStorage.getItem("narthex.language");
  if (isLanguage(kept)) return kept;
  for (const wanted of navigator.languages) {
    const base = wanted.split("-")[0]!.toLowerCase();
    if (isLanguage(base)) return base;
  }
  return "en";
}

export interface Say {
  (name: WordName, values?: Values): string;
  language: Language;
  number(value: number, digits?: number): string;
  percent(value: number): string;
  seconds(value: number): string;
  day(time: number): string;
}

export function makeSay(language: Language, words: Words): Say {
  const plural = new Intl.PluralRules(language);
  const whole = new Intl.NumberFormat(language);
  const percents = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
  const days = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const say = ((name, values = {}) => {
    const entry = words[name] ?? en[name];
    const count = typeof values["n"] === "number" ? values["n"] : 0;
    const text = typeof entry === "string" ? entry : (entry[plural.select(count)] ?? entry.other);
    return text.replace(/\{(\w+)\}/g, (_, key: string) => {
      const value = values[key];
      return typeof value === "number" ? whole.format(value) : (value ?? "");
    });
  }) as Say;
  say.language = language;
  say.number = (value, digits = 0) => new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
  // What is nearly certain is not told as certain.
  say.percent = (value) => (value < 1 && value >= 0.995 ? `> ${percents.format(0.99)}` : percents.format(value));
  say.seconds = (value) => say("seconds", { s: say.number(value, value < 100 ? 1 : 0) });
  say.day = (time) => days.format(time * 1000);
  return say;
}

export const Saying = createContext<{ say: Say; setLanguage: (language: Language) => void }>({
  say: makeSay("en", en), setLanguage: () => undefined,
});

export function useSay(): Say {
  return useContext(Saying).say;
}
