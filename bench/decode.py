"""Tokens per second beside their ceiling and beside the programs that people use: `python bench/decode.py`.

    rows       one_stream, streams_8, streams_16: while all streams decode, prompts not counted
               agents_8_shared: eight agents over one prompt of 2,000 tokens, each with 16 of its own and 64 new ones;
               from submission to the last token, the prompt included; decoding alone stands beside it
    models     narthex-nano, as shipped; moe-1b, random weights in the shape of Scout, about 1,000 million parameters
    rivals     transformers (`generate`; continuous batching), llama.cpp through llama-cpp-python: the same checkpoint,
               the same prompt ids, greedy, nothing ends early; a process each, one after the other; each at the
               setting (precision, threads, its own switches) that was best in short runs, row by row; medians of 3
    ceiling    `parts/ceiling.py`: weights and cache read once per step at the measured rate, or the measured rate of
               multiplication, whichever is slower

A rival that is missing is null, with its reason. `pip install -e .[bench]` brings llama.cpp, compiled in minutes. The
table compares weights as exact as the checkpoint; int8 (ours) and Q8_0 (llama.cpp's) stand beside it. Prints hardware,
ceilings, table, then one JSON line; with --json that line only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from parts.checkpoints import checkpoint
from parts.machine import commit, hardware
from parts.table import agreement, ceiling_lines, more_lines, table_lines
from parts.work import MODELS, ROWS, rows_for

OURS = ("narthex", "narthex_int8")
RIVALS = ("transformers", "transformers_continuous", "llama_cpp", "llama_cpp_q8_0")
WORKER_LIMIT_S = 3600.0


def main() -> int:
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by an exception, which ends the contestant's process too
    result = bench(options)
    if not options.json:
        for line in [*table_lines(result), *more_lines(result)]:
            print(line)
    print(json.dumps(result), flush=True)
    return 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    parser.add_argument("--model", action="append", choices=MODELS, help="may be given several times; default: all")
    parser.add_argument("--row", action="append", choices=ROWS, help="may be given several times; default: all")
    parser.add_argument("--quick", action="store_true", help="a quarter of the work, once: to see that all of it runs")
    parser.add_argument("--runs", type=int, help="runs of which the median counts (3; quick: 1)")
    parser.add_argument("--only-narthex", action="store_true", help="leave the rivals out")
    parser.add_argument("--no-more", action="store_true", help="leave the rows about the engine alone out")
    options = parser.parse_args()
    options.runs = options.runs or (1 if options.quick else 3)
    return options


def bench(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {
        "bench": "decode",
        "hardware": hardware(),
        "commit": commit(),
        "quick": options.quick,
        "runs": options.runs,
        "ceilings": {},
        "rows": [],
        "more_rows": [],
        "agreement": {},
        "missing": {},
    }
    if not options.json:
        print(f"hardware  {result['hardware']}\ncommit    {result['commit']}", flush=True)
    for model in options.model or MODELS:
        bench_model(model, options, result)
    return result


def bench_model(model: str, options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Measure one model and add what was found to the result."""
    say(f"{model}: preparing the checkpoint")
    checkpoint(model)
    names = [name for name in ROWS if name in (options.row or ROWS)]
    job = {"model": model, "rows": names, "quick": options.quick, "runs": options.runs}
    ceilings = work(job, "machine")
    result["ceilings"][model] = ceilings
    if not options.json:
        print("\n".join(ceiling_lines(model, ceilings)), flush=True)
    found = {kind: work(job, kind) for kind in (*OURS, *(() if options.only_narthex else RIVALS))}
    settings = {name: row["setting"] for name, row in found["narthex"].get("rows", {}).items() if "setting" in row}
    variants = work({**job, "settings": settings}, "narthex_variants") if settings else {}
    for row in rows_for(model, quick=options.quick):
        if row.name in names:
            result["rows"].append(merged(model, row, found, variants, ceilings))
    result["agreement"][model] = agreement(found)
    result["missing"][model] = {kind: each["reason"] for kind, each in found.items() if "reason" in each}
    if settings and not options.no_more:
        setting = settings.get("agents_8_shared", next(iter(settings.values())))
        result["more_rows"] += work({**job, "setting": setting}, "more").get("rows", [])


def merged(model: str, row: Any, found: dict[str, Any], variants: dict[str, Any], ceilings: dict[str, Any]) -> Any:
    """One row of the result: every contestant's figure or null, and the settings, reasons and details beside it."""
    each = {kind: contestant.get("rows", {}).get(row.name, {}) for kind, contestant in found.items()}
    for kind, contestant in found.items():
        if "reason" in contestant:
            each[kind] = {"reason": contestant["reason"]}
    ways = [kind for kind in ("transformers", "transformers_continuous") if "tps" in each.get(kind, {})]
    best = max(ways, key=lambda kind: each[kind]["tps"], default="transformers")
    chosen = {"narthex": "narthex", "transformers": best, "llama_cpp": "llama_cpp"}
    line: dict[str, Any] = {"model": model, "row": row.name}
    line.update({f"{name}_tps": each.get(kind, {}).get("tps") for name, kind in chosen.items()})
    ceiling = ceilings.get("rows", {}).get(row.name, {})
    line["ceiling_tps"], line["ceiling_bound"] = ceiling.get("tps"), ceiling.get("bound")
    line["ceiling_decode_tps"] = ceiling.get("decode_tps")
    for name, kind in chosen.items():
        for figure in ("decode_tps", "wall_tps", "cpu_tps", "setting", "all_tps", "others_cores", "reason"):
            if figure in each.get(kind, {}):
                line[f"{name}_{figure}"] = each[kind][figure]
    line["transformers_way"] = "continuous batching" if best.endswith("continuous") else "generate"
    for kind in ("transformers", "transformers_continuous", "llama_cpp_q8_0", "narthex_int8"):
        figures = each.get(kind, {})
        extra = {key: figures[key] for key in ("tps", "decode_tps", "setting", "reason") if key in figures}
        line[{"transformers": "transformers_generate"}.get(kind, kind)] = extra or None
    line["narthex_variants_tps"] = variants.get("rows", {}).get(row.name)
    line["streams"], line["shared_tokens"], line["own_tokens"] = row.streams, row.shared, row.own
    line["new_tokens"] = row.new
    line["counts"] = "submission to last token, prompts included" if row.is_agents else "while all streams decode"
    return line


def work(job: dict[str, Any], kind: str) -> dict[str, Any]:
    """One contestant in its own process; what it found, or the reason why it found nothing."""
    say(f"{job['model']}: {kind}")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    command = [sys.executable, "-m", "parts.worker", json.dumps({**job, "kind": kind})]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                command, cwd=Path(__file__).parent, env=environment, stdout=subprocess.PIPE, stderr=log,
                text=True, timeout=WORKER_LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"reason": f"stopped after {WORKER_LIMIT_S:.0f} s"}
        log.seek(0)
        told = log.read().strip().splitlines()
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
        if "check" in found:
            say("; ".join(f"{name} {row.get('tps', row.get('reason'))}" for name, row in found["rows"].items()))
        return found
    reason = told[-1] if told else f"ended with code {done.returncode}"
    say(f"{kind} failed: {reason}")
    return {"reason": reason}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
