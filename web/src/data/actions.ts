// What a reader can do. Each changes the state, asks the server, or both; what fails is told in `trouble`.

import { api, ApiError, follow, setKey, type Turn } from "./api";
import type { Effort, Mode, RunEvent } from "./events";
import { cutOff, emptyRun, fold, isOver, type Run } from "./run";
import { get, remember, set } from "./state";

const RETRY_MS = [300, 700, 1500, 3000, 5000];
const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));

function tell(error: unknown): void {
  if (error instanceof ApiError && error.status === 401) set({ needsKey: true });
  else set({ trouble: error instanceof Error ? error.message : String(error) });
}

export async function start(): Promise<void> {
  try {
    const me = await api.me();
    set({ me, needsKey: false, isOffline: false, model: get().model ?? me.models[0]?.id ?? null });
    await refreshList();
    await openFromAddress();
  } catch (error) {
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) set({ needsKey: true });
    else {
      set({ isOffline: true });
      await wait(2000);
      void start();
    }
  }
}

export async function signIn(value: string): Promise<string | null> {
  setKey(value.trim());
  try {
    await api.me();
  } catch (error) {
    setKey(null);
    return error instanceof Error ? error.message : String(error);
  }
  await start();
  return null;
}

export function signOut(): void {
  setKey(null);
  location.hash = "";
  location.reload();
}

// Conversations.

export async function refreshList(): Promise<void> {
  const search = get().search;
  try {
    const found = await api.conversations(search);
    if (search === get().search) set({ list: found.data, hasMore: found.has_more });
  } catch (error) {
    tell(error);
  }
}

export async function moreOfList(): Promise<void> {
  const { list, search } = get();
  const last = list.at(-1);
  if (!last) return;
  try {
    const found = await api.conversations(search, last.changed);
    const known = new Set(list.map((item) => item.id));
    set({ list: [...list, ...found.data.filter((item) => !known.has(item.id))], hasMore: found.has_more });
  } catch (error) {
    tell(error);
  }
}

export function searchFor(search: string): void {
  set({ search });
  void refreshList();
}

/** The address names what is open: #/c/ID, #/account, or nothing. */
export async function openFromAddress(): Promise<void> {
  const [, kind, id] = location.hash.split("/");
  set({ isMenuOpen: false, inside: null });
  if (kind === "account") set({ view: "account" });
  else if (kind === "c" && id) await open(decodeURIComponent(id));
  else set({ view: "chat", openId: null, title: "", turns: [], chosen: {} });
}

async function open(id: string): Promise<void> {
  set({ view: "chat" });
  if (get().openId === id) return;
  // A browser has few connections to one server; runs that are not read are found again when they are.
  for (const following of followed.values()) following.abort();
  set({ openId: id, turns: [], chosen: {}, title: "", isLoading: true, trouble: null });
  try {
    await reload(id);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) location.hash = "#/";
    tell(error);
  } finally {
    if (get().openId === id) set({ isLoading: false });
  }
}

async function reload(id: string): Promise<void> {
  const found = await api.conversation(id);
  if (get().openId !== id) return;
  // Turns that are as they were stay the same objects, and are not drawn anew.
  const known = new Map(get().turns.map((turn) => [turn.id, turn]));
  const turns = found.turns.map((turn) => {
    const old = known.get(turn.id);
    return old && old.status === turn.status && (old.replied === null) === (turn.replied === null) ? old : turn;
  });
  set({ turns, title: found.title, isOffline: false });
  for (const turn of found.turns) if (turn.status === "running") void watch(turn.run_id);
}

export async function rename(id: string, title: string): Promise<void> {
  try {
    await api.rename(id, title);
    if (get().openId === id) set({ title });
    await refreshList();
  } catch (error) {
    tell(error);
  }
}

export async function forget(id: string): Promise<void> {
  try {
    await api.forget(id);
    if (get().openId === id) location.hash = "#/";
    await refreshList();
  } catch (error) {
    tell(error);
  }
}

