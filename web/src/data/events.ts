// What happens in a run, as narthex/chat/events.py has it. Unknown kinds and fields pass in silence.

export type Mode = "instant" | "thinking" | "contemplating";
export const MODES: readonly Mode[] = ["instant", "thinking", "contemplating"];
export const EFFORTS = ["minimal", "low", "medium", "high", "xhigh", "max"] as const;
export type Effort = (typeof EFFORTS)[number];

export interface TextPart {
  type: "text";
  text: string;
}
export interface ImagePart {
  type: "image";
  sha256: string;
  media_type: string;
  width: number;
  height: number;
}
export interface FilePart {
  type: "file";
  sha256: string;
  name: string;
  media_type: string;
  num_bytes: number;
}
export type Part = TextPart | ImagePart | FilePart;

export interface ToolCall {
  id: string;
  name: string;
  arguments: Record<string, unknown>;
}

export interface Message {
  role: "system" | "user" | "assistant" | "tool";
  parts: Part[];
  thought?: string;
  calls?: ToolCall[];
  call_id?: string | null;
}

export type Role = "solo" | "proposer" | "refiner" | "aggregator" | "judge";
export type FinishReason = "stop" | "length" | "tool_calls" | "cancelled";

export interface AgentLedger {
  agent_id: string;
  round: number;
  turns: number;
  prompt_tokens: number;
  cached_tokens: number;
  thought_tokens: number;
  answer_tokens: number;
  tool_calls: number;
  looks: number;
  seconds: number;
  flops: number | null;
  cost: number | null;
}

export interface Ledger extends Omit<AgentLedger, "agent_id" | "round" | "turns"> {
  agents: number;
  rounds: number;
  critical_path_s: number;
  budget_enforced: "native" | "continued" | "reasked" | "none";
  estimated: boolean;
  by_agent: AgentLedger[];
}

export type Purpose = "propose" | "judge" | "refine" | "answer";

interface Base {
  run_id: string;
  seq: number;
  t: number;
}
interface OfAgent extends Base {
  agent_id: string;
}

export type RunEvent =
  | (Base & { type: "run_started"; mode: Mode; model: string; question: string; tools: string[]; seed: number | null })
  | (OfAgent & { type: "agent_started"; role: Role; round: number; seed: number | null; temperature: number | null })
  | (OfAgent & { type: "thought_delta"; text: string })
  | (OfAgent & { type: "agent_text_delta"; text: string })
  | (OfAgent & { type: "tool_started"; call: ToolCall })
  | (OfAgent & {
      type: "tool_finished";
      call_id: string;
      name: string;
      parts: Part[];
      is_error: boolean;
      seconds: number;
    })
  | (OfAgent & { type: "turn_finished"; thought_tokens: number; answer_tokens: number; seconds: number })
  | (OfAgent & { type: "approval_asked"; call: ToolCall })
  | (OfAgent & { type: "approval_given"; call_id: string; is_allowed: boolean; by: string; reason: string })
  | (OfAgent & {
      type: "agent_finished";
      answer: string;
      calls: ToolCall[];
      error: string | null;
      confidence: number | null;
      finish_reason: FinishReason;
      ledger: AgentLedger | null;
    })
  | (Base & { type: "agreement"; tally: Record<string, number>; probability: number })
  | (Base & { type: "round_started"; round: number; purpose: Purpose })
  | (Base & { type: "waiting"; quiet_s: number; agents: string[] })
  | (Base & { type: "answer_started"; agent_id: string | null })
  | (Base & { type: "answer_delta"; agent_id: string | null; text: string })
  | (Base & { type: "run_finished"; answer: string; ledger: Ledger; finish_reason: FinishReason; calls: ToolCall[] })
  | (Base & { type: "run_failed"; message: string; hint: string | null; ledger: Ledger | null });
