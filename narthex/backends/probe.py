"""What a server says of itself: GET /v1/models, read once when an upstream is opened."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import httpx2

from narthex.backends.dialects import OWNERS
from narthex.backends.settings import needs_certificates
from narthex.base.errors import BackendError, ConfigError

MAX_LIST_BYTES = 4 * 2**20  # of models; the longest public list has some hundred kilobytes
_SHOWN_MODELS = 8


class ServedModel(NamedTuple):
    """A model as the server lists it; None is what it does not say."""

    id: str
    dialect: str | None
    context_tokens: int | None


def list_models(
    urls: Sequence[str], headers: dict[str, str], *, connect_s: float, trust_env: bool = False
) -> list[ServedModel]:
    """The models that the first of `urls` which answers serves. Blocks for at most `connect_s` a URL, twice over.

    Raises: BackendError where none answers with a list.
    """
    problem = BackendError("no upstream was asked")
    with httpx2.Client(
        verify=needs_certificates(urls), trust_env=trust_env, follow_redirects=False, timeout=connect_s
    ) as client:
        for url in urls:
            try:
                with client.stream("GET", f"{url}/models", headers=headers) as response:
                    body = b"".join(_bounded(response, time.monotonic() + connect_s))
                if response.status_code != 200:
                    problem = _wrong_status(url, response.status_code)
                    continue
                return [_served(entry) for entry in json.loads(body)["data"] if isinstance(entry.get("id"), str)]
            except httpx2.TransportError as error:
                why = "it does not answer" if isinstance(error, httpx2.TimeoutException) else str(error) or "no answer"
                problem = BackendError(f"{url} cannot be reached: {why}", hint="start the server, or check its url")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                problem = BackendError(
                    f"{url}/models is no list of models", hint="check that the url ends where /models follows"
                )
    raise problem


def choose_model(models: Sequence[ServedModel], url: str) -> ServedModel:
    """The only model there is. Raises: ConfigError where there are several, or none."""
    if len(models) == 1:
        return models[0]
    shown = ", ".join(model.id for model in models[:_SHOWN_MODELS]) + (", …" if len(models) > _SHOWN_MODELS else "")
    raise ConfigError(
        f"{url} serves {len(models)} models" + (f": {shown}" if models else ""),
        hint="name the one you mean" if models else "load a model there first",
    )


def _bounded(response: httpx2.Response, until: float) -> Iterator[bytes]:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("compressed")
    size = 0
    for piece in response.iter_raw():
        size += len(piece)
        if size > MAX_LIST_BYTES or time.monotonic() > until:
            raise ValueError("too long")
        yield piece


def _wrong_status(url: str, status: int) -> BackendError:
    if status in (401, 403):
        hint = "name the key's variable as key_env in narthex.toml"
        return BackendError(f"{url} wants an API key (status {status})", hint=hint)
    return BackendError(f"{url}/models answers with status {status}", hint="check the url, and the server's log")


def _served(entry: dict[str, Any]) -> ServedModel:
    meta = entry.get("meta")
    places: list[Any] = [entry.get(name) for name in ("max_model_len", "context_length", "context_window")]
    places += [meta.get("n_ctx"), meta.get("n_ctx_train")] if isinstance(meta, dict) else []
    sizes = [size for size in places if isinstance(size, int) and not isinstance(size, bool) and size > 0]
    owner = entry.get("owned_by")
    dialect = OWNERS.get(owner) if isinstance(owner, str) else None
    return ServedModel(entry["id"], dialect, sizes[0] if sizes else None)