export async function save(id: string, title: string, format: "json" | "markdown"): Promise<void> {
  try {
    const url = URL.createObjectURL(await api.exportAs(id, format));
    const link = document.createElement("a");
    link.href = url;
    link.download = `${(title || "conversation").replace(/[^\p{L}\p{N} _-]+/gu, "").slice(0, 60).trim() || "conversation"}.${format === "json" ? "json" : "md"}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    tell(error);
  }
}

// The tree of turns.

const ROOT = "";

/** Turns with the same parent as `turn`, oldest first. */
export function siblings(turns: readonly Turn[], turn: Turn): Turn[] {
  return turns.filter((other) => other.parent === turn.parent);
}

/** The turns that are shown: from the root down, of each fork the chosen branch, or the newest. */
export function pathOf(turns: readonly Turn[], chosen: Readonly<Record<string, string>>): Turn[] {
  const children = new Map<string, Turn[]>();
  for (const turn of turns) {
    const parent = turn.parent ?? ROOT;
    children.set(parent, [...(children.get(parent) ?? []), turn]);
  }
  const path: Turn[] = [];
  let here = ROOT;
  for (;;) {
    const next = children.get(here) ?? [];
    const turn = next.find((one) => one.id === chosen[here]) ?? next.at(-1);
    if (!turn || path.includes(turn)) return path;
    path.push(turn);
    here = turn.id;
  }
}

export function choose(turn: Turn): void {
  set({ chosen: { ...get().chosen, [turn.parent ?? ROOT]: turn.id } });
}

// Asking.

export async function ask(text: string, files: string[], parent: string | null): Promise<void> {
  const { mode, effort, model, me } = get();
  let id = get().openId;
  let isNew = false;
  set({ sending: { text, conversation: id }, trouble: null });
  try {
    if (id === null) {
      id = (await api.newConversation()).id;
      isNew = true;
    }
    const asked = await api.ask(id, {
      text, files, parent, mode, ...(mode !== "instant" && effort ? { effort } : {}),
      ...(model && me && me.models.length > 1 ? { model } : {}),
    });
    if (isNew) {
      isNew = false;
      set({ openId: id, turns: [], chosen: {}, title: "" });
      history.replaceState(null, "", `#/c/${encodeURIComponent(id)}`);
    }
    if (get().openId !== id) return;
    set({ chosen: { ...get().chosen, [parent ?? ROOT]: asked.turn_id } });
    void watch(asked.run_id);
    await reload(id);
    void refreshList();
  } catch (error) {
    tell(error);
    if (isNew && id) await api.forget(id).catch(() => undefined); // nothing was said in it
    throw error;
  } finally {
    set({ sending: null });
  }
}

/** Names by which the files of a turn can be asked about again. */
export function filesOf(turn: Turn): string[] {
  return turn.asked.flatMap((message) =>
    message.parts.flatMap((part) => (part.type === "text" ? [] : [`sha256:${part.sha256}`])),
  );
}

export function textOf(turn: Turn): string {
  const asked = turn.asked.filter((message) => message.role === "user").at(-1);
  return (asked?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");
}

export const retry = (turn: Turn) => ask(textOf(turn), filesOf(turn), turn.parent).catch(() => undefined);

export async function stop(runId: string): Promise<void> {
  try {
    await api.cancel(runId);
  } catch (error) {
    tell(error);
  }
}

// Runs.

const watched = new Map<string, Promise<void>>();
const followed = new Map<string, AbortController>();
const lost = new Set<string>();

/** Whether a run's events are no longer there. */
export const isLost = (runId: string) => lost.has(runId);

/** Follow a run to its end, through lost connections and restarts of the server. */
export function watch(runId: string): Promise<void> {
  const known = watched.get(runId);
  if (known) return known;
  const run = get().runs[runId];
  if (lost.has(runId) || (run && isOver(run))) return Promise.resolve();
  const following = new AbortController();
  followed.set(runId, following);
  const work = followToEnd(runId, following.signal).finally(() => {
    if (watched.get(runId) !== work) return;
    watched.delete(runId);
    followed.delete(runId);
  });
  watched.set(runId, work);
  following.signal.addEventListener("abort", () => watched.delete(runId));
  return work;
}

async function followToEnd(runId: string, signal: AbortSignal): Promise<void> {
  if (!get().runs[runId]) put(emptyRun(runId));
  for (let tries = 0; ; tries++) {
    const before = get().runs[runId]!.seq;
    try {
      for await (const found of follow(runId, before, signal)) {
        set({ isOffline: false });
        if (found === "cut") put(cutOff(get().runs[runId]!));
        else queue(runId, found);
      }
      flush();
      if (isOver(get().runs[runId]!)) break;
    } catch (error) {
      flush();
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status < 500 && error.status !== 429) {
        // What happened in it is no longer there; the conversation still says what came of it.
        lost.add(runId);
        set({ runs: Object.fromEntries(Object.entries(get().runs).filter(([id]) => id !== runId)) });
        if (error.status !== 404) tell(error);
        return;
      }
      set({ isOffline: true });
    }
    if (get().runs[runId]!.seq > before) tries = 0;
    await wait(RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]!);
    if (signal.aborted) return;
  }
  const { openId, turns } = get();
  const turn = turns.find((one) => one.run_id === runId);
  if (openId && turn && turn.status === "running") await reload(openId).catch(() => undefined);
}

function put(run: Run): void {
  set({ runs: { ...get().runs, [run.id]: run } });
}

// Events come in by the hundred a second; the page is drawn once a frame.

const waiting = new Map<string, RunEvent[]>();
let isDue = false;

function queue(runId: string, events: RunEvent[]): void {
  waiting.set(runId, [...(waiting.get(runId) ?? []), ...events]);
  if (isDue) return;
  isDue = true;
  // A hidden page gets no frames, and must not fall behind.
  if (document.visibilityState === "hidden") setTimeout(flush, 100);
  else requestAnimationFrame(flush);
}

function flush(): void {
  isDue = false;
  if (!waiting.size) return;
  const runs = { ...get().runs };
  for (const [runId, events] of waiting) runs[runId] = fold(runs[runId] ?? emptyRun(runId), events);
  waiting.clear();
  set({ runs });
}

// Settings.

export function setMode(mode: Mode): void {
  remember("mode", mode);
  set({ mode });
}

export function setEffort(effort: Effort | null): void {
  remember("effort", effort ?? "");
  set({ effort });
}
