"""python: run code that the model wrote, in the kernel sandbox, in the conversation's folder."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from weakref import WeakValueDictionary

from PIL import Image
from pydantic import Field

from narthex.base.errors import ModelMistake
from narthex.chat import Part, TextPart
from narthex.tools import harvest, sandbox
from narthex.tools.contract import ToolContext, tool

MAX_PICTURES, MAX_FILES = 8, 16  # that come back from one run; more than that is no answer but a mess
MAX_FILE_BYTES, MAX_PIXELS = 8 * 2**20, 16_000_000  # each; all of a run are in memory at once
MAX_GIVEN = 8
_PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_NAME_CHARS = 100

# Runs in one folder take turns, so that what one leaves is not taken for another's.
_turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

_Index = Annotated[int, Field(ge=0)]


@tool(timeout_s=150.0, needs_approval=True)
async def python(
    context: ToolContext,
    code: Annotated[str, Field(min_length=1, max_length=200_000, description="Python source, run like a cell")],
    pictures: Annotated[
        tuple[_Index, ...],
        Field(max_length=MAX_GIVEN, description="pictures to lay into the folder first, as picture-0.png and so on"),
    ] = (),
) -> list[Part]:
    """Run Python in a fresh process, without network, in a folder that is kept: its output, the value of the last
    expression, new pictures and new files come back. numpy and Pillow are there; a figure left open comes back too.
    """
    if problem := sandbox.sandbox_problem():
        raise ModelMistake(f"no code can be run here: {problem}")
    given = {f"picture-{index}.png": _png(context.open_picture(index)) for index in pictures}
    folder = context.folder.resolve()
    turn = _turns.setdefault(str(folder), asyncio.Lock())
    async with turn:
        before = await asyncio.to_thread(_lay_out, folder, given)
        try:
            outcome = await sandbox.run(code, folder)
        except sandbox.SandboxError as error:
            raise ModelMistake(error.message) from None
        found = await asyncio.to_thread(_gather, folder, before)
    kept, left = _hand_over(context, found)
    return [TextPart(text=describe(outcome, left)), *kept]


class _Found(NamedTuple):
    """A file that a run left: its bytes unless it is too large, the picture in it where it is one."""

    name: str
    data: bytes | None
    image: Image.Image | None


def describe(outcome: sandbox.Outcome, left: Sequence[str] = ()) -> str:
    """What the model reads of a run: output, errors, how it ended if not well, and files that did not come back."""
    said = [outcome.stdout.rstrip("\n"), outcome.stderr.rstrip("\n")]
    if outcome.ended != "exit":
        said.append(f"[{_reason(outcome)}]")
    elif outcome.exit_code:
        said.append(f"[exit code {outcome.exit_code}]")
    if left:
        more = f" and {len(left) - MAX_FILES} more" if len(left) > MAX_FILES else ""
        said.append(f"[left in the folder: {', '.join(left[:MAX_FILES])}{more}]")
    return "\n".join(text for text in said if text) or "[no output]"


def _reason(outcome: sandbox.Outcome) -> str:
    limits = sandbox.Limits()
    reasons = {
        "time": f"stopped after {limits.wall_s:g} seconds",
        "cpu": f"stopped after {limits.cpu_s:g} seconds of processor time",
        "memory": f"stopped: more than {limits.memory_bytes >> 20} MiB of memory",
        "disk": f"stopped: more than {limits.disk_bytes >> 20} MiB in the folder; delete what is not needed",
        "files": f"stopped: more than {limits.files} files in the folder; delete what is not needed",
        "processes": f"stopped: more than {limits.processes} processes",
    }
    return reasons.get(outcome.ended, f"killed by signal {outcome.signal or 9}")


def _lay_out(folder: Path, given: dict[str, bytes]) -> dict[str, harvest.Stamp]:
    """Put the pictures in, and note what is there before the code runs."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, data in given.items():
        try:
            harvest.put(folder, name, data)
        except OSError as error:
            raise ModelMistake(f"{name} cannot be laid into the folder: {error.strerror}") from None
    sandbox.prepare(folder)  # a change of owner counts as a change, so it comes before the stamps
    return harvest.stamps(folder)


def _gather(folder: Path, before: dict[str, harvest.Stamp]) -> list[_Found]:
    """New and changed files in the order written. What is beyond all that may come back is not read."""
    found: list[_Found] = []
    for number, name in enumerate(harvest.changed(before, harvest.stamps(folder))):
        data = harvest.take(folder, name, MAX_FILE_BYTES) if number < MAX_PICTURES + MAX_FILES else None
        found.append(_Found(name, data, None if data is None else _decode(name, data)))
    return found


def _hand_over(context: ToolContext, found: Sequence[_Found]) -> tuple[list[Part], list[str]]:
    """The parts that come back, pictures and files, each up to its number; and the names of what stays behind."""
    pictures: list[Part] = []
    files: list[Part] = []
    left: list[str] = []
    with tempfile.TemporaryDirectory() as private:  # where no other run can put a link in a file's place
        for name, data, image in found:
            if image is not None and len(pictures) < MAX_PICTURES:
                pictures.append(context.keep_picture(image))
            elif image is None and data is not None and len(files) < MAX_FILES:
                copy = Path(private, _shown(os.path.basename(name)).strip(". ") or "file")
                copy.write_bytes(data)
                try:
                    files.append(context.keep_file(copy))
                except ModelMistake:
                    left.append(_shown(name))
            else:
                left.append(_shown(name))
    return pictures + files, left


def _shown(name: str) -> str:
    """A file's name for people and models: printable, in one line, and not endless."""
    clean = "".join(char if char.isprintable() and char != "/" else "_" for char in name)
    stem, dot, ending = clean.rpartition(".")
    return clean if len(clean) <= _NAME_CHARS else f"{(stem or ending)[: _NAME_CHARS - 10]}{dot}{ending[:9]}"


def _decode(name: str, data: bytes) -> Image.Image | None:
    """The picture in `data` where its name says that it is one and it is sound, else None."""
    kind = _PICTURES.get(os.path.splitext(name)[1].lower())
    if kind is None:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            return _on_white(image) if image.width * image.height <= MAX_PIXELS else None
    except Exception:  # Pillow raises whatever its codecs do
        return None


def _on_white(image: Image.Image) -> Image.Image:
    """As RGB; what is transparent becomes paper."""
    if image.mode == "RGB":
        return image.copy()
    full = image.convert("RGBA")
    paper = Image.new("RGBA", full.size, "white")
    return Image.alpha_composite(paper, full).convert("RGB")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
