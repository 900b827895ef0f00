// The server's routes (docs/api.md). The key, where one is needed, stays in this browser and goes out as a header.

import type { Message, Mode, RunEvent } from "./events";

const KEY = "narthex.key";

export class ApiError extends Error {
  constructor(message: string, readonly status: number, readonly code: string | null) {
    super(message);
  }
}

export interface Me {
  user: string;
  groups: string[];
  role: string;
  keys_required: boolean;
  models: { id: string; modes: Mode[]; capabilities: unknown; is_embedded: boolean }[];
  tools: string[];
  quota: Quota | null;
  language: string | null;
}
export type Quota = Record<string, number | string | null>;

export interface ConversationItem {
  id: string;
  title: string;
  started: number;
  changed: number;
  num_turns: number;
}

export interface Turn {
  id: string;
  parent: string | null;
  run_id: string;
  status: "running" | "finished" | "failed" | "cut";
  asked: Message[];
  replied: Message[] | null;
  mode: Mode;
  model: string;
  started: number;
}

export interface Conversation {
  id: string;
  title: string;
  started: number;
  changed: number;
  settings: Record<string, unknown>;
  turns: Turn[];
}

export interface Question {
  text: string;
  files: string[];
  parent: string | null;
  mode: Mode;
  effort?: string;
  model?: string;
}

export interface KeyItem {
  id: string;
  name: string;
  created?: number;
  last_used?: number | null;
  prefix?: string;
}

export interface UsageDay {
  day: string;
  runs: number;
  prompt_tokens: number;
  thought_tokens: number;
  answer_tokens: number;
  agent_seconds: number;
  cost: number | null;
}

export interface InsideToken {
  text: string;
  id: number;
  probability: number;
  top: { text: string; probability: number }[];
  experts: number[][];
  attention: Record<string, number[][]>;
}
export interface Inside {
  tokens: InsideToken[];
  pictures: { sha256: string; width: number; height: number; covers: [number, number] }[];
  num_experts: number;
}

export function key(): string | null {
  return localStorage.getItem(KEY);
}
export function setKey(value: string | null): void {
  if (value) localStorage.setItem(KEY, value);
  else localStorage.removeItem(KEY);
}

async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const mine = key();
  if (mine) headers.set("authorization", `Bearer ${mine}`);
  if (typeof init.body === "string") headers.set("content-type", "application/json");
  const reply = await fetch(path, { ...init, headers, credentials: "omit", redirect: "error" });
  if (!reply.ok) throw await told(reply);
  return reply;
}

async function told(reply: Response): Promise<ApiError> {
  try {
    const body = (await reply.json()) as { error?: { message?: string; code?: string | null } };
    return new ApiError(body.error?.message ?? reply.statusText, reply.status, body.error?.code ?? null);
  } catch {
    return new ApiError(reply.statusText || String(reply.status), reply.status, null);
  }
}

async function json<T>(path: string, method = "GET", body?: unknown): Promise<T> {
  const init: RequestInit = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  return (await (await send(path, init)).json()) as T;
}

const at = encodeURIComponent;

export const api = {
  me: () => json<Me>("/api/me"),
  conversations: (search: string, before?: number) => {
    const query = new URLSearchParams({ limit: "50" });
    if (search) query.set("search", search);
    if (before !== undefined) query.set("before", String(before));
    return json<{ data: ConversationItem[]; has_more: boolean }>(`/api/conversations?${query}`);
  },
  newConversation: () => json<{ id: string }>("/api/conversations", "POST", {}),
  conversation: (id: string) => json<Conversation>(`/api/conversations/${at(id)}`),
  rename: (id: string, title: string) => send(`/api/conversations/${at(id)}`, { method: "PATCH", body: JSON.stringify({ title }) }),
  forget: (id: string) => send(`/api/conversations/${at(id)}`, { method: "DELETE" }),
  ask: (id: string, question: Question) =>
    json<{ turn_id: string; run_id: string }>(`/api/conversations/${at(id)}/turns`, "POST", question),
  cancel: (runId: string) => send(`/api/runs/${at(runId)}/cancel`, { method: "POST" }),
  exportAs: async (id: string, format: "json" | "markdown") =>
    (await send(`/api/conversations/${at(id)}/export?format=${format}`)).blob(),
  upload: async (file: File) => {
    const form = new FormData();
    form.set("purpose", file.type.startsWith("image/") ? "vision" : "user_data");
    form.set("file", file, file.name);
    return (await (await send("/v1/files", { method: "POST", body: form })).json()) as { id: string };
  },
  picture: async (sha256: string) => (await send(`/api/pictures/${at(sha256)}`)).blob(),
  keys: () => json<{ data: KeyItem[] }>("/api/keys"),
  newKey: (name: string) => json<KeyItem & { key: string }>("/api/keys", "POST", { name }),
  dropKey: (id: string) => send(`/api/keys/${at(id)}`, { method: "DELETE" }),
  usage: (days: number) => json<{ data: UsageDay[]; quota: Quota | null }>(`/api/usage?days=${days}`),
  inside: (runId: string, agentId: string, turn: number) =>
    json<Inside>("/api/inside", "POST", { run_id: runId, agent_id: agentId, turn }),
};

/** The events of a run from `after` on, as they come; "cut" where the run ended without a last event.
 *
 * Returns when the server ends the stream; throws where the connection breaks.
 */
export async function* follow(
  runId: string, after: number, signal: AbortSignal,
): AsyncGenerator<RunEvent[] | "cut", void> {
  const reply = await send(`/api/runs/${at(runId)}/events?after=${after}`, {
    signal, headers: { accept: "text/event-stream" },
  });
  const reader = reply.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replace(/\r\n/g, "\n").split("\n\n");
    rest = blocks.pop() ?? "";
    const events: RunEvent[] = [];
    let isCut = false;
    for (const block of blocks) {
      const lines = block.split("\n");
      if (lines.some((line) => /^event:\s*cut/.test(line))) isCut = true;
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (!data || isCut) continue;
      const event = JSON.parse(data) as Partial<RunEvent>;
      if (typeof event.seq === "number" && event.type) events.push(event as RunEvent);
    }
    if (events.length) yield events;
    if (isCut) yield "cut";
  }
}
