"""One turn of an upstream: ask, watch the budget while the reply streams, and go on another way when it is spent.

    asked with its own budget field ---> kept within it ---------------------------------> native
          |
          +-- thought beyond it: cut --> message continued after the closed thought ------> continued
                                    \\--> asked again without thinking, thought quoted ----> reasked
          +-- thought beyond it that could not be cut ------------------------------------> none
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal

from narthex.backends.base import TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.backends.dialects import LEAST_THINKING_BUDGET
from narthex.backends.think_tags import ThoughtPlace
from narthex.backends.upstream_http import Failure, UpstreamHttp
from narthex.backends.upstream_reply import CHARACTERS_PER_TOKEN, ReplyReader
from narthex.backends.upstream_request import Known, estimate_prompt, is_overflow
from narthex.backends.watch import Interrupted, Watch
from narthex.backends.wire import add_note
from narthex.base.errors import ContextOverflowError
from narthex.base.log import get_logger
from narthex.chat import EFFORT_THINK_TOKENS, BudgetEnforced

log = get_logger(__name__)

# Our count is an estimate: a budget that the upstream keeps itself is cut by us only this far beyond it.
SLACK_SHARE, SLACK_TOKENS = 1.125, 32
MAX_LESSONS = 16  # refusals of one request, each of another field
_CUT_OFF = "You have thought about this already. Your thought was cut off here:\n\n{}\n\nThink no further; answer now."

_HIDDEN = "You have thought about this already, and there is no room to think on. Answer now."


class Turn:
    """One turn in the making. `stream` it, then take its `end`."""

    def __init__(
        self, known: Known, http: UpstreamHttp, request: TurnRequest, written: list[dict[str, Any]], watch: Watch
    ) -> None:
        self._known, self._http, self._request, self._watch = known, http, request, watch
        self._written = written
        self._thinking = request.thinking and request.think_tokens != 0
        self._think_tokens = request.think_tokens if self._thinking else None
        self._readers: list[ReplyReader] = []
        self._prompts: list[int] = []  # estimated tokens, one per reader that was asked for
        self._thought: list[str] = []
        self._text: list[str] = []
        self._is_spent = self._has_room = False
        self._cut: Literal["length", "cancelled"] | None = None
        self._way: BudgetEnforced | None = None

    async def stream(self) -> AsyncGenerator[TurnDelta]:
        """Deltas as they come. Raises: ContextOverflowError, BackendError, both before the first delta only."""
        try:
            async with aclosing(self._replies()) as deltas:
                async for delta in deltas:
                    yield self._kept(delta)
        except Interrupted as interrupted:
            self._cut = interrupted.reason
        except Failure as failure:
            if not any(reader.has_begun for reader in self._readers):
                raise self._error(failure) from None
            log.warning("a reply was cut off: %s", failure.message)
            self._cut = "cancelled"
        for delta in self._finish():
            yield self._kept(delta)

    def end(self) -> TurnEnd:
        calls, mistakes = self._readers[-1].calls() if self._readers else ((), ())
        if self._cut == "cancelled":
            mistakes = ()  # half a call is nobody's mistake
        reason = self._readers[-1].finish_reason if self._readers else None
        sure = [reader.confidence.lowest for reader in self._readers]
        usage = self._usage()
        return TurnEnd(
            "".join(self._thought), "".join(self._text), calls, mistakes, self._cut or reason or "stop", usage,
            self._way or self._kept_budget(usage),
            confidence=min((one for one in sure if one is not None), default=None),
        )  # fmt: skip

    def _reader(self, place: ThoughtPlace | None, *, is_closed: bool = False) -> ReplyReader:
        return ReplyReader(place, is_closed=is_closed, keeps_chances=self._request.top_logprobs is not None)

    async def _replies(self) -> AsyncGenerator[TurnDelta]:
        """The reply, and where its thought was cut, what follows on it."""
        # What is known of a reply that is not to think: nothing, if the template opens a thought all the same.
        place = self._known.place if self._thinking else None if self._known.place == "opened" else "tags"
        async with aclosing(self._exchange(self._first_body, self._reader(place))) as deltas:
            async for delta in deltas:
                yield delta
        self._is_spent = self._is_spent or self._has_thought_all()
        if not self._is_spent:
            return
        for delta in self._finish():
            yield delta
        thought = "".join(self._thought)
        if thought.strip() and await self._continues():
            self._way = "continued"
            try:
                reader = self._reader("tags", is_closed=True)
                async with aclosing(self._exchange(lambda: self._continued_body(thought), reader)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except Failure as failure:
                if failure.status is None or self._readers[-1].has_begun:
                    raise
                log.warning("%s; asking again instead", failure.message)
                self._known.continues = False
                self._readers.pop()
                self._prompts.pop()
        self._way = "reasked"
        note = _CUT_OFF.format(thought.strip()) if thought.strip() else _HIDDEN
        self._written = add_note(self._written, note)
        place = None if self._known.place == "opened" else "tags"
        reader = self._reader(place)
        async with aclosing(self._exchange(lambda: self._answer_body(thinking=False), reader)) as deltas:
            async for delta in deltas:
                yield delta

    async def _exchange(
        self, make_body: Callable[[], dict[str, Any]], reader: ReplyReader
    ) -> AsyncGenerator[TurnDelta]:
        """One request and its reply, up to its end or to where a budget is spent."""
        self._readers.append(reader)
        self._prompts.append(0)
        for lesson in range(MAX_LESSONS):
            body = make_body()
            self._prompts[-1] = estimate_prompt(body, self._request.messages)
            try:
                async with aclosing(self._http.chunks(body, self._watch)) as chunks:
                    async for chunk in chunks:
                        left = self._thought_left(reader)
                        deltas = reader.feed(chunk)
                        answer_tokens = self._request.answer_tokens
                        if self._thinking and answer_tokens is not None and reader.num_held_tokens > answer_tokens:
                            deltas += reader.assume_thought()
                        for delta in deltas:
                            yield _shortened(delta, left)
                        if self._must_cut(reader):
                            return
                return
            except Failure as failure:
                is_learnt = not reader.has_begun and self._known.learn(failure, body)
                # Our estimate of the prompt may have left the reply more room than there is.
                is_crowded = is_overflow(failure) and self._known.limit_field in body and not self._has_room
                self._has_room = self._has_room or is_crowded
                if lesson == MAX_LESSONS - 1 or not (is_learnt or is_crowded):
                    raise

    def _must_cut(self, reader: ReplyReader) -> bool:
        """Whether a budget is spent: the thought's, which another way goes on from, or the answer's."""
        left = self._thought_left(reader)
        if left is not None and left <= 0 and reader.in_thought and reader.finish_reason is None:
            self._is_spent = len(self._readers) == 1
            return self._is_spent
        wanted, said = self._request.answer_tokens, reader.counts.answer
        if wanted is not None and reader.finish_reason is None and said > _with_slack(wanted):
            reader.finish_reason = "length"
            return True
        return False

    def _has_thought_all(self) -> bool:
        """Thought, seen or hidden, took the answer's room as well: the upstream keeps no budget."""
        reader = self._readers[-1]
        has_answered = bool(reader.text) or any(reader.calls())
        return self._think_tokens is not None and reader.finish_reason == "length" and not has_answered

    def _thought_left(self, reader: ReplyReader) -> int | None:
        """Tokens of thought until we cut; None where nothing is to be cut."""
        if self._think_tokens is None or len(self._readers) > 1:
            return None
        is_kept = self._known.has_exact_budget
        return (_with_slack(self._think_tokens) if is_kept else self._think_tokens) - reader.counts.thought

    def _first_body(self) -> dict[str, Any]:
        request = self._request
        if not self._thinking:
            return self._answer_body(thinking=False)
        both = None
        if request.answer_tokens is not None and self._think_tokens is not None:
            both = self._think_tokens + request.answer_tokens
        return self._body(thinking=True, limit=both)

    def _answer_body(self, *, thinking: bool) -> dict[str, Any]:
        """A request for the answer alone; with room for a thought that cannot be switched off."""
        limit, dialect = self._request.answer_tokens, self._known.dialect
        does_think = dialect.switch == "effort" or self._known.place in ("field", "tags", "opened")
        if limit is not None and not thinking and does_think and not dialect.can_switch_off:
            limit += EFFORT_THINK_TOKENS["low"] or 0
        return self._body(thinking=thinking, limit=limit)

    def _continued_body(self, thought: str) -> dict[str, Any]:
        return self._known.continued(self._answer_body(thinking=True), thought)

    def _body(self, *, thinking: bool, limit: int | None) -> dict[str, Any]:
        known = self._known
        budget = self._think_tokens if thinking else None
        if known.dialect.budget == "thinking" and budget is not None and limit is not None:
            limit += max(0, LEAST_THINKING_BUDGET - budget)
        body = known.body(self._request, self._written, thinking=thinking, think_tokens=budget, limit=limit)
        if self._has_room:
            body.pop(known.limit_field, None)
        elif known.context_tokens is not None and known.limit_field in body:
            room = known.context_tokens - estimate_prompt(body, self._request.messages)
            body[known.limit_field] = max(1, min(body[known.limit_field], room))
        return body

    async def _continues(self) -> bool:
        """Whether the upstream goes on with an assistant's message; found out once, by two requests of one token."""
        if self._known.continues is None:
            counts: list[Any] = []
            try:
                for body in self._known.probes():
                    async with aclosing(self._http.chunks(body, self._watch)) as chunks:
                        counts += [(chunk.get("usage") or {}).get("prompt_tokens") async for chunk in chunks]
            except Failure as failure:
                if failure.is_passing:
                    return False  # not known, then, until next time
            is_shorter = len(counts) == 2 and all(isinstance(count, int) for count in counts) and counts[0] < counts[1]
            self._known.continues = is_shorter
            log.info("%s: continue_final_message %s", self._known.model, "works" if is_shorter else "does nothing")
        return self._known.continues

    def _finish(self) -> list[TurnDelta]:
        """What the last reply still held back, once."""
        if not self._readers:
            return []
        reader = self._readers[-1]
        is_whole = self._cut is None and not self._is_spent and reader.finish_reason in (None, "stop")
        deltas = reader.finish(is_whole=is_whole)
        if self._thinking and len(self._readers) == 1:
            self._known.learn_place(reader.tags.found)
        return deltas

    def _kept(self, delta: TurnDelta) -> TurnDelta:
        (self._thought if delta.kind == "thought" else self._text).append(delta.text)
        return delta

    def _usage(self) -> TurnUsage:
        parts = [reader.usage(prompt) for reader, prompt in zip(self._readers, self._prompts, strict=True)]
        return TurnUsage(
            sum(part.prompt_tokens for part in parts), sum(part.cached_tokens for part in parts),
            sum(part.thought_tokens for part in parts), sum(part.answer_tokens for part in parts),
            estimated=any(part.estimated for part in parts),
        )  # fmt: skip

    def _kept_budget(self, usage: TurnUsage) -> BudgetEnforced:
        """Whether the upstream kept the budget by itself."""
        budget = self._think_tokens if self._thinking else 0
        if budget is None or usage.thought_tokens <= (_with_slack(budget) if budget else 0):
            return "native"
        return "none"

    def _error(self, failure: Failure) -> Exception:
        if is_overflow(failure):
            return ContextOverflowError(
                f"the conversation does not fit {self._known.model}: {failure.message}",
                hint="ask less at once, or choose a model with a longer context",
            )
        return failure.error()


def _with_slack(tokens: int) -> int:
    return int(tokens * SLACK_SHARE) + SLACK_TOKENS


def _shortened(delta: TurnDelta, left: int | None) -> TurnDelta:
    """A long piece of thought, cut where the budget ends: some servers send whole paragraphs."""
    if left is None or delta.kind != "thought":
        return delta
    most = 2 * CHARACTERS_PER_TOKEN * max(1, left)
    return delta if len(delta.text) <= most else delta._replace(text=delta.text[:most])
