import { useSyncExternalStore } from "react";

export type Theme = "auto" | "light" | "dark";

const listeners = new Set<() => void>();

export function theme(): Theme {
  const kept = localStorage.getItem("narthex.theme");
  return kept === "light" || kept === "dark" ? kept : "auto";
}

/** public/assets/theme.js does the same before the first frame. */
export function setTheme(wanted: Theme): void {
  localStorage.setItem("narthex.theme", wanted);
  if (wanted === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = wanted;
  for (const listener of listeners) listener();
}

export function useTheme(): Theme {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, theme);
}
