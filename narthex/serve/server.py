"""The server itself: a socket, on this machine alone unless there are keys, and uvicorn behind it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from narthex.base.errors import ConfigError
from narthex.serve.app import create_app
from narthex.serve.gate import is_loopback
from narthex.serve.service import Service

STOP_S = 3  # replies that are under way when the server is told to stop have so long to end
_BACKLOG = 512


def listen(host: str, port: int, *, has_keys: bool = False) -> socket.socket:
    """A listening socket; on the loopback alone where there are no keys. Port 0 is any that is free.

    Raises: ConfigError.
    """
    if not has_keys and not is_loopback(host):
        raise ConfigError(
            f"there are no keys yet, so Narthex listens on this machine alone, not on '{host[:100]}'",
            hint="leave --host out, or make a user and a key first: narthex users add NAME, narthex keys add NAME",
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # What a name stands for is for the machine's own files to say.
        if not has_keys and not is_loopback(str(address[0])):
            raise ConfigError(f"'{host[:100]}' is not this machine's own address", hint="use 127.0.0.1")
        taken = socket.socket(family, socket.SOCK_STREAM)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            taken.listen(_BACKLOG)
        except BaseException:
            taken.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}", hint="try another --port") from None
    return taken


def address_of(taken: socket.socket) -> str:
    """The URL at which clients reach it."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, taken: socket.socket, on_ready: Callable[[], None] | None = None) -> None:
    """Answer requests until the process is told to stop. Raises: StoreError where runs cannot be kept."""
    make_server(service, on_ready).run(sockets=[taken])


class Server(uvicorn.Server):
    """Ends the runs that are under way when it is told to stop; their clients are told so."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.stop()
        await super().shutdown(sockets)


def make_server(service: Service, on_ready: Callable[[], None] | None = None) -> uvicorn.Server:
    """A server that has not begun; `should_exit` ends it."""
    config = uvicorn.Config(
        create_app(service, on_ready=on_ready), log_config=None, access_log=False, server_header=False,
        ws="none", lifespan="on", timeout_graceful_shutdown=STOP_S,
    )  # fmt: skip
    return Server(config, service)
