"""A run's events as a tree, and the tree as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from narthex.chat import (
    AgentFinished,
    AgentLedger,
    AgentStarted,
    ApprovalGiven,
    Event,
    ImagePart,
    Ledger,
    TextPart,
    ToolCall,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from narthex.cli.board import agreement_line
from narthex.cli.logs import SHORT_ID
from narthex.cli.show import clean, describe_call, ledger_line, one_line

RESULT_CHARACTERS = 160  # of a result's text, in a line
ANSWER_CHARACTERS = 200  # of an agent's answer; the run's own is shown whole


def trace_of(events: Iterable[Event]) -> dict[str, Any]:
    """One JSON-ready object: the run, its rounds, their agents with turns and calls, and the ledger's sum.

    A turn is a stretch of thought and text, and the calls that ended it. What never ended has no `seconds`.
    """
    growing = _Growing()
    for event in events:
        growing.take(event)
    return growing.found


class _Growing:
    """The tree while events come in."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {
            "seed": None, "tools": [], "budget": {}, "seconds": 0.0, "rounds": [], "answer": None,
            "finish_reason": None, "error": None, "hint": None, "ledger": None,
        }  # fmt: skip
        self._agents: dict[str, dict[str, Any]] = {}
        self._calls: dict[tuple[str, str], dict[str, Any]] = {}  # by agent and id: models count their calls from one
        self._answer = ""
        self._num_pictures = 0

    def take(self, event: Event) -> None:
        self.found["seconds"] = event.t
        match event.type:
            case "run_started":
                self.found |= {
                    "seed": event.seed, "tools": list(event.tools), "budget": event.budget.model_dump(exclude_none=True)
                }  # fmt: skip
            case "round_started":
                self._round(event.round, event.purpose, event.t)
            case "agent_started":
                self._begin(event)
            case "thought_delta":
                self._turn(event.agent_id, event.t, is_said=True)["thought_characters"] += len(event.text)
            case "agent_text_delta":
                self._turn(event.agent_id, event.t, is_said=True)["text_characters"] += len(event.text)
            case "answer_started":
                self._answer = ""
            case "answer_delta":
                self._answer += event.text
                if event.agent_id in self._agents and self._agents[event.agent_id]["seconds"] is None:
                    self._turn(event.agent_id, event.t, is_said=True)["text_characters"] += len(event.text)
            case "turn_finished":
                self._close_turn(event)
            case "tool_started":
                self._call(event)
            case "tool_finished":
                self._result(event)
            case "approval_given":
                self._approval(event)
            case "agent_finished":
                self._end(event)
            case "agreement":
                here = {"t": event.t, "tally": dict(event.tally), "probability": event.probability}
                self._last_round(event.t)["agreement"].append(here)
            case "run_finished":
                self.found |= {"answer": event.answer, "finish_reason": event.finish_reason}
                self.found["ledger"] = event.ledger.model_dump(mode="json")
            case "run_failed":
                ledger = None if event.ledger is None else event.ledger.model_dump(mode="json")
                self.found |= {"error": event.message, "hint": event.hint, "ledger": ledger}
        if self.found["answer"] is None and self._answer:
            self.found["partial_answer"] = self._answer
        else:
            self.found.pop("partial_answer", None)

    def _round(self, number: int, purpose: str | None, t: float) -> dict[str, Any]:
        found: dict[str, Any] = {"round": number, "purpose": purpose, "t": t, "agents": [], "agreement": []}
        self.found["rounds"].append(found)
        return found

    def _last_round(self, t: float) -> dict[str, Any]:
        rounds = self.found["rounds"]
        last: dict[str, Any] = rounds[-1] if rounds else self._round(0, None, t)
        return last

    def _begin(self, event: AgentStarted) -> None:
        ours = [each for each in self.found["rounds"] if each["round"] == event.round]
        home = ours[-1] if ours else self._last_round(event.t)
        agent: dict[str, Any] = {
            "agent_id": event.agent_id, "role": event.role, "seed": event.seed, "temperature": event.temperature,
            "t": event.t, "seconds": None, "answer": None, "confidence": None, "finish_reason": None, "error": None,
            "ledger": None, "turns": [],
        }  # fmt: skip
        self._agents[event.agent_id] = agent
        home["agents"].append(agent)

    def _turn(self, agent_id: str, t: float, *, is_said: bool) -> dict[str, Any]:
        """The turn that this belongs to: words after calls begin a new one."""
        agent = self._agents.setdefault(agent_id, {"turns": []})
        turns = agent["turns"]
        if not turns or (is_said and (turns[-1]["calls"] or turns[-1]["seconds"] is not None)):
            turns.append({
                "t": t, "thought_characters": 0, "text_characters": 0, "seconds": None, "tokens": None, "calls": []
            })  # fmt: skip
        last: dict[str, Any] = turns[-1]
        return last

    def _close_turn(self, event: TurnFinished) -> None:
        turns = self._agents.get(event.agent_id, {"turns": []})["turns"]
        is_open = bool(turns) and turns[-1]["seconds"] is None
        turn = self._turn(event.agent_id, event.t - event.seconds, is_said=not is_open)
        turn["seconds"] = event.seconds
        turn["tokens"] = {
            "prompt": event.prompt_tokens, "cached": event.cached_tokens, "thought": event.thought_tokens,
            "answer": event.answer_tokens,
        }  # fmt: skip

    def _call(self, event: ToolStarted) -> None:
        call = {
            "id": event.call.id, "name": event.call.name, "arguments": event.call.arguments, "t": event.t,
            "seconds": None, "is_error": None, "text": None, "pictures": [], "files": [], "approval": None,
        }  # fmt: skip
        self._calls[event.agent_id, event.call.id] = call
        self._turn(event.agent_id, event.t, is_said=False)["calls"].append(call)

    def _result(self, event: ToolFinished) -> None:
        call = self._calls.get((event.agent_id, event.call_id))
        if call is None:
            return
        call["seconds"], call["is_error"] = event.seconds, event.is_error
        call["text"] = "".join(part.text for part in event.parts if isinstance(part, TextPart))
        for part in event.parts:
            if isinstance(part, ImagePart):
                call["pictures"].append(part.model_dump(mode="json", exclude={"type"}))
            elif not isinstance(part, TextPart):
                call["files"].append(part.model_dump(mode="json", exclude={"type"}))

    def _approval(self, event: ApprovalGiven) -> None:
        call = self._calls.get((event.agent_id, event.call_id))
        if call is not None:
            call["approval"] = {"is_allowed": event.is_allowed, "by": event.by, "reason": event.reason}

    def _end(self, event: AgentFinished) -> None:
        agent = self._agents.get(event.agent_id)
        if agent is None:
            return
        ledger = None if event.ledger is None else event.ledger.model_dump(mode="json", exclude={"agent_id"})
        seconds = event.t - agent["t"] if event.ledger is None else event.ledger.seconds
        agent |= {
            "seconds": seconds, "answer": event.answer, "confidence": event.confidence, "error": event.error,
            "finish_reason": event.finish_reason, "ledger": ledger,
        }  # fmt: skip
        if event.calls:
            agent["wanted"] = [call.model_dump(mode="json") for call in event.calls]


