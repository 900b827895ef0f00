// A run as the page shows it: a fold over its events, and nothing else.

import type {
  AgentLedger, FinishReason, ImagePart, Ledger, Mode, Part, Purpose, Role, RunEvent, ToolCall,
} from "./events";

export interface ToolUse {
  call: ToolCall;
  parts: Part[];
  isDone: boolean;
  isError: boolean;
  seconds: number;
  approval: "asked" | "allowed" | "refused" | null;
}

export type Step =
  | { kind: "thought"; text: string; turn: number }
  | { kind: "said"; text: string; turn: number }
  | { kind: "tool"; use: ToolUse; turn: number };

export type Doing = "starting" | "thinking" | "looking" | "using" | "answering" | "done" | "failed" | "cut";

export interface Agent {
  id: string;
  number: number;
  role: Role;
  round: number;
  temperature: number | null;
  began: number;
  ended: number | null;
  doing: Doing;
  tool: string;
  turns: number;
  steps: Step[];
  answer: string;
  confidence: number | null;
  error: string | null;
  ledger: AgentLedger | null;
}

export interface Round {
  round: number;
  purpose: Purpose;
}

export type RunStatus = "waiting" | "running" | "done" | "failed" | "cut";

export interface Run {
  id: string;
  status: RunStatus;
  mode: Mode | null;
  model: string;
  tools: readonly string[];
  seq: number;
  t: number;
  seenAt: number; // of this machine's clock, when `t` came in: seconds tick on from there
  agents: Agent[];
  rounds: Round[];
  tally: [string, number][];
  probability: number | null;
  quiet: number;
  answer: string;
  hasAnswered: boolean;
  ledger: Ledger | null;
  finish: FinishReason | null;
  failure: { message: string; hint: string | null } | null;
}

export function emptyRun(id: string): Run {
  return {
    id, status: "waiting", mode: null, model: "", tools: [], seq: -1, t: 0, seenAt: Date.now(), agents: [], rounds: [],
    tally: [], probability: null, quiet: 0, answer: "", hasAnswered: false, ledger: null, finish: null, failure: null,
  };
}

/** The run after some more events. What was seen already (`seq`) is passed over, so a stream may begin anew. */
export function fold(run: Run, events: readonly RunEvent[]): Run {
  const next: Run = { ...run, agents: [...run.agents], seenAt: Date.now() };
  let isChanged = false;
  for (const event of events) {
    if (event.seq <= next.seq) continue;
    next.seq = event.seq;
    next.t = event.t;
    next.quiet = 0;
    take(next, event);
    isChanged = true;
  }
  return isChanged ? next : run;
}

/** The run is over without a last event: somebody stopped it, or its server went away. */
export function cutOff(run: Run): Run {
  if (run.status === "done" || run.status === "failed") return run;
  const agents = run.agents.map((agent) => (agent.ended === null ? { ...agent, doing: "cut" as const, ended: run.t } : agent));
  return { ...run, status: "cut", agents };
}

function take(run: Run, event: RunEvent): void {
  switch (event.type) {
    case "run_started":
      run.status = "running";
      run.mode = event.mode;
      run.model = event.model;
      run.tools = event.tools;
      break;
    case "round_started":
      run.rounds = [...run.rounds, { round: event.round, purpose: event.purpose }];
      break;
    case "agreement":
      run.tally = Object.entries(event.tally).sort((one, other) => other[1] - one[1]);
      run.probability = event.probability;
      break;
    case "waiting":
      run.quiet = event.quiet_s;
      break;
    case "answer_started":
      withdraw(run, event.agent_id);
      run.hasAnswered = true;
      // Of several agents the leader's words become the answer when it has long ended.
      change(run, event.agent_id, (agent) => (agent.ended === null ? { ...agent, doing: "answering" } : agent));
      break;
    case "tool_started":
      withdraw(run, event.agent_id);
      change(run, event.agent_id, (agent) => withEvent(agent, event));
      break;
    case "answer_delta":
      run.answer += event.text;
      break;
    case "run_finished":
      run.status = event.finish_reason === "cancelled" ? "cut" : "done";
      run.answer = event.answer;
      run.ledger = event.ledger;
      run.finish = event.finish_reason;
      break;
    case "run_failed":
      run.status = "failed";
      run.failure = { message: event.message, hint: event.hint };
      run.ledger = event.ledger;
      break;
    case "agent_started":
      run.agents.push(newAgent(event, run.agents.length));
      break;
    default:
      if ("agent_id" in event) change(run, event.agent_id, (agent) => withEvent(agent, event));
  }
}

