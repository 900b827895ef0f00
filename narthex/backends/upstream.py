"""A model behind a server that speaks OpenAI's Chat Completions, as a backend like any other."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from narthex.backends.base import TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.backends.dialects import DIALECTS
from narthex.backends.probe import ServedModel, choose_model, list_models
from narthex.backends.settings import Settings, UpstreamSettings, find_upstream, is_in_the_clear
from narthex.backends.think_tags import ThoughtPlace
from narthex.backends.upstream_http import UpstreamHttp
from narthex.backends.upstream_request import Known
from narthex.backends.upstream_turn import Turn
from narthex.backends.watch import Interrupted, Watch
from narthex.backends.wire import picture_uri, write_messages
from narthex.base.errors import BackendError
from narthex.base.log import get_logger
from narthex.chat import ImagePart

log = get_logger(__name__)

ASSUMED_CONTEXT_TOKENS = 32_768  # where neither the settings nor the server say: most served models have more
_CACHED_PICTURES = 32  # encoded once, sent on each turn of a run


class UpstreamBackend:
    """One upstream. Close it with `aclose` in the event loop that used it last.

    `price` is the settings' own; `cost` is what a turn's usage comes to by it.
    """

    def __init__(self, known: Known) -> None:
        """Raises: ConfigError where the API key's variable is not set."""
        settings = known.settings
        self.name = known.model
        self.context_tokens = known.context_tokens or ASSUMED_CONTEXT_TOKENS
        self.max_parallel = settings.max_parallel
        self.price = settings.price
        self.known = known
        self._http = UpstreamHttp(settings, settings.key())
        self._slots: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._pictures: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`. Waiting for a place among `max_parallel` turns counts against the deadline."""
        watch = Watch(request.stop, request.deadline_s)
        end = TurnEnd("", "", (), (), "cancelled", TurnUsage(0, 0, 0, 0))  # where nothing was ever asked
        try:
            async with self._slot(watch):
                uris = await self._encode(request, watch)
                written = write_messages(
                    request.messages, lambda part: uris[part.sha256],
                    sends_thought=self.known.settings.accepts_reasoning, names_pictures=bool(request.tools),
                )  # fmt: skip
                turn = Turn(self.known, self._http, request, written, watch)
                async with aclosing(turn.stream()) as deltas:
                    async for delta in deltas:
                        yield delta
                end = turn.end()
        except Interrupted as interrupted:
            end = end._replace(finish_reason=interrupted.reason)
        finally:
            watch.close()
        yield end._replace(usage=end.usage._replace(cost=self.cost(end.usage)))

    def cost(self, usage: TurnUsage) -> float | None:
        """What it costs by the settings' price; None where none is set."""
        if self.price is None:
            return None
        cached = self.price.input if self.price.cached is None else self.price.cached
        fresh, out = usage.prompt_tokens - usage.cached_tokens, usage.thought_tokens + usage.answer_tokens
        return (fresh * self.price.input + usage.cached_tokens * cached + out * self.price.output) / 1e6

    async def aclose(self) -> None:
        """Let go of connections; the backend can be used again."""
        await self._http.aclose()

    @asynccontextmanager
    async def _slot(self, watch: Watch) -> AsyncIterator[None]:
        """A place among the turns that run at once."""
        loop = asyncio.get_running_loop()
        if self._slots is None or self._slots[0] is not loop:
            self._slots = (loop, asyncio.Semaphore(self.max_parallel))
        places = self._slots[1]
        taken = asyncio.ensure_future(places.acquire())
        try:
            await watch.wait(taken)
        except BaseException:
            if taken.done() and not taken.cancelled():  # it came through at the very moment
                places.release()
            raise
        try:
            yield
        finally:
            places.release()

    async def _encode(self, request: TurnRequest, watch: Watch) -> dict[str, str]:
        """A data URI for each picture, by its hash. Encoding takes a while, so a thread does it."""
        uris: dict[str, str] = {}
        for part in _pictures(request):
            key = (request.tenant, part.sha256)
            if key not in self._pictures:
                image, side = request.load_image(part), self.known.settings.picture_side
                uri = await watch.wait(asyncio.to_thread(picture_uri, image, max_side=side))
                self._pictures[key] = uri
            self._pictures.move_to_end(key)
            uris[part.sha256] = self._pictures[key]
        while len(self._pictures) > _CACHED_PICTURES:
            self._pictures.popitem(last=False)
        return uris


def open_upstream(name_or_url: str, settings: Settings, *, model: str | None = None) -> UpstreamBackend:
    """An upstream of the settings, or the one at a bare URL.

    What neither says is asked for at GET /v1/models: which model (where there is one only), its context, its dialect.
    Blocks for as long as that takes, at most some `connect_s`; in an event loop, call it in a thread.
    Raises: ConfigError for an unknown name, several models or a missing key; BackendError where nobody answers.
    """
    chosen = find_upstream(name_or_url, settings)
    wanted = model or chosen.model
    if chosen.key_env and any(is_in_the_clear(url) for url in chosen.urls):
        log.warning("%s: the API key goes over the network in the clear; use https", name_or_url)
    served = _ask(chosen, wanted)
    name = wanted or served.id
    dialect = chosen.dialect if chosen.dialect != "auto" else served.dialect or "plain"
    if chosen.dialect == "auto":
        why = "as its list of models says" if served.dialect else "as nothing tells otherwise"
        log.info("%s at %s speaks the dialect '%s', %s", name, chosen.url, dialect, why)
    context_tokens = chosen.context_tokens or served.context_tokens
    if context_tokens is None:
        log.info("%s: a context of %d tokens is assumed; say context_tokens otherwise", name, ASSUMED_CONTEXT_TOKENS)
    spoken = DIALECTS[dialect]
    place: ThoughtPlace | None = "field" if spoken.has_field else None
    return UpstreamBackend(
        Known(
            chosen, name, spoken._replace(efforts=chosen.efforts or spoken.efforts), context_tokens,
            place=place if chosen.thought == "auto" else chosen.thought,
            continues=False if chosen.continues is None and not spoken.may_continue else chosen.continues,
        )
    )


def _ask(chosen: UpstreamSettings, wanted: str) -> ServedModel:
    """What the server says of the wanted model, or of its only one, where the settings leave something open."""
    if wanted and chosen.dialect != "auto" and chosen.context_tokens:
        return ServedModel(wanted, None, None)
    headers = UpstreamHttp(chosen, chosen.key()).headers
    try:
        models = list_models(
            chosen.urls, headers, connect_s=chosen.timeouts.connect_s, trust_env=chosen.trust_env
        )
    except BackendError as error:
        if not wanted:
            raise
        # Some hosted APIs have no such list; whether the server is there at all, the first turn will tell.
        log.warning("%s; so nothing is known of %s", error.message, wanted)
        return ServedModel(wanted, None, None)
    if not wanted:
        return choose_model(models, chosen.url)
    same_owner = models[0].dialect if models else None
    return next((entry for entry in models if entry.id == wanted), ServedModel(wanted, same_owner, None))


def _pictures(request: TurnRequest) -> list[ImagePart]:
    return [picture for message in request.messages for picture in message.pictures]
