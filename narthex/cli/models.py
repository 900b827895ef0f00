"""`narthex models`: what is here, how large, and whether its files are sound."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from narthex.base.errors import NarthexError
from narthex.base.paths import narthex_home
from narthex.base.places import Place, places


def inspect(place: Place) -> dict[str, Any]:
    """Facts about one model, read from its headers and hashes; `problem` says why it cannot be opened, or is None."""
    from narthex.model import count_parameters
    from narthex.weights import check_folder
    from narthex.weights.check import meta_model

    facts: dict[str, Any] = {"name": place.name, "folder": str(place.folder), "shipped": place.is_shipped}
    try:
        checked = check_folder(place.folder)
        total, active = count_parameters(meta_model(checked.config))
    except NarthexError as error:
        return {**facts, "problem": error.message, "hint": error.hint}
    return {
        **facts,
        "bytes": checked.weight_bytes,
        "parameters": total,
        "active_parameters": active,
        "context_tokens": checked.config.text.max_position_embeddings,
        "sees_pictures": checked.config.vision is not None,
        "sha256": checked.manifest_sha256,
        "problem": None,
        "hint": None,
    }


def command(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the models that are here, each checked against its manifest of hashes.

    Put a model folder (Llama 4 format, safetensors) into NARTHEX_HOME/models to see it here.
    """
    found = [inspect(place) for place in places()]
    if as_json:
        print(json.dumps({"models": found}))
        return
    rows = [["model", "parameters", "active", "on disk", "context", "files"]]
    for facts in found:
        if facts["problem"] is not None:
            rows.append([facts["name"], "", "", "", "", f"refused: {facts['problem']}"])
            continue
        rows.append([
            facts["name"], short_count(facts["parameters"]), short_count(facts["active_parameters"]),
            short_bytes(facts["bytes"]), str(facts["context_tokens"]), f"as hashed ({facts['sha256'][:12]})",
        ])  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        print("none; name a folder with -m")
    print(f"\nmore go into {narthex_home() / 'models'}; any other folder: -m FOLDER")


def short_count(number: int) -> str:
    """7.0 M, 109 B: three digits or so, as models are spoken of."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def short_bytes(number: int) -> str:
    """In binary units: 14.4 MiB."""
    for size, letter in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number} B"
