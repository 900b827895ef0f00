"""One streamed reply of an upstream: thought, text, calls and cost, told apart chunk by chunk as they come."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from narthex.backends.base import TokenChance, TurnDelta, TurnUsage
from narthex.backends.confidence import Confidence
from narthex.backends.think_tags import ThinkTags, ThoughtPlace
from narthex.chat import ToolCall
from narthex.tokens.calls import CallError, parse_json
from narthex.tokens.reply import Piece

CHARACTERS_PER_TOKEN = 4  # English, roughly; what is counted by it is marked as estimated
_MOST_CHARACTERS_PER_TOKEN = 64  # no vocabulary's average comes near; a count that says so is wrong
_MAX_COUNT = 10**8  # tokens of one exchange
_EXCERPT_CHARS = 80
_FINISHES: dict[str, Literal["stop", "length", "cancelled"]] = {
    "length": "length", "max_tokens": "length", "content_filter": "cancelled", "abort": "cancelled",
}  # fmt: skip


class Counts(NamedTuple):
    """Tokens of a reply so far, by our own count."""

    thought: int
    answer: int


class _Tally:
    """Tokens of one kind: those the upstream counted chunk by chunk, and an estimate of the rest.

    Most servers send a chunk per token, so chunks are counted; where they are long, characters tell more.
    """

    def __init__(self) -> None:
        self.exact = self.num_chunks = 0.0
        self.num_characters = 0

    def add(self, num_characters: int, *, chunks: float = 1.0, exact: float = 0.0) -> None:
        """What the upstream counted (`exact`), and chunks whose tokens it did not count."""
        self.exact += exact
        self.num_chunks += chunks
        self.num_characters += num_characters if chunks else 0

    @property
    def tokens(self) -> int:
        return round(self.exact) + math.ceil(max(self.num_chunks, self.num_characters / CHARACTERS_PER_TOKEN))


class _CallPieces:
    """A call in the making."""

    def __init__(self) -> None:
        self.id = self.name = ""
        self.arguments: list[str] = []
        self.whole: dict[str, Any] | None = None  # arguments that came as an object


class ReplyReader:
    """Feed it the chunks of one reply. Not for reuse.

    `place`: where this upstream puts thought, None where that is not known yet and the reply may think. `is_closed`:
    the reply goes on after a thought that was closed for it. `keeps_chances`: text comes with those of its tokens.
    """

    def __init__(
        self, place: ThoughtPlace | None, *, is_closed: bool = False, keeps_chances: bool = False
    ) -> None:
        self.tags = ThinkTags("tags" if is_closed else place)
        self.finish_reason: Literal["stop", "length", "cancelled"] | None = None
        self.confidence = Confidence()
        self.thought: list[str] = []
        self.text: list[str] = []
        self._is_closed = is_closed
        self._keeps_chances = keeps_chances
        self._chances: list[TokenChance] = []  # of tokens whose text is not settled yet
        self._late: list[str] = []  # after a closed thought: a server's parser may take the answer for thought
        self._calls: list[_CallPieces] = []
        self._thought_tally, self._answer_tally = _Tally(), _Tally()
        self._waiting = _Tally()  # came, and is not yet known to be one or the other
        self._in_field = False
        self._reported: Mapping[str, Any] | None = None
        self._num_running = 0  # completion tokens, by the last chunk that told

    @property
    def in_thought(self) -> bool:
        """Whether the last that came was thought, so that what comes next may be."""
        return self._in_field or self.tags.in_thought

    @property
    def has_begun(self) -> bool:
        """Whether anything has come that counts as reply."""
        return any(tally.tokens for tally in (self._thought_tally, self._answer_tally, self._waiting))

    @property
    def counts(self) -> Counts:
        """What is settled."""
        return Counts(self._thought_tally.tokens, self._answer_tally.tokens)

    @property
    def num_held_tokens(self) -> int:
        """Tokens that are held back because they may be thought."""
        return self._waiting.tokens if self.tags.is_undecided else 0

    def feed(self, chunk: Mapping[str, Any]) -> list[TurnDelta]:
        """Take one chunk; return what it settles. What is malformed in it is passed over."""
        exact = self._take_usage(chunk.get("usage"))
        choices = chunk.get("choices")
        choice = next((c for c in choices if isinstance(c, dict)), None) if isinstance(choices, list) else None
        if choice is None or choice.get("index") not in (0, None):
            return []
        num_scored = self._take_logprobs(choice.get("logprobs"))
        exact = num_scored or None if exact is None else exact
        delta = choice.get("delta")
        deltas = self._take_delta(delta, exact) if isinstance(delta, dict) else []
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.finish_reason = _FINISHES.get(reason, "stop")
        return deltas

    def assume_thought(self) -> list[TurnDelta]:
        """What is held back is more than the answer may be: take it for thought."""
        return self._settle(self.tags.assume_thought())

    def finish(self, *, is_whole: bool) -> list[TurnDelta]:
        """No more chunks come: the deltas of what was held back."""
        is_in_thought = self.tags.in_thought
        deltas = self._settle(self.tags.finish(is_whole=is_whole))
        left, self._waiting = self._waiting, _Tally()
        tally = self._thought_tally if is_in_thought else self._answer_tally
        tally.add(left.num_characters, chunks=left.num_chunks, exact=left.exact)
        late, self._late = "".join(self._late), []
        if late and not self.text:
            deltas += self._show([Piece("text", late)])
        elif late:
            deltas += self._show([Piece("thought", late)])
        return deltas

    def calls(self) -> tuple[tuple[ToolCall, ...], tuple[str, ...]]:
        """Calls and, for each that cannot be read, one line for the model."""
        calls: list[ToolCall] = []
        mistakes: list[str] = []
        for pieces in self._calls:
            try:
                calls.append(_read_call(pieces, {call.id for call in calls}))
            except CallError as error:
                written = " ".join(f"{pieces.name} {''.join(pieces.arguments)}".split())
                excerpt = written if len(written) <= _EXCERPT_CHARS else written[: _EXCERPT_CHARS - 1] + "…"
                mistakes.append(f"{error}: {excerpt}")
        return tuple(calls), tuple(mistakes)

    def usage(self, prompt_estimate: int) -> TurnUsage:
        """What the upstream reported where that can be true, else our own count, marked so."""
        return settle_usage(self._reported, self.counts, prompt_estimate, self._num_characters())

    def _take_delta(self, delta: dict[str, Any], exact: int | None) -> list[TurnDelta]:
        deltas: list[TurnDelta] = []
        thought = _text(delta.get("reasoning")) or _text(delta.get("reasoning_content"))
        if thought:
            self._in_field = True
            deltas += self._settle(self.tags.has_field())
            tally = self._answer_tally if self._is_closed else self._thought_tally
            _add(tally, thought, exact)
            if self._is_closed:
                self._late.append(thought)
            else:
                deltas += self._show([Piece("thought", thought)])
        text = _text(delta.get("content")) or _text(delta.get("refusal"))
        if text:
            self._in_field = False
            _add(self._waiting, text, 0 if thought and exact is not None else exact)
            deltas += self._settle(self.tags.feed(text))
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and calls:
            self._in_field = False
            _add(self._answer_tally, self._take_calls(calls), 0 if (thought or text) and exact is not None else exact)
        return deltas

    def _settle(self, pieces: list[Piece]) -> list[TurnDelta]:
        """Show what the content turned out to be, and count what waited as that, by each kind's share of it."""
        whole = sum(len(piece.text) for piece in pieces)
        if whole:
            waited, self._waiting = self._waiting, _Tally()
            for kind, tally in (("thought", self._thought_tally), ("text", self._answer_tally)):
                size = sum(len(piece.text) for piece in pieces if piece.kind == kind)
                share = size / whole
                tally.add(size, chunks=waited.num_chunks * share, exact=waited.exact * share)
        return self._show(pieces)

    def _take_calls(self, found: list[Any]) -> str:
        """Add pieces of calls; returns their text, for the count."""
        said: list[str] = []
        for place, piece in enumerate(found):
            if not isinstance(piece, dict):
                continue
            function = piece.get("function")
            function = function if isinstance(function, dict) else {}
            call = self._call_at(piece.get("index"), place, _text(piece.get("id")), _text(function.get("name")))
            arguments = function.get("arguments")
            if isinstance(arguments, dict):
                call.whole = arguments
                said.append(json.dumps(arguments))
            elif isinstance(arguments, str):
                call.arguments.append(arguments)
                said.append(arguments)
            said.append(call.name)
        return "".join(said)

    def _call_at(self, index: Any, place: int, call_id: str, name: str) -> _CallPieces:
        """The call that a piece belongs to. Some servers give every call the index 0, or none."""
        at = index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None
        if at is None:
            at = place if not self._calls or not (call_id or name) else len(self._calls)
        call = self._calls[at] if at < len(self._calls) else None
        is_another = call is not None and call_id and call.id and call_id != call.id and name
        if call is None or is_another:
            call = _CallPieces()
            self._calls.append(call)
        call.id = call.id or call_id
        # A name comes once, or once more with every piece, or in pieces.
        if name and name != call.name and not any(call.arguments):
            call.name += name
        return call

    def _show(self, pieces: list[Piece]) -> list[TurnDelta]:
        for piece in pieces:
            (self.thought if piece.kind == "thought" else self.text).append(piece.text)
        shown = []
        for piece in pieces:
            if piece.text:
                chances = tuple(self._chances) if piece.kind == "text" else ()
                shown.append(TurnDelta(piece.kind, piece.text, self.confidence.last, chances))
                self._chances = []
        return shown

    def _take_logprobs(self, logprobs: Any) -> int:
        """Push the tokens' log-probabilities; returns how many there were."""
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        scored = [entry.get("logprob") for entry in content if isinstance(entry, dict)] if content else []
        numbers = [float(value) for value in scored if isinstance(value, (int, float)) and not isinstance(value, bool)]
        for number in numbers:
            self.confidence.push(number)
        if self._keeps_chances and content:
            self._chances += [chance for entry in content if (chance := _chance(entry)) is not None]
        return len(numbers)

    def _take_usage(self, usage: Any) -> int | None:
        """Keep the last usage; completion tokens since the one before, where it tells in the middle of the reply."""
        if not isinstance(usage, dict):
            return None
        self._reported = usage
        total = _count(usage.get("completion_tokens"))
        if total is None or total <= self._num_running or self.finish_reason is not None:
            return None
        new, self._num_running = total - self._num_running, total
        return new

    def _num_characters(self) -> int:
        called = sum(len(call.name) + sum(map(len, call.arguments)) for call in self._calls)
        return sum(map(len, self.thought)) + sum(map(len, self.text)) + called


