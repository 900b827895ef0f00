"""What an administrator writes in `narthex.toml`: upstreams by name, a ceiling over every run's budget, the server."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints
from urllib.parse import urlsplit

from pydantic import ValidationError

from narthex.backends.dialects import DialectName
from narthex.base.config import did_you_mean, read_dataclass
from narthex.base.errors import ConfigError
from narthex.base.paths import narthex_home
from narthex.chat import EFFORT_THINK_TOKENS, Budget

if TYPE_CHECKING:
    from narthex.backends.upstream import UpstreamBackend

FILE_NAME = "narthex.toml"
_COMPLETIONS = "/chat/completions"
_OWN_FIELDS = ("messages", "model", "n", "stream", "tools")  # of a body; changed, nothing here would work
_OWN_HEADERS = ("authorization", "content-length", "content-type", "host", "transfer-encoding")


@dataclass(frozen=True)
class Timeouts:
    """Seconds. `first_byte_s` waits for a queue and a long prompt, `between_bytes_s` for the next piece after that."""

    connect_s: float = 10.0
    first_byte_s: float = 300.0
    between_bytes_s: float = 60.0

    def __post_init__(self) -> None:
        _check_positive(self, "connect_s", "first_byte_s", "between_bytes_s")


@dataclass(frozen=True)
class Price:
    """What a million tokens cost, in whatever currency the user counts. `cached` None: as much as other input."""

    input: float
    output: float
    cached: float | None = None


@dataclass(frozen=True)
class UpstreamSettings:
    """One upstream: a model behind one URL, or the same model behind several.

    `key_env` names the environment variable that holds the API key. `thought` says where the upstream puts thought
    (see `think_tags`), `continues` whether it honours `continue_final_message`; both are found out where not said.
    `efforts` are the levels of reasoning_effort that it takes, lowest first. `extra_body` joins every request.
    """

    url: str = ""
    urls: tuple[str, ...] = ()
    model: str = ""
    key_env: str = ""
    dialect: DialectName = "auto"
    context_tokens: int | None = None
    max_parallel: int = 8
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: int = 3
    backoff_s: float = 0.5
    rest_s: float = 30.0
    price: Price | None = None
    accepts_reasoning: bool = False
    thought: Literal["auto", "field", "tags", "opened", "none"] = "auto"
    continues: bool | None = None
    efforts: tuple[str, ...] = ()
    picture_side: int = 2048
    trust_env: bool = False
    extra_body: dict[str, Any] = field(default_factory=dict)
    extra_headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.urls):
            raise ConfigError("an upstream has either 'url' or 'urls'")
        object.__setattr__(self, "urls", tuple(base_url(url) for url in (self.urls or (self.url,))))
        object.__setattr__(self, "url", self.urls[0])
        _check_positive(self, "max_parallel", "backoff_s", "rest_s", "picture_side")
        if self.context_tokens is not None:
            _check_positive(self, "context_tokens")
        if self.retries < 0:
            raise ConfigError("'retries' should be 0 or more")
        unknown = [level for level in self.efforts if level not in EFFORT_THINK_TOKENS]
        if unknown:
            raise ConfigError(f"unknown effort '{unknown[0]}' (known: {', '.join(EFFORT_THINK_TOKENS)})")
        own = [name for name in self.extra_body if name in _OWN_FIELDS]
        own += [name for name in self.extra_headers if name.lower() in _OWN_HEADERS]
        if own:
            raise ConfigError(f"'{own[0]}' is written by Narthex itself" + _key_hint(own[0]))

    def key(self) -> str:
        """The API key; empty where none is configured. Raises: ConfigError where its variable is not set, or is odd."""
        if not self.key_env:
            return ""
        value = os.environ.get(self.key_env, "").strip()
        if not value:
            raise ConfigError(
                f"the environment variable {self.key_env} is not set", hint=f"set {self.key_env} to the API key"
            )
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise ConfigError(f"what {self.key_env} holds cannot be an API key", hint="it has odd characters in it")
        return value


@dataclass(frozen=True)
class Settings:
    """A read `narthex.toml`. `ceiling` lowers the budget of every run; an empty one lowers nothing.

    `serve` is the server's own table, as it stands there: `narthex.serve.settings` reads it.
    """

    upstreams: dict[str, UpstreamSettings] = field(default_factory=dict)
    ceiling: Budget = field(default_factory=Budget)
    serve: dict[str, Any] = field(default_factory=dict)


# Budget's own fields, for the reader that reports every problem of the file at once.
_CEILING = dataclasses.make_dataclass(
    "ceiling", [(name, hint, None) for name, hint in get_type_hints(Budget).items() if name in Budget.model_fields]
)
_FILE = dataclasses.make_dataclass(
    "file",
    [
        ("upstreams", dict[str, UpstreamSettings], field(default_factory=dict)),
        ("ceiling", _CEILING, field(default_factory=_CEILING)),
        ("serve", dict[str, Any], field(default_factory=dict)),
    ],
)


def load_settings(path: Path | None = None) -> Settings:
    """Read `path`, or narthex.toml in NARTHEX_HOME, which need not be there.

    Raises: ConfigError naming every unknown or ill-typed key at once, or a file that was named and cannot be read.
    """
    place = narthex_home() / FILE_NAME if path is None else Path(path)
    try:
        table = tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path is None:
            return Settings()
        raise ConfigError(f"{place} is not there", hint="name a TOML file; see examples/upstreams.toml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place} is no TOML: {error}", hint="see examples/upstreams.toml") from None
    read: Any = read_dataclass(_FILE, table, where=str(place))
    try:
        ceiling = Budget(**dataclasses.asdict(read.ceiling))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"{place}: 'ceiling.{where}': {first['msg'].lower()}") from None
    return Settings(read.upstreams, ceiling, read.serve)


def open_upstream(name_or_url: str, settings: Settings, *, model: str | None = None) -> UpstreamBackend:
    """See `narthex.backends.upstream.open_upstream`; here, so that settings load without an HTTP client."""
    from narthex.backends import upstream

    return upstream.open_upstream(name_or_url, settings, model=model)


def find_upstream(name_or_url: str, settings: Settings) -> UpstreamSettings:
    """The upstream of that name, or one at that URL with nothing else known of it. Raises: ConfigError."""
    if name_or_url in settings.upstreams:
        return settings.upstreams[name_or_url]
    if name_or_url.startswith(("http://", "https://")):
        return UpstreamSettings(url=name_or_url)
    guess = did_you_mean(name_or_url, settings.upstreams)
    known = ", ".join(settings.upstreams) or f"none; {FILE_NAME} in {narthex_home()} would name them"
    hint = f"did you mean '{guess}'?" if guess else f"give a URL (http://…), or one of: {known}"
    raise ConfigError(f"there is no upstream '{name_or_url}'", hint=hint)


def base_url(url: str) -> str:
    """The URL that `/chat/completions` is added to, without a slash at its end. Raises: ConfigError."""
    try:
        parts = urlsplit(url.strip())
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_fine = False
    if not is_fine:
        raise ConfigError(f"'{url[:200]}' is no URL of a server", hint="for example http://localhost:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("a URL holds no name or password", hint="put the key into a variable, and name it: key_env")
    if parts.query or parts.fragment:
        raise ConfigError(f"'{url[:200]}' has a query", hint="give the address alone, such as http://localhost:8000/v1")
    path = parts.path.rstrip("/").removesuffix(_COMPLETIONS)
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def needs_certificates(urls: Sequence[str]) -> bool:
    """Whether any of them is encrypted: reading the system's certificates takes a tenth of a second."""
    return any(url.startswith("https://") for url in urls)


def is_in_the_clear(url: str) -> bool:
    """Whether what is sent there can be read on the way: not encrypted, and not to this machine."""
    host = urlsplit(url).hostname or ""
    return url.startswith("http://") and host not in ("localhost", "::1") and not host.startswith("127.")


def _check_positive(settings: Any, *names: str) -> None:
    wrong = [name for name in names if not getattr(settings, name) > 0]
    if wrong:
        raise ConfigError(" and ".join(f"'{name}'" for name in wrong) + " should be more than 0")


def _key_hint(name: str) -> str:
    return "; name the key's variable in key_env" if name.lower() == "authorization" else ""