/** What was said before a tool call is not the answer: it goes among the agent's steps. */
function withdraw(run: Run, agentId: string | null): void {
  if (!run.answer) return;
  const text = run.answer;
  run.answer = "";
  run.hasAnswered = false;
  change(run, agentId, (agent) => ({ ...agent, steps: [...agent.steps, { kind: "said", text, turn: Math.max(0, agent.turns - 1) }] }));
}

function newAgent(event: Extract<RunEvent, { type: "agent_started" }>, number: number): Agent {
  return {
    id: event.agent_id, number: number + 1, role: event.role, round: event.round, temperature: event.temperature,
    began: event.t, ended: null, doing: "starting", tool: "", turns: 0, steps: [], answer: "", confidence: null,
    error: null, ledger: null,
  };
}

function change(run: Run, id: string | null, how: (agent: Agent) => Agent): void {
  const place = run.agents.findIndex((agent) => agent.id === id);
  const agent = run.agents[place];
  if (agent) run.agents[place] = how(agent);
}

function withEvent(agent: Agent, event: RunEvent): Agent {
  switch (event.type) {
    case "thought_delta":
      return { ...agent, doing: "thinking", steps: withText(agent, "thought", event.text) };
    case "agent_text_delta":
      return { ...agent, doing: "answering", steps: withText(agent, "said", event.text) };
    case "turn_finished":
      return { ...agent, turns: agent.turns + 1 };
    case "tool_started": {
      // The turn that asked has finished by now.
      const turn = Math.max(0, agent.turns - 1);
      const known = agent.steps.some((step) => step.kind === "tool" && step.use.call.id === event.call.id);
      const steps = known ? agent.steps : [...agent.steps, { kind: "tool" as const, use: newUse(event.call), turn }];
      return { ...agent, doing: isLook(event.call) ? "looking" : "using", tool: event.call.name, steps };
    }
    case "approval_asked": {
      const steps = [...agent.steps, { kind: "tool" as const, use: newUse(event.call), turn: Math.max(0, agent.turns - 1) }];
      return { ...agent, doing: "using", tool: event.call.name, steps: withUse(steps, event.call.id, { approval: "asked" }) };
    }
    case "approval_given": {
      const approval = event.is_allowed ? "allowed" : "refused";
      return { ...agent, steps: withUse(agent.steps, event.call_id, { approval }) };
    }
    case "tool_finished": {
      const found = agent.steps.some((step) => step.kind === "tool" && step.use.call.id === event.call_id);
      const call = { id: event.call_id, name: event.name, arguments: {} };
      const steps = found ? agent.steps : [...agent.steps, { kind: "tool" as const, use: newUse(call), turn: Math.max(0, agent.turns - 1) }];
      const done = { parts: event.parts, isDone: true, isError: event.is_error, seconds: event.seconds };
      return { ...agent, doing: "thinking", steps: withUse(steps, event.call_id, done) };
    }
    case "agent_finished":
      return {
        ...agent, answer: event.answer, confidence: event.confidence, error: event.error, ledger: event.ledger,
        ended: event.t, doing: event.error ? "failed" : event.finish_reason === "cancelled" ? "cut" : "done",
      };
    default:
      return agent;
  }
}

function newUse(call: ToolCall): ToolUse {
  return { call, parts: [], isDone: false, isError: false, seconds: 0, approval: null };
}

function withText(agent: Agent, kind: "thought" | "said", text: string): Step[] {
  const last = agent.steps.at(-1);
  if (last && last.kind === kind && last.turn === agent.turns) {
    return [...agent.steps.slice(0, -1), { ...last, text: last.text + text }];
  }
  return [...agent.steps, { kind, text, turn: agent.turns }];
}