def _chance(entry: Any) -> TokenChance | None:
    """A token's chance as OpenAI writes it; None for what is malformed."""
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    logprob = entry.get("logprob")
    if not isinstance(logprob, (int, float)) or isinstance(logprob, bool):
        return None
    top = entry.get("top_logprobs")
    read = [_chance({**other, "top_logprobs": None}) for other in top if isinstance(other, dict)] if top else []
    others = tuple((each.text, each.data, each.logprob) for each in read if each is not None)
    try:
        data = bytes(entry.get("bytes") or entry["token"].encode())
    except (TypeError, ValueError):  # no bytes, or half a character
        data = entry["token"].encode(errors="replace")
    return TokenChance(entry["token"], data, float(logprob), others)


def settle_usage(
    reported: Mapping[str, Any] | None, counts: Counts, prompt_estimate: int, num_characters: int
) -> TurnUsage:
    """A usage that can be true: the upstream's numbers, or, part by part, our estimates in their place.

    `counts` are ours, `num_characters` those of thought, text and calls that came. Nothing is believed that contradicts
    them: no tokens though text came, a total less than its parts, a share greater than the whole, negative numbers.
    """
    reported = reported or {}
    prompt, completion = _count(reported.get("prompt_tokens")), _count(reported.get("completion_tokens"))
    cached = _count(_detail(reported, "prompt_tokens_details", "cached_tokens"))
    reasoning = _count(_detail(reported, "completion_tokens_details", "reasoning_tokens"))
    total = _count(reported.get("total_tokens"))
    has_denied = "total_tokens" in reported and (total is None or total < (prompt or 0) + (completion or 0))
    is_short = completion is not None and completion * _MOST_CHARACTERS_PER_TOKEN < num_characters
    if not prompt or completion is None or has_denied or is_short:
        return TurnUsage(prompt_estimate, 0, counts.thought, counts.answer, estimated=True)
    estimated = any(
        _detail(reported, *path) is not None and value is None
        for path, value in (
            (("prompt_tokens_details", "cached_tokens"), cached),
            (("completion_tokens_details", "reasoning_tokens"), reasoning),
        )
    )
    if cached is not None and cached > prompt:
        cached, estimated = None, True
    # The visible thought is at least so long; a share that says none of it was thought is no share.
    is_wrong = reasoning is not None and (reasoning > completion or (reasoning == 0 and counts.thought > 0))
    if reasoning is None or is_wrong:
        known = counts.thought + counts.answer
        reasoning = round(completion * counts.thought / known) if known else 0
        estimated = estimated or is_wrong or counts.thought > 0
    return TurnUsage(prompt, cached or 0, reasoning, completion - reasoning, estimated=estimated)


