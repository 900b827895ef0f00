"""`POST /api/inside`: what went on in the embedded model while an agent gave one of its replies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from narthex.backends import TurnRequest
from narthex.base.errors import InputError
from narthex.chat import Event, Message, Part, TextPart, ToolCall
from narthex.serve.belongings import run_of, store_of
from narthex.serve.bodies import Wire, check_body, read_body
from narthex.serve.callers import Caller
from narthex.serve.errors import ApiError, as_api_error
from narthex.serve.gate import caller_of
from narthex.serve.service import Service
from narthex.store import answered, line_of
from narthex.tokens.gallery import Gallery
from narthex.tools import get_tool

if TYPE_CHECKING:
    from narthex.backends.inside import Inside  # it loads PyTorch, which a server before an upstream needs not

# Others read more than the question: their peers' answers, which no event carries.
_ROLES = ("solo", "proposer")
_PROBABILITY_DIGITS = 6


class _HasInside(Protocol):
    def inside(self, request: TurnRequest) -> Inside: ...


class InsideBody(Wire):
    """Which reply: an agent's, counted from 0."""

    run_id: Annotated[str, Field(max_length=200)]
    agent_id: Annotated[str, Field(max_length=200)]
    turn: Annotated[int, Field(ge=0, le=10_000)] = 0


BODIES = {("post", "/api/inside"): InsideBody}


def make_inside_router(service: Service) -> APIRouter:
    """Its route. One such pass at a time: others are to have their answers meanwhile."""
    router, working = APIRouter(), asyncio.Semaphore(1)

    @router.post("/api/inside")
    async def inside(request: Request) -> Response:
        """Probabilities, experts and attention of each token of a reply."""
        caller = caller_of(request.scope)
        body = check_body(InsideBody, await read_body(request))
        async with working:
            found = await asyncio.to_thread(_look, service, caller, body)
        return JSONResponse(_told(found))

    return router


@dataclass
class _Reply:
    """One reply of an agent, as its events tell it, and what its calls brought."""

    thought: str = ""
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    results: list[tuple[str, tuple[Part, ...]]] = field(default_factory=list)
    is_over: bool = False

    def message(self) -> Message:
        said = (TextPart(text=self.text),) if self.text else ()
        return Message(role="assistant", parts=said, thought=self.thought, calls=tuple(self.calls))

    def messages(self) -> tuple[Message, ...]:
        results = (Message(role="tool", parts=parts, call_id=call_id) for call_id, parts in self.results)
        return (self.message(), *results)


def replies_of(events: Iterable[Event], agent_id: str) -> list[_Reply]:
    """The replies of one agent, in order. Calls that could not be read are in no message; what they got is."""
    replies: list[_Reply] = []
    for event in events:
        if event.agent_id != agent_id:
            continue
        is_new = event.type in ("thought_delta", "agent_text_delta", "answer_delta", "turn_finished")
        if is_new and (not replies or replies[-1].is_over):
            replies.append(_Reply())
        match event.type:
            case "thought_delta":
                replies[-1].thought += event.text
            case "agent_text_delta" | "answer_delta":
                replies[-1].text += event.text
            case "turn_finished":
                replies[-1].is_over = True
            case "tool_started" if replies and event.call.name != "unreadable":
                replies[-1].calls.append(event.call)
            case "tool_finished" if replies:
                replies[-1].results.append((event.call_id, event.parts))
            case "agent_finished":
                break
    return replies


def _look(service: Service, caller: Caller, body: InsideBody) -> Inside:
    """Raises: ApiError for a run that is not the caller's, or a reply that cannot be read again."""
    record, store = run_of(service, caller, body.run_id), store_of(service)
    backend = service.backends_for(caller).get(record.model)
    if not hasattr(backend, "inside"):
        raise ApiError(
            f"{record.model} cannot be looked into", param="run_id", code="unsupported_model",
            hint="only a model that is embedded here can",
        )  # fmt: skip
    events = store.events(record.id)
    start = next((event for event in events if event.type == "run_started"), None)
    agent = next((e for e in events if e.type == "agent_started" and e.agent_id == body.agent_id), None)
    conversation_id = store.conversations.home_of(record.id)
    if start is None or agent is None or conversation_id is None:
        raise ApiError("no conversation has that run and agent", status=404, param="agent_id", code="agent_not_found")
    if agent.role not in _ROLES:
        raise ApiError(
            f"{body.agent_id} read others' answers, which are not kept", param="agent_id", code="unsupported_agent",
            hint="look into one who answered the question as it was asked",
        )  # fmt: skip
    replies = replies_of(events, body.agent_id)
    if body.turn >= len(replies) or not replies[body.turn].is_over:
        raise ApiError(f"{body.agent_id} has no reply {body.turn}", status=404, param="turn", code="turn_not_found")
    turns = store.conversations.turns(conversation_id)
    turn = next(one for one in turns if one.run_id == record.id)
    before = answered(line_of(turns, turn.parent)).messages
    messages = (*before, *turn.asked, *_said(replies[: body.turn]), replies[body.turn].message())
    request = TurnRequest(
        messages=messages, load_image=Gallery(store.blobs).load, thinking=start.mode != "instant",
        tools=tuple(get_tool(name).spec for name in start.tools),
    )  # fmt: skip
    try:
        return cast(_HasInside, backend).inside(request)
    except InputError as error:
        raise as_api_error(error, param="turn") from None


def _said(replies: Sequence[_Reply]) -> Iterable[Message]:
    for reply in replies:
        yield from reply.messages()


def _told(found: Inside) -> dict[str, Any]:
    tokens = [
        {
            "id": token.id, "text": token.text, "probability": round(token.probability, _PROBABILITY_DIGITS),
            "top": [{"text": text, "probability": round(value, _PROBABILITY_DIGITS)} for text, value in token.top],
            "experts": token.experts,
            "attention": {str(place): grid for place, grid in enumerate(token.attention)},
        }
        for token in found.tokens
    ]  # fmt: skip
    pictures = [
        {
            "sha256": picture.part.sha256, "media_type": picture.part.media_type, "width": picture.part.width,
            "height": picture.part.height, "covers": picture.covers,
        }
        for picture in found.pictures
    ]  # fmt: skip
    return {"tokens": tokens, "pictures": pictures, "num_experts": found.num_experts}