def lines_of(found: dict[str, Any]) -> Iterator[str]:
    """The tree as text, for people."""
    yield f"run {found['id'][:SHORT_ID]}  {found['mode']}, {one_line(found['model'])}  {found['status']}"
    yield f"asked: {one_line(found['question'])}"
    details = [f"seed {found['seed']}"] if found["seed"] is not None else []
    details += [f"tools {', '.join(map(one_line, found['tools']))}"] if found["tools"] else []
    details += [f"{name} {value:g}" for name, value in found["budget"].items()]
    if details:
        yield "with: " + ", ".join(details)
    rounds = found["rounds"]
    for place, each in enumerate(rounds):
        yield from _round_lines(each, is_last=place == len(rounds) - 1)
    if found["error"] is not None:
        yield f"failed: {one_line(found['error'])}" + (f" ({one_line(found['hint'])})" if found["hint"] else "")
    elif found["answer"] is not None:
        marks = {"length": " (cut: no room left)", "cancelled": " (cut)", "tool_calls": " (calls for the caller)"}
        yield f"answer{marks.get(found['finish_reason'], '')}: {clean(found['answer'])}"
    else:
        yield f"cut after {found['seconds']:.1f} s" + (
            f", with this of an answer: {clean(found['partial_answer'])}" if found.get("partial_answer") else ""
        )
    if found["ledger"] is not None:
        yield "took: " + _sum_line(Ledger.model_validate(found["ledger"]))
    else:
        shares = [agent for each in rounds for agent in each["agents"] if agent["ledger"] is not None]
        ended = [AgentLedger(agent_id=agent["agent_id"], **agent["ledger"]) for agent in shares]
        known = _sum_line(Ledger.total(ended, seconds=found["seconds"])) if ended else f"{found['seconds']:.1f} s"
        yield f"took at least: {known}"


