import { lazy, Suspense, useEffect, useMemo, useState, type ReactElement } from "react";

import { openFromAddress, searchFor, start, stop } from "./data/actions";
import { isOver } from "./data/run";
import { get, set, useStore } from "./data/state";
import { Icon } from "./parts/icons";
import { SignIn, Account } from "./views/account";
import { ConversationMenu, Sidebar } from "./views/sidebar";
import { Thread } from "./views/thread";
import { en, type Words } from "./words/en";
import { firstLanguage, isLanguage, loadWords, makeSay, Saying, useSay, type Language } from "./words";

const InsideView = lazy(() => import("./views/inside"));

export function App(): ReactElement {
  const [language, setLanguage] = useState<Language>(firstLanguage);
  const [words, setWords] = useState<{ language: Language; words: Words }>({ language: "en", words: en });
  const told = useStore((state) => state.me?.language);
  useEffect(() => {
    let isHere = true;
    void loadWords(language).then((found) => {
      if (!isHere) return;
      setWords({ language, words: found });
      document.documentElement.lang = language;
    });
    return () => {
      isHere = false;
    };
  }, [language]);
  useEffect(() => {
    if (isLanguage(told) && !localStorage.getItem("narthex.language")) setLanguage(told);
  }, [told]);
  const saying = useMemo(() => ({
    say: makeSay(words.language, words.words),
    setLanguage: (wanted: Language) => {
      localStorage.setItem("narthex.language", wanted);
      setLanguage(wanted);
    },
  }), [words]);
  return <Saying.Provider value={saying}><Shell /></Saying.Provider>;
}

function Shell(): ReactElement {
  const say = useSay();
  const needsKey = useStore((state) => state.needsKey);
  const view = useStore((state) => state.view);
  const isInside = useStore((state) => state.inside !== null);
  const openId = useStore((state) => state.openId);
  const title = useStore((state) => state.title);
  useEffect(() => {
    void start();
    const onHash = () => void openFromAddress();
    window.addEventListener("hashchange", onHash);
    window.addEventListener("keydown", onKey);
    return () => {
      window.removeEventListener("hashchange", onHash);
      window.removeEventListener("keydown", onKey);
    };
  }, []);
  const name = view === "account" ? say("account") : openId ? title || say("untitled") : "";
  useEffect(() => {
    document.title = name ? `${name} · ${say("appName")}` : say("appName");
  }, [name, say]);
  if (needsKey) return <SignIn />;
  return (
    <div className="shell">
      <a className="skip" href="#question" onClick={(event) => { event.preventDefault(); document.getElementById("question")?.focus(); }}>{say("skip")}</a>
      <Sidebar />
      <main className="main">
        <header className="top">
          <button type="button" className="icon-button only-narrow" aria-label={say("menu")} onClick={() => set({ isMenuOpen: true })}><Icon name="menu" /></button>
          <span className="top-title">{view === "chat" ? name : ""}</span>
          {view === "chat" && openId && <ConversationMenu key={openId} id={openId} title={title} label={say("options")} />}
        </header>
        <Trouble />
        {view === "account" ? <Account /> : <Thread />}
      </main>
      {isInside && <Suspense><InsideView /></Suspense>}
    </div>
  );
}

function Trouble(): ReactElement | null {
  const say = useSay();
  const trouble = useStore((state) => state.trouble);
  const isOffline = useStore((state) => state.isOffline);
  if (!trouble && !isOffline) return null;
  return (
    <div className="trouble" role="alert">
      <span>{isOffline ? say("offline") : trouble}</span>
      {!isOffline && <button type="button" className="icon-button" aria-label={say("dismiss")} onClick={() => set({ trouble: null })}><Icon name="close" size={16} /></button>}
    </div>
  );
}

function onKey(event: globalThis.KeyboardEvent): void {
  const hasCommand = event.ctrlKey || event.metaKey;
  if (hasCommand && event.key.toLowerCase() === "k") {
    event.preventDefault();
    set({ isMenuOpen: true });
    searchFor(get().search);
    setTimeout(() => document.getElementById("search")?.focus());
  } else if (hasCommand && event.shiftKey && event.key.toLowerCase() === "o") {
    event.preventDefault();
    location.hash = "#/";
    setTimeout(() => document.getElementById("question")?.focus());
  } else if (event.key === "Escape" && !document.querySelector("dialog[open], [role=menu]")) {
    set({ isMenuOpen: false });
    const running = Object.values(get().runs).find((run) => !isOver(run) && get().turns.some((turn) => turn.run_id === run.id));
    if (running) void stop(running.id);
  }
}
