// What the page knows, outside of React: one object, replaced whenever something changes.

import { useSyncExternalStore } from "react";

import type { ConversationItem, Me, Turn } from "./api";
import type { Effort, Mode } from "./events";
import type { Run } from "./run";

export type View = "chat" | "account";

export interface State {
  me: Me | null;
  needsKey: boolean;
  isOffline: boolean;
  view: View;
  list: ConversationItem[];
  hasMore: boolean;
  search: string;
  openId: string | null;
  title: string;
  turns: Turn[];
  chosen: Record<string, string>; // of turns with one parent, which is shown; "" is the root
  isLoading: boolean;
  sending: { text: string; conversation: string | null } | null;
  trouble: string | null;
  mode: Mode;
  effort: Effort | null;
  model: string | null;
  runs: Record<string, Run>;
  inside: { runId: string; agentId: string; turn: number } | null;
  isMenuOpen: boolean;
}

function remembered<T extends string>(name: string, fallback: T): T {
  return (localStorage.getItem(`narthex.${name}`) as T | null) ?? fallback;
}

let state: State = {
  me: null, needsKey: false, isOffline: false, view: "chat", list: [], hasMore: false, search: "", openId: null,
  title: "", turns: [], chosen: {}, isLoading: false, sending: null, trouble: null,
  mode: remembered<Mode>("mode", "thinking"), effort: (remembered<string>("effort", "") || null) as Effort | null,
  model: null, runs: {}, inside: null, isMenuOpen: false,
};

const listeners = new Set<() => void>();

export function get(): State {
  return state;
}

export function set(changes: Partial<State>): void {
  state = { ...state, ...changes };
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** A part of the state; the component is drawn again when that part is another object. */
export function useStore<T>(pick: (state: State) => T): T {
  return useSyncExternalStore(subscribe, () => pick(state));
}

export function remember(name: string, value: string): void {
  localStorage.setItem(`narthex.${name}`, value);
}