def _sum_line(ledger: Ledger) -> str:
    path = f", longest chain {ledger.critical_path_s:.1f} s" if ledger.agents > 1 else ""
    calls = f", {ledger.tool_calls} call{'' if ledger.tool_calls == 1 else 's'}"
    flops = f", {ledger.flops:.3g} FLOPs" if ledger.flops is not None else ""
    cost = f", cost {ledger.cost:.4g}" if ledger.cost is not None else ""
    return ledger_line(ledger) + path + calls + flops + cost


def _round_lines(each: dict[str, Any], *, is_last: bool) -> Iterator[str]:
    agents = each["agents"]
    branch, bar = "", ""
    if each["purpose"] is not None:
        branch, bar = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        yield f"{branch}round {each['round'] + 1}: {each['purpose']}  at {each['t']:.1f} s"
    tails = [agreement_line(stand["tally"], stand["probability"]) for stand in each["agreement"]]
    num = len(agents) + len(tails)
    for place, agent in enumerate(agents):
        yield from _agent_lines(agent, bar, is_last=place == num - 1)
    for place, tail in enumerate(tails, len(agents)):
        yield f"{bar}{'└─ ' if place == num - 1 else '├─ '}{tail}"


def _agent_lines(agent: dict[str, Any], indent: str, *, is_last: bool) -> Iterator[str]:
    role = "" if agent["role"] == "solo" else f" ({agent['role']})"
    yield f"{indent}{'└─ ' if is_last else '├─ '}{one_line(agent['agent_id'])}{role}: {_outcome(agent)}"
    bar = indent + ("   " if is_last else "│  ")
    turns = agent["turns"]
    for place, turn in enumerate(turns):
        is_end = place == len(turns) - 1
        yield f"{bar}{'└─ ' if is_end else '├─ '}turn {place + 1} at {turn['t']:.1f} s: {_words(turn)}"
        deeper = bar + ("   " if is_end else "│  ")
        for number, call in enumerate(turn["calls"], 1):
            yield f"{deeper}{'└─ ' if number == len(turn['calls']) else '├─ '}{_call_line(call)}"


def _outcome(agent: dict[str, Any]) -> str:
    if agent["seconds"] is None:
        return "cut before it came to an end"
    came_to = f"failed: {one_line(agent['error'])}" if agent["error"] else one_line(agent["answer"], ANSWER_CHARACTERS)
    marks = {"length": " (cut: no room left)", "cancelled": " (stopped)", "tool_calls": "calls for the caller"}
    came_to = (came_to or "no answer") + marks.get(agent["finish_reason"], "") if not agent["error"] else came_to
    ledger = agent["ledger"]
    sure = f", confidence {agent['confidence']:.2f}" if agent["confidence"] is not None else ""
    if ledger is None:
        return f"{came_to}  [{agent['seconds']:.1f} s{sure}]"
    cached = f" ({ledger['cached_tokens']} cached)" if ledger["cached_tokens"] else ""
    return (
        f"{came_to}  [{ledger['thought_tokens']} thought + {ledger['answer_tokens']} answer tokens, prompt "
        f"{ledger['prompt_tokens']}{cached}, {agent['seconds']:.1f} s{sure}]"
    )


def _words(turn: dict[str, Any]) -> str:
    """What a turn said: in tokens and seconds, or, where it was cut, in characters."""
    tokens = turn["tokens"]
    if tokens is not None:
        cached = f" ({tokens['cached']} cached)" if tokens["cached"] else ""
        found = [f"{tokens['thought']} thought + {tokens['answer']} answer tokens, prompt {tokens['prompt']}{cached}"]
        found.append(f"{turn['seconds']:.2f} s")
    else:
        found = [
            f"{turn[key]:,} characters of {what}"
            for key, what in (("thought_characters", "thought"), ("text_characters", "text"))
            if turn[key]
        ]
    calls = len(turn["calls"])
    found += [f"{calls} call{'' if calls == 1 else 's'}"] if calls else []
    return ", ".join(found) or "nothing said"


def _call_line(call: dict[str, Any]) -> str:
    shown = describe_call(ToolCall(id=call["id"], name=call["name"], arguments=call["arguments"]))
    approval = call["approval"]
    if approval is not None:
        verdict = "allowed" if approval["is_allowed"] else "refused"
        shown += f", {verdict} by {'a person' if approval['by'] == 'person' else 'a rule'}"
    if call["seconds"] is None:
        return f"{shown}  (cut)"
    got = [f"{picture['width']} x {picture['height']} px" for picture in call["pictures"]]
    got += [f"file {one_line(file['name'])}, {file['num_bytes']:,} bytes" for file in call["files"]]
    text = one_line(call["text"], RESULT_CHARACTERS)
    got += [text] if text else []
    return f"{shown} -> {'; '.join(got) or 'nothing'}  [{call['seconds']:.2f} s]"
