"""The result as lines for people."""

from __future__ import annotations

from typing import Any


def ceiling_lines(model: str, ceilings: dict[str, Any]) -> list[str]:
    """The rates of the machine for this model, and the ceiling of each row."""
    if "reason" in ceilings:
        return [f"{model}: no ceiling: {ceilings['reason']}"]
    rates = ceilings["rates"]
    lines = [
        f"{model}: {rates['bytes_per_s'] / 1e9:.1f} GB/s at the size of its weights, "
        f"{rates['flops_per_s'] / 1e9:.0f} GFLOP/s ({rates['flops_dtype']})"
    ]
    lines += [
        f"  ceiling {name:<18} {row['tps']:>10,.0f} tokens/s, bound by {row['bound']} "
        f"({row['step_bytes'] / 1e6:,.1f} MB and {row['step_flops'] / 1e6:,.0f} MFLOP a step)"
        for name, row in ceilings["rows"].items()
    ]
    return lines


def table_lines(result: dict[str, Any]) -> list[str]:
    """One line per row, then what each contestant chose and whatever is missing."""
    head = f"{'model':<13} {'row':<16} {'narthex':>9} {'transformers':>13} {'llama.cpp':>10} {'ceiling':>9}"
    lines = ["", f"{head} {'x transf.':>10} {'x llama':>8}  tokens/s"]
    for row in result["rows"]:
        ours = row["narthex_tps"]
        figures = [_figure(row[f"{name}_tps"]) for name in ("narthex", "transformers", "llama_cpp", "ceiling")]
        ratios = [_ratio(ours, row[f"{name}_tps"]) for name in ("transformers", "llama_cpp")]
        lines.append(
            f"{row['model']:<13} {row['row']:<16} {figures[0]:>9} {figures[1]:>13} {figures[2]:>10} {figures[3]:>9} "
            f"{ratios[0]:>10} {ratios[1]:>8}"
        )
        if row["row"] == "agents_8_shared":
            beside = [_figure(row.get(f"{name}_decode_tps")) for name in ("narthex", "transformers", "llama_cpp")]
            ceiling = _figure(row["ceiling_decode_tps"])
            lines.append(
                f"{'':<13} {'  decoding alone':<16} {beside[0]:>9} {beside[1]:>13} {beside[2]:>10} {ceiling:>9}"
            )
        beside = [_figure(row.get(f"{name}_cpu_tps")) for name in ("narthex", "transformers", "llama_cpp")]
        lines.append(f"{'':<13} {'  by CPU time':<16} {beside[0]:>9} {beside[1]:>13} {beside[2]:>10}")
    lines += ["", "settings"]
    for row in result["rows"]:
        for name in ("narthex", "transformers", "llama_cpp"):
            setting = row.get(f"{name}_setting")
            words = ", ".join(f"{key} {value}" for key, value in (setting or {}).items())
            way = f"{row['transformers_way']}, " if name == "transformers" and setting else ""
            said = f"{way}{words}" if setting else f"null: {row.get(f'{name}_reason', 'not asked for')}"
            lines.append(f"  {row['model']:<13} {row['row']:<16} {name:<12} {said}")
        lines += _beside(row)
    for model, found in result["agreement"].items():
        for name, words in found.items():
            lines.append(f"same greedy ids as narthex, {model}, {name}: {words['words']}")
    return lines


def _beside(row: dict[str, Any]) -> list[str]:
    """Figures that are not in the table: other ways of the rivals, and the engine's own variants."""
    found = []
    for name in ("transformers_generate", "transformers_continuous", "llama_cpp_q8_0", "narthex_int8"):
        figures = row.get(name)
        if figures:
            said = _figure(figures.get("tps")) if "tps" in figures else f"null: {figures.get('reason')}"
            found.append(f"{name} {said}")
    for name, tps in (row.get("narthex_variants_tps") or {}).items():
        found.append(f"narthex {name} {_figure(tps)}")
    return [f"  {'':<13} {'':<16} beside: {'; '.join(found)}"] if found else []


def more_lines(result: dict[str, Any]) -> list[str]:
    lines = []
    for row in result["more_rows"]:
        name = f"{row['model']} {row['row']}"
        if "first_agent_s" in row:
            lines.append(
                f"{name}: first agent {row['first_agent_s'] * 1000:.0f} ms after {row['shared_tokens']} + "
                f"{row['own_tokens']} tokens; the slowest of the others {row['worst_share_together']:.1%} of that when "
                f"all seven come together, {row['worst_share_one_by_one']:.1%} one by one"
            )
        elif "worst_gap_s" in row:
            lines.append(
                f"{name}: {row['long_prompt_tokens']} tokens arrive while {row['streams']} decode: worst gap "
                f"{row['worst_gap_s'] * 1000:.1f} ms, usually {row['usual_gap_s'] * 1000:.1f} ms; computing that "
                f"prompt alone takes {row['long_prompt_alone_s'] * 1000:.0f} ms"
            )
        else:
            lines.append(
                f"{name}: {row['held_bytes_per_token']:.1f} bytes a token held, formula "
                f"{row['formula_bytes_per_token']:.1f}, without chunks {row['without_chunks_bytes_per_token']}"
            )
    return lines


def agreement(found: dict[str, Any]) -> dict[str, Any]:
    """How many greedy ids of the check each rival shares with us, up to its first different one in each stream."""
    ours = found["narthex"].get("check", {})
    result: dict[str, Any] = {}
    for name, contestant in found.items():
        if name == "narthex" or "check" not in contestant:
            continue
        check = contestant["check"]
        if "ids" not in check or "ids" not in ours:
            reason = check.get("reason") or ours.get("reason", "no check of ours")
            result[name] = {"agreed": None, "words": f"null: {reason}"}
            continue
        agreed, apart = 0, []
        for number, (mine, theirs) in enumerate(zip(ours["ids"], check["ids"], strict=True)):
            same = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b), len(mine))
            agreed += same
            if same < len(mine):
                apart.append(ours["apart"][number][same])
        total = sum(map(len, ours["ids"]))
        words = f"{agreed} of {total} before the first difference of each stream"
        if apart:
            gaps = ", ".join(f"{gap:.4f}" for gap in apart)
            words += f"; there our two best log-probabilities were {gaps} apart"
        result[name] = {"agreed": agreed, "total": total, "apart": apart, "setting": check["setting"], "words": words}
    return result


def _figure(value: float | None) -> str:
    return "null" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if ours and theirs else ""