function withUse(steps: Step[], callId: string, changes: Partial<ToolUse>): Step[] {
  return steps.map((step) =>
    step.kind === "tool" && step.use.call.id === callId ? { ...step, use: { ...step.use, ...changes } } : step,
  );
}

// Looks.

export type Box = readonly [number, number, number, number];

export function boxOf(call: ToolCall): Box | null {
  const box = call.arguments["box"];
  if (!Array.isArray(box) || box.length !== 4 || !box.every((edge) => typeof edge === "number")) return null;
  return box as unknown as Box;
}

export function isLook(call: ToolCall): boolean {
  return boxOf(call) !== null;
}

/** One look: where it was on a picture of the question, in thousandths of its sides, and what came back. */
export interface Look {
  key: string;
  agent: Agent;
  number: number; // of the agent's looks, from 1
  picture: number; // which of the question's pictures
  box: Box;
  crop: ImagePart | null;
  use: ToolUse;
  thought: string; // what came before it
}

/** All looks of an agent. A look at a crop is drawn where the crop came from. `numAsked`: pictures of the question. */
export function looksOf(agent: Agent, numAsked: number): Look[] {
  const found: Look[] = [];
  const known: ({ picture: number; box: Box } | null)[] = Array.from({ length: numAsked }, (_, picture) => ({
    picture, box: [0, 0, 1000, 1000] as const,
  }));
  let thought = "";
  for (const step of agent.steps) {
    if (step.kind === "thought") thought = step.text;
    if (step.kind !== "tool") continue;
    const box = boxOf(step.use.call);
    const index = step.use.call.arguments["image"] ?? 0;
    const origin = typeof index === "number" ? known[index] : null;
    const place = box && origin ? { picture: origin.picture, box: within(origin.box, box) } : null;
    const crops = step.use.parts.filter((part): part is ImagePart => part.type === "image");
    for (const _ of crops) known.push(place);
    if (!place || step.use.isError) continue;
    const number = found.length + 1;
    found.push({ key: `${agent.id}-${number}`, agent, number, ...place, crop: crops[0] ?? null, use: step.use, thought });
    thought = "";
  }
  return found;
}

function within(outer: Box, inner: Box): Box {
  const width = outer[2] - outer[0];
  const height = outer[3] - outer[1];
  return [
    outer[0] + (inner[0] * width) / 1000, outer[1] + (inner[1] * height) / 1000,
    outer[0] + (inner[2] * width) / 1000, outer[1] + (inner[3] * height) / 1000,
  ];
}

// Who agrees with whom.

export interface Camp {
  answer: string;
  weight: number | null;
  agents: Agent[];
}

/** Agents by their answers; the tally's own words come first. Those without an answer are in none. */
export function campsOf(run: Run): Camp[] {
  const camps: Camp[] = run.tally.map(([answer, weight]) => ({ answer, weight, agents: [] }));
  for (const agent of run.agents) {
    // Who was stopped has no vote, though something may have been said by then.
    if (!agent.answer || agent.doing !== "done" || agent.role === "judge" || agent.role === "aggregator") continue;
    let camp = camps.find((one) => sameAnswer(one.answer, agent.answer));
    if (!camp) {
      camp = { answer: agent.answer, weight: null, agents: [] };
      camps.push(camp);
    }
    camp.agents.push(agent);
  }
  return camps;
}

/** The tally has one answer's words for all that were taken as the same: equal text, or an equal number whose unit is equal
 * or left out. */
function sameAnswer(one: string, other: string): boolean {
  const plain = (text: string) => text.trim().toLowerCase().replace(/\s+/g, " ").replace(/[.!]+$/, "");
  const [mine, theirs] = [plain(one), plain(other)];
  if (mine === theirs) return true;
  const amount = (text: string) => /^(-?\d+(?:[.,]\d+)?)\s*(\D*)$/.exec(text);
  const [first, second] = [amount(mine), amount(theirs)];
  if (!first || !second) return false;
  const isEqual = Number(first[1]!.replace(",", ".")) === Number(second[1]!.replace(",", "."));
  return isEqual && (first[2] === second[2] || !first[2] || !second[2]);
}

export function isOver(run: Run): boolean {
  return run.status === "done" || run.status === "failed" || run.status === "cut";
}
