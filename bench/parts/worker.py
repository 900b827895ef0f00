"""One contestant in a process of its own: `python -m parts.worker JOB`, where JOB is JSON; one JSON line on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

from parts.contest import measure
from parts.work import Row, rows_for


def main() -> int:
    job = json.loads(sys.argv[1])
    print(json.dumps(_do(job)), flush=True)
    return 0


def _do(job: dict[str, Any]) -> dict[str, Any]:
    model, kind = job["model"], job["kind"]
    rows = [row for row in rows_for(model, quick=job["quick"]) if row.name in job["rows"]]
    # Imported here: a process loads what its own contestant needs, and what is not installed is missed by that one.
    if kind == "machine":
        return _machine(model, rows)
    if kind == "more":
        from parts.more import more_rows

        return {"rows": more_rows(model, job["setting"], quick=job["quick"], runs=job["runs"])}
    if kind == "narthex":
        from parts.ours import Ours, best_two_apart

        # A large model as float32 is twice the bytes of "half" for the same numbers.
        ours = Ours(model, precisions=("half", "bfloat16") + (("float32",) if "nano" in model else ()))
        found = measure(ours, rows, job["runs"])
        found["check"]["apart"] = best_two_apart(ours.open("float32").core)
        return found
    if kind == "narthex_variants":
        return _variants(model, rows, job["settings"], job["runs"])
    if kind == "narthex_int8":
        from parts.ours import Ours

        return measure(Ours(model, precisions=("int8",)), rows, job["runs"])
    if kind == "transformers":
        from parts.theirs_transformers import Generate

        return measure(Generate(model), rows, job["runs"])
    if kind == "transformers_continuous":
        from parts.theirs_transformers import Continuous

        contestant = Continuous(model)
        try:
            return measure(contestant, rows, job["runs"])
        finally:
            contestant.close()
    from parts.theirs_llama_cpp import LlamaCpp

    precisions = ("Q8_0",) if kind == "llama_cpp_q8_0" else ("BF16", "F16") + (("F32",) if "nano" in model else ())
    return measure(LlamaCpp(model, precisions=precisions), rows, job["runs"])


def _machine(model: str, rows: list[Row]) -> dict[str, Any]:
    from narthex.weights import open_model
    from parts.ceiling import ceiling, weight_bytes
    from parts.checkpoints import checkpoint
    from parts.machine import measure as measure_machine

    text = open_model(checkpoint(model)).config.text
    rates = measure_machine(round(weight_bytes(text, 1)))
    return {"rates": rates._asdict(), "rows": {row.name: ceiling(text, row, rates)._asdict() for row in rows}}


def _variants(model: str, rows: list[Row], settings: dict[str, Any], runs: int) -> dict[str, Any]:
    """The engine as its users reach it, and with fixed shapes: at the settings that were chosen for its core."""
    from parts.ours import Ours
    from parts.work import median_of, prompts_for, short

    found: dict[str, Any] = {}
    for row in rows:
        if row.name not in settings:
            continue
        found[row.name] = {}
        variants = {"async": Ours(model, how="async"), "deterministic": Ours(model, deterministic=True)}
        for name, contestant in variants.items():
            contestant.run(settings[row.name], short(row), prompts_for(short(row), contestant.text, -1))
            timings = [
                contestant.run(settings[row.name], row, prompts_for(row, contestant.text, seed)) for seed in range(runs)
            ]
            found[row.name][name] = median_of(timings, row).score(row)
    return {"rows": found}


if __name__ == "__main__":
    sys.exit(main())
