"""No long silence: where a run has nothing to tell for a while, it tells that."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from narthex.chat import AgentFinished, AgentStarted, Event, Waiting
from narthex.reason.clock import Clock
from narthex.reason.merge import Merge

QUIET_S = 2.0  # after so long without an event, one says that work goes on


async def with_waiting(events: AsyncGenerator[Event], clock: Clock) -> AsyncGenerator[Event]:
    """Pass events on, with a `waiting` after every QUIET_S seconds without any. Closing it closes the source."""
    source: Merge[Event] = Merge()
    source.add(events)
    at_work: dict[str, None] = {}
    last = clock.elapsed()
    async with aclosing(source.ticking(QUIET_S)) as stream:
        async for event in stream:
            if event is None:
                yield Waiting(**clock.stamp(), quiet_s=round(clock.elapsed() - last, 3), agents=tuple(at_work))
                continue
            last = clock.elapsed()
            if isinstance(event, AgentStarted):
                at_work[event.agent_id] = None
            elif isinstance(event, AgentFinished):
                at_work.pop(event.agent_id, None)
            yield event
