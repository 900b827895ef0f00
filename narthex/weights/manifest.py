"""A folder's manifest: the sha256 of every file that counts, written when the folder is first opened.

The first opening trusts what it finds and says so; every later one compares. All bytes are hashed each time: size and
date can be kept by whoever changes a file, and one core hashes about 1 to 2 GB a second (the files of a large model are
hashed side by side), so that nano costs milliseconds and a hundred gigabytes less than reading them from most disks.
What a hash cannot do: hold a file still. Someone who may write to the folder while it is open can change what was
checked; keep a folder that others can write to out of their reach.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from narthex.base.errors import WeightsError
from narthex.base.log import get_logger
from narthex.base.paths import narthex_home
from narthex.weights.folder import MANIFEST_FILE
from narthex.weights.header import quoted, read_json_object

MANIFEST_VERSION = 1
SAY_ABOVE_BYTES = 4 * 1024**3  # hashing more than this takes seconds: say what is going on

log = get_logger("weights")


def check_manifest(folder: Path, hashes: Mapping[str, str]) -> bool:
    """Compare the hashes of a folder's files with its manifest; False if it has none yet.

    There can be two, in the folder and in NARTHEX_HOME (for folders that cannot be written to): all that exist must
    agree. Raises: WeightsError for a changed, missing or added file.
    """
    found = [path for path in (folder / MANIFEST_FILE, home_manifest(folder)) if path.is_file()]
    for path in found:
        _compare(_read_manifest(path), hashes, path)
    return bool(found)


def write_manifest(folder: Path, hashes: Mapping[str, str]) -> Path:
    """Note the hashes in the folder or, where that cannot be, in NARTHEX_HOME, and say so. Returns where."""
    path = _write_manifest(folder, hashes)
    log.warning("first opening of %s: its %d files are taken as they are, hashes in %s", folder, len(hashes), path)
    return path


def forget_manifests(folder: Path) -> None:
    """Remove what earlier openings noted about a folder whose files are about to be replaced."""
    for path in (folder / MANIFEST_FILE, home_manifest(folder)):
        path.unlink(missing_ok=True)


def home_manifest(folder: Path) -> Path:
    """Where the manifest of a folder that cannot be written to is kept."""
    return narthex_home() / "manifests" / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.json"


def hash_files(files: Sequence[Path]) -> dict[str, str]:
    """The sha256 of every file, by name: hex digits. Large folders are hashed on several threads."""
    total = sum(path.stat().st_size for path in files)
    if total > SAY_ABOVE_BYTES:
        log.warning("checking the hashes of %.1f GB before opening", total / 1e9)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:  # hashlib lets go of the lock
        return dict(zip((path.name for path in files), pool.map(_hash_file, files), strict=True))


def sum_hashes(hashes: Mapping[str, str]) -> str:
    """One hash for a whole folder, the same wherever its manifest is kept."""
    return hashlib.sha256("".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()).hexdigest()


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from None


def _read_manifest(path: Path) -> dict[str, str]:
    raw = read_json_object(path)
    hashes = raw.get("files")
    if raw.get("version") != MANIFEST_VERSION or not isinstance(hashes, dict):
        raise WeightsError(
            f"{path} is no manifest of version {MANIFEST_VERSION}",
            hint="if you trust the folder as it is, delete the manifest and open it again",
        )
    return hashes


def _compare(expected: Mapping[str, str], found: Mapping[str, str], manifest: Path) -> None:
    again = f"if you changed it yourself, delete {manifest} and open the folder again; if not, get the model again"
    for name, digest in found.items():
        if name not in expected:
            raise WeightsError(f"{name} was added after {manifest} was written", hint=again)
        if digest != expected[name]:
            raise WeightsError(
                f"{name} has another hash than {manifest} says: expected {quoted(expected[name])}, found {digest}",
                hint=again,
            )
    for name in expected:
        if name not in found:
            raise WeightsError(f"{quoted(name)}, which {manifest} lists, is gone", hint=again)


def _write_manifest(folder: Path, hashes: Mapping[str, str]) -> Path:
    content = {"version": MANIFEST_VERSION, "files": dict(sorted(hashes.items()))}
    path = folder / MANIFEST_FILE
    try:
        _write_whole(path, json.dumps(content, indent=1) + "\n")
        return path
    except OSError:  # a folder of someone else's, or on a medium that cannot be written to
        path = home_manifest(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, json.dumps({**content, "folder": str(folder)}, indent=1) + "\n")
    except OSError as error:
        raise WeightsError(
            f"the manifest of {folder} can be written neither there nor to {path}: {error.strerror}",
            hint="set NARTHEX_HOME to a folder that you may write to",
        ) from None
    return path


def _write_whole(path: Path, text: str) -> None:
    """Write a small file so that others see all of it or nothing."""
    handle, name = tempfile.mkstemp(prefix=".narthex-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)  # mkstemp makes it private, and a shared model folder has several readers
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
