"""`/v1/files`: what a user uploads, to be named in questions."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from narthex.base.errors import InputError
from narthex.serve.belongings import file_of, store_of
from narthex.serve.bodies import MAX_BODY_BYTES, READ_S
from narthex.serve.errors import ApiError
from narthex.serve.gate import caller_of
from narthex.serve.queries import described, limit_of
from narthex.serve.service import Service
from narthex.store import FileRecord
from narthex.tokens.gallery import Gallery, MemoryBlobs

PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
MAX_NAME_CHARS = 255
MAX_LIST = 10_000  # as OpenAI has it
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}")
_FORM = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
    "type": "object", "required": ["file", "purpose"], "properties": {
        "file": {"type": "string", "format": "binary"}, "purpose": {"type": "string", "enum": list(PURPOSES)},
    },
}}}}}  # fmt: skip


def make_file_router(service: Service, decoding: asyncio.Semaphore) -> APIRouter:
    """Their routes."""
    router = APIRouter()

    @router.post("/v1/files", openapi_extra=_FORM)
    async def upload_file(request: Request) -> Response:
        """Keep a file: `file` and `purpose`, as multipart/form-data."""
        caller = caller_of(request.scope)
        store = store_of(service)
        data, name, purpose = await _read_form(request)
        async with decoding:
            media_type = await asyncio.to_thread(_media_type, data, name)
        record = await asyncio.to_thread(
            store.files.add, data, name=name, purpose=purpose, media_type=media_type, user=caller.user
        )
        return JSONResponse(_shown(record))

    @router.get("/v1/files", openapi_extra=described(limit="integer", after="string", purpose="string"))
    async def files(request: Request) -> Response:
        """The caller's, the newest first."""
        caller, query = caller_of(request.scope), request.query_params
        limit = limit_of(request, MAX_LIST, MAX_LIST)
        if after := query.get("after"):
            await asyncio.to_thread(file_of, service, caller, after)
        found = await asyncio.to_thread(
            store_of(service).files.list, user=caller.user, limit=limit + 1, after=after, purpose=query.get("purpose")
        )
        shown = [_shown(record) for record in found[:limit]]
        ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
        return JSONResponse({"object": "list", "data": shown, "has_more": len(found) > limit, **ends})

    @router.get("/v1/files/{file_id}")
    async def file(request: Request, file_id: str) -> Response:
        """One of them."""
        return JSONResponse(_shown(await asyncio.to_thread(file_of, service, caller_of(request.scope), file_id)))

    @router.delete("/v1/files/{file_id}")
    async def delete_file(request: Request, file_id: str) -> Response:
        """Forget it; a conversation that shows it keeps what it shows."""
        record = await asyncio.to_thread(file_of, service, caller_of(request.scope), file_id)
        await asyncio.to_thread(store_of(service).files.delete, record.id)
        return JSONResponse({"id": record.id, "object": "file", "deleted": True})

    @router.get("/v1/files/{file_id}/content")
    async def file_content(request: Request, file_id: str) -> Response:
        """Its bytes."""
        record = await asyncio.to_thread(file_of, service, caller_of(request.scope), file_id)
        data, _ = await asyncio.to_thread(store_of(service).blobs.get, record.sha256)
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(record.name, safe='')}",
            "content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, no-cache",
        }  # fmt: skip
        return Response(data, media_type="application/octet-stream", headers=headers)

    return router


async def _read_form(request: Request) -> tuple[bytes, str, str]:
    """The bytes, the name and the purpose. Raises: ApiError."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError("a file comes as multipart/form-data", code="invalid_type", hint="with 'file' and 'purpose'")
    try:
        async with asyncio.timeout(READ_S):
            form = await request.form(max_files=1, max_fields=8, max_part_size=MAX_BODY_BYTES)
            try:
                return await _parts(form)
            finally:
                await form.close()
    except TimeoutError:
        raise ApiError("the file did not arrive in time", status=408, hint=f"within {READ_S:.0f} s") from None
    except (HTTPException, MultipartParseError, KeyError, ValueError) as error:
        reason = getattr(error, "detail", "it cannot be read")
        raise ApiError(f"the form is not complete: {reason}", code="invalid_form") from None


async def _parts(form: FormData) -> tuple[bytes, str, str]:
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile):
        raise ApiError("'file' is missing", param="file", code="missing_required_parameter")
    if purpose not in PURPOSES:
        raise ApiError(
            "'purpose' is missing or unknown", param="purpose", code="invalid_value", hint=", ".join(PURPOSES)
        )
    data = await file.read()
    if not data:
        raise ApiError("the file is empty", param="file", code="invalid_value")
    return data, _name(file.filename or ""), str(purpose)


def _name(given: str) -> str:
    """The last step of a path, without anything that could lead elsewhere or cannot be shown."""
    last = PurePosixPath(given.replace("\\", "/")).name
    shown = "".join(sign for sign in last if sign.isprintable()).strip(". ")
    return shown[:MAX_NAME_CHARS] or "file"


def _media_type(data: bytes, name: str) -> str:
    """What the bytes are where they are a picture, else what the name says."""
    try:
        return Gallery(MemoryBlobs()).add_bytes(data).media_type
    except InputError:
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        is_fine = _MEDIA_TYPE.fullmatch(guessed) and not guessed.startswith("image/")
        return guessed if is_fine else "application/octet-stream"


def _shown(record: FileRecord) -> dict[str, Any]:
    return {
        "id": record.id, "object": "file", "bytes": record.size_bytes, "created_at": int(record.created),
        "filename": record.name, "purpose": record.purpose, "status": "processed", "expires_at": None,
        "status_details": None,
    }  # fmt: skip
