"""Pictures at addresses elsewhere, of domains that an administrator allowed; without one, nothing is ever fetched.

A URL in a question is a wish of a stranger, and this server may reach what the stranger may not. So: the host must be
allowed by its name, which is resolved once; every address it has must be public; the connection goes to the very
address that was checked, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from narthex.serve.errors import ApiError

MAX_REMOTE = 8  # pictures of one request
MAX_REMOTE_BYTES = 32 * 2**20  # of all of them together: as much as a request may bring itself
TOTAL_S = 20.0  # for all of them together
_AT_ONCE = 8  # of all requests
_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-~]+")  # ASCII without spaces: what is more has two readings
_PARTS = ("image_url", "input_image")
_TUNNELS = (ipaddress.ip_network("2001::/32"), ipaddress.ip_network("2002::/16"))  # they hold IPv4 addresses
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")


class Target(NamedTuple):
    """A URL that may be fetched, in its parts."""

    scheme: str
    host: str
    rest: str  # path and query


class _Place(NamedTuple):
    """Where in a request a URL stands: `holder[key]`, which a message calls `where`."""

    holder: dict[str, Any]
    key: str
    where: str


class RemotePictures:
    """Fetches for one server. `domains` as in the settings; without any nothing is looked at."""

    def __init__(self, domains: tuple[str, ...]) -> None:
        self._domains = tuple(domain.lower() for domain in domains)
        self._fetching = asyncio.Semaphore(_AT_ONCE)

    async def inlined(self, body: Any) -> Any:
        """The JSON of a request, with allowed pictures in place of their URLs, as data URIs. It is changed in place.

        What is not allowed stays, and is refused by whoever reads it. Raises: ApiError for what cannot be fetched.
        """
        if not self._domains or not isinstance(body, dict):
            return body
        found = [(place, target) for place in _places(body) if (target := self.target(place.holder[place.key]))]
        if len(found) > MAX_REMOTE:
            raise ApiError(f"more than {MAX_REMOTE} pictures to fetch", param=found[-1][0].where, code="remote_picture")
        left = MAX_REMOTE_BYTES
        try:
            async with asyncio.timeout(TOTAL_S):
                for place, target in found:
                    async with self._fetching:
                        data = await _fetch(target, place.where, left)
                    left -= len(data)
                    place.holder[place.key] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
        except TimeoutError:
            raise _refused(found[-1][0].where, f"did not come within {TOTAL_S:.0f} s") from None
        return body

    def target(self, url: Any) -> Target | None:
        """What to fetch for that URL; None for what is none, or of no allowed domain."""
        if not isinstance(url, str) or not _PLAIN.fullmatch(url) or "\\" in url:
            return None
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return None
        if parts.scheme not in _PORTS or port not in (None, _PORTS[parts.scheme]) or "@" in parts.netloc:
            return None
        if not any(host == domain or (domain[:2] == "*." and host.endswith(domain[1:])) for domain in self._domains):
            return None
        return Target(parts.scheme, host, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def is_public(address: str) -> bool:
    """Whether an address is anybody's on the internet: neither this machine's nor its network's, in any disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6 and (ip not in _GLOBAL_V6 or any(ip in tunnel for tunnel in _TUNNELS)):
        return False
    return ip.is_global and not ip.is_multicast


def _places(body: dict[str, Any]) -> Iterator[_Place]:
    """Every URL of a picture in `messages` (Chat Completions) or `input` (Responses)."""
    waiting: list[tuple[Any, str]] = [(body.get(name), name) for name in ("messages", "input")]
    while waiting:
        value, where = waiting.pop()
        if isinstance(value, list):
            waiting += [(entry, f"{where}[{number}]") for number, entry in enumerate(value)]
        elif isinstance(value, dict):
            shown = value.get("image_url")
            if value.get("type") in _PARTS and isinstance(shown, str):
                yield _Place(value, "image_url", f"{where}.image_url")
            elif value.get("type") in _PARTS and isinstance(shown, dict):
                yield _Place(shown, "url", f"{where}.image_url")
            waiting += [(value[name], f"{where}.{name}") for name in ("content", "output") if name in value]


async def _fetch(target: Target, where: str, most_bytes: int) -> bytes:
    """Raises: ApiError."""
    authority = await _resolve(target, where)
    import httpx2  # an HTTP client for what most servers never do

    headers = {"host": target.host, "accept": "image/*", "accept-encoding": "identity", "user-agent": "narthex"}
    data = bytearray()
    try:
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=TOTAL_S) as client:
            async with client.stream(
                "GET", f"{target.scheme}://{authority}{target.rest}", headers=headers,
                extensions={"sni_hostname": target.host},
            ) as reply:  # fmt: skip
                if reply.status_code != 200:
                    is_moved = 300 <= reply.status_code < 400
                    raise _refused(where, "is a redirect" if is_moved else f"got a {reply.status_code}")
                if reply.headers.get("content-encoding", "identity") != "identity":
                    raise _refused(where, "came compressed")
                async for piece in reply.aiter_raw():
                    data += piece
                    if len(data) > most_bytes:
                        raise _refused(where, f"makes more than {MAX_REMOTE_BYTES // 2**20} MiB")
    except httpx2.HTTPError as error:
        raise _refused(where, f"could not be fetched ({type(error).__name__})") from None
    return bytes(data)


async def _resolve(target: Target, where: str) -> str:
    """Address and port to connect to. All addresses of the name must be public. Raises: ApiError."""
    port = _PORTS[target.scheme]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _refused(where, f"is at {target.host}, which is not found") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise _refused(where, f"is at {target.host}, which is no public address")
    return f"[{addresses[0]}]:{port}" if ":" in addresses[0] else f"{addresses[0]}:{port}"


def _refused(where: str, why: str) -> ApiError:
    return ApiError(
        f"'{where}' {why}", param=where, code="remote_picture", hint="send the picture itself: data:image/png;base64,…"
    )