def _add(tally: _Tally, text: str, exact: int | None) -> None:
    tally.add(len(text), chunks=exact is None, exact=exact or 0)


def _read_call(pieces: _CallPieces, taken: set[str]) -> ToolCall:
    """Raises: CallError, as for calls that a model writes into its text."""
    arguments: Any = pieces.whole
    if arguments is None:
        arguments = "".join(pieces.arguments).strip() or None
    ((name, read),) = parse_json(json.dumps({"name": pieces.name, "arguments": arguments}))
    call_id = pieces.id if pieces.id and pieces.id not in taken else f"call_{secrets.token_hex(8)}"
    try:
        return ToolCall(id=call_id, name=name, arguments=read)
    except ValueError:  # pydantic's: a lone surrogate, say, which no file or socket can carry
        raise CallError("the call's parameters cannot be written as JSON") from None


def carries(chunk: Mapping[str, Any]) -> bool:
    """Whether a chunk holds anything of a reply: thought, text or a piece of a call."""
    return any(
        isinstance(value, (str, list)) and bool(value)
        for choice in _choices(chunk)
        for key in ("content", "reasoning", "reasoning_content", "refusal", "tool_calls")
        for value in (_delta(choice).get(key),)
    )


def is_finish(chunk: Mapping[str, Any]) -> bool:
    """Whether a chunk says why the reply ended."""
    return any(bool(choice.get("finish_reason")) for choice in _choices(chunk))


def _choices(chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = chunk.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _delta(choice: dict[str, Any]) -> dict[str, Any]:
    delta = choice.get("delta")
    return delta if isinstance(delta, dict) else {}


def _text(value: Any) -> str:
    """Text, or the text of a list of parts."""
    if isinstance(value, list):
        value = "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    if not isinstance(value, str):
        return ""
    # Half of a surrogate pair is nothing that a file or socket could carry on.
    return value if value.isascii() else value.encode("utf-8", errors="replace").decode("utf-8")


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT
    return value if is_count else None


def _detail(usage: Mapping[str, Any], group: str, name: str) -> Any:
    details = usage.get(group)
    return details.get(name) if isinstance(details, Mapping) else None


