"""The page: files made from web/, the same for everybody. What they show comes from the routes."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from narthex.base.errors import ConfigError
from narthex.serve.errors import ApiError

FOLDER = Path(__file__).resolve().parent / "dist"
SOURCE = Path(__file__).resolve().parents[2] / "web"
# Nothing from elsewhere, no script or style inside the page; pictures are fetched by script, with the key.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY, "referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin",
}  # fmt: skip
HOW_TO_GET = "The page is not built here: run `make page` (it needs Node 20), or install Narthex from its wheel."
# Files under assets/ carry a hash of what they hold in their names, but for those of web/public.
_FOREVER, _ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2", ".webmanifest": "application/manifest+json",
}
_SQUEEZED = (".html", ".js", ".css", ".svg", ".webmanifest")
_ROOT_FILES = ("index.html", "manifest.webmanifest", "favicon.svg")


class Served(NamedTuple):
    """A file of the page; `squeezed` is the same by gzip, where that helps."""

    data: bytes
    squeezed: bytes | None
    media_type: str


def make_page_router(folder: Path = FOLDER) -> APIRouter:
    """The page's routes. Where it has not been built, / says in one line how to get it."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        if not is_built(folder):
            told = f"<!doctype html><title>Narthex</title><p>{HOW_TO_GET} The API at /v1 works all the same.</p>"
            return HTMLResponse(told, headers=HEADERS)
        return _reply(request, folder, "index.html")

    for name in _ROOT_FILES:
        router.add_api_route(f"/{name}", _giver(folder, name), methods=["GET", "HEAD"])

    @router.api_route("/assets/{name}", methods=["GET", "HEAD"])
    async def asset(request: Request, name: str) -> Response:
        return _reply(request, folder, f"assets/{name}")

    return router


def is_built(folder: Path = FOLDER) -> bool:
    """Whether there is a page to show."""
    return (folder / "index.html").is_file()


def build(say: Callable[[str], None]) -> None:
    """Make the page from web/, as `make page` does. Raises: ConfigError that says what is missing."""
    if not SOURCE.is_dir():
        raise ConfigError("the page is not in this installation, nor is its source", hint="install Narthex's wheel")
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError("the page is not built, and there is no Node here to build it", hint="install Node 20")
    say("building the page, once (npm ci, npm run build)")
    for step in (["ci", "--ignore-scripts"], ["run", "build"]):
        done = subprocess.run([npm, *step], cwd=SOURCE, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise ConfigError(f"the page could not be built: {lines[-1] if lines else step}", hint="make page")


def _giver(folder: Path, name: str) -> Callable[[Request], Response]:
    def give(request: Request) -> Response:
        return _reply(request, folder, name)

    return give


def _reply(request: Request, folder: Path, name: str) -> Response:
    """Raises: ApiError 404."""
    path = folder / name
    # A name is one step, so that it leads nowhere else; what the build did not make is not there.
    if path.suffix not in _TYPES or "\\" in name or ".." in name or not path.is_file():
        raise ApiError(f"there is nothing at GET /{name[:200]}", status=404, code="unknown_url")
    found = _read(path, path.stat().st_mtime_ns)
    headers = {**HEADERS, "cache-control": _FOREVER if _is_hashed(name) else _ASK_AGAIN, "vary": "accept-encoding"}
    if found.squeezed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.squeezed, media_type=found.media_type, headers={**headers, "content-encoding": "gzip"})
    return Response(found.data, media_type=found.media_type, headers=headers)


def _is_hashed(name: str) -> bool:
    return name.startswith("assets/") and Path(name).stem[-9:-8] == "-"  # as vite names them: NAME-HASH, 8 signs


@lru_cache(maxsize=256)
def _read(path: Path, changed_ns: int) -> Served:
    """A file, kept in memory until it changes."""
    data = path.read_bytes()
    squeezed = gzip.compress(data, 9, mtime=0) if path.suffix in _SQUEEZED else None
    return Served(data, squeezed, _TYPES[path.suffix])
