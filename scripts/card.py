"""Fill the tables of narthex-nano's card from dev/figures, so that nobody copies numbers by hand.

python scripts/card.py            writes them
python scripts/card.py --check    writes nothing; exit code 1 if a table is stale

A table stands between `<!-- generated: TABLE FILE -->` and `<!-- end -->`: TABLE is one of those below, FILE the name
of dev/figures/FILE.json, as `narthex eval … --json` or scripts/card_measure.py wrote it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from narthex.evals.table import arms_of, points
from narthex.evals.text import percent

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "narthex" / "models" / "narthex-nano" / "README.md"
FIGURES = ROOT / "dev" / "figures"

_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MAX_CHARS = 64
_NAMES = {
    "vote_equal_tokens": "voting, at as many tokens", "long_thinking": "one long Thinking run",
    "all_agents": "all 16 agents, no early stop", "legible": "legible without a look", "fine": "fine print",
}  # fmt: skip
# Santoro and others, A simple neural network module for relational reasoning (2017), section 5.3.
_PUBLISHED = {"relational": "relation network 94 %, CNN with MLP 63 %", "nonrelational": "94 % or above, both"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    old = CARD.read_text(encoding="utf-8")
    new = filled(old)
    if parser.parse_args().check:
        return int(old != new)
    CARD.write_text(new, encoding="utf-8", newline="\n")
    return 0


def filled(card: str, figures: Path = FIGURES) -> str:
    """The card with every table made anew.

    Raises: KeyError for an unknown table, OSError for a file that is not there.
    """

    def table(found: re.Match[str]) -> str:
        told = json.loads((figures / f"{found[3]}.json").read_text(encoding="utf-8"))
        return f"{found[1]}{TABLES[found[2]](told)}\n{found[4]}"

    return _BLOCK.sub(table, card)


def files_of(card: str) -> set[str]:
    """The names of the figures that a card's tables are made from."""
    return {found[3] for found in _BLOCK.finditer(card)}


def ways(told: dict[str, Any]) -> str:
    """Every mode and baseline: accuracy, tokens, looks, agents."""
    costs = (("tokens", 0), ("looks", 2), ("agents", 1))
    rows = [
        [_name(arm), _share(entry), *(f"{entry[f'{cost}_mean']:.{digits}f}" for cost, digits in costs)]
        for arm, entry in arms_of(told).items()
    ]
    return f"{_command(told)}\n\n{_table(['how', 'right', 'tokens', 'looks', 'agents'], rows)}"


def kinds(told: dict[str, Any]) -> str:
    """Modes beside each other: in all, by kind, by print, and what is declined."""
    modes = told["modes"]
    grouping = "by_kind" if len(told["by_world"]) < 2 else "by_world_kind"
    rows = [["all", *map(_share, modes.values())]]
    for group in (grouping, "by_print"):
        names = dict.fromkeys(name for entry in modes.values() for name in entry[group])
        rows += [[_name(name), *(_share(entry[group].get(name)) for entry in modes.values())] for name in names]
    chances = [entry["by_print"].get("fine", {}).get("chance") for entry in modes.values()]
    if all(chance is not None for chance in chances):
        rows.append(["guessing on fine print, for one who sees all large print", *map(percent, chances)])
    rows.append(["tokens, looks", *(f"{e['tokens_mean']:.1f}, {e['looks_mean']:.2f}" for e in modes.values())])
    rows.append(["declined by mistake", *(percent(entry["declined"]) for entry in modes.values())])
    return f"{_command(told)}\n\n{_table(['questions', *map(_name, modes)], rows)}"


def worlds(told: dict[str, Any]) -> str:
    """Worlds, then thirds of their difficulty; modes beside each other, with guessing."""
    modes, guessing = told["modes"], told["guessing"]
    rows = [
        [world, *(_share(entry[mode]) for mode in modes), percent(guessing["by_world"].get(world))]
        for world, entry in told["by_world"].items()
    ]
    names = dict.fromkeys(name for entry in modes.values() for name in entry["by_difficulty"])
    for name in names:
        shares = [_share(entry["by_difficulty"].get(name)) for entry in modes.values()]
        rows.append([f"difficulty: {name}", *shares, percent(guessing["by_difficulty"].get(name))])
    rows.append(["all", *(_share(entry) for entry in modes.values()), percent(guessing["accuracy"])])
    return f"{_command(told)}\n\n{_table(['', *map(_name, modes), 'guessing'], rows)}"


def heldout(told: dict[str, Any]) -> str:
    """What held-out drawings and wordings cost, in points."""
    modes = list(told["modes"])
    rows = []
    for variant, entry in told["heldout"].items():
        rows.append([f"**all {variant}**", *(points(entry[mode]) for mode in modes)])
        rows += [
            [f"{world}-{variant}", *(points(entry[mode]["by_world"][world]) for mode in modes)]
            for world in entry[modes[0]]["by_world"]
        ]
    return f"{_command(told)}\n\n{_table(['points against the plain worlds', *map(_name, modes)], rows)}"


def clevr(told: dict[str, Any]) -> str:
    """The questions of Sort-of-CLEVR beside published figures."""
    modes = told["modes"]
    rows = [
        [kind, *(_share(entry["by_kind"][kind]) for entry in modes.values()), known]
        for kind, known in _PUBLISHED.items()
    ]
    return f"{_command(told)}\n\n{_table(['', *map(_name, modes), 'published, 2017'], rows)}"


def scope(told: dict[str, Any]) -> str:
    """What is declined where it should be, and where it should not."""
    rows = [
        [_name(arm), _share(entry["outside_declined"]), _share(entry["inside_declined"])]
        for arm, entry in told["scope"].items()
    ]
    return f"{_command(told)}\n\n{_table(['declined', 'out of scope', 'in scope'], rows)}"


def refusals(told: dict[str, Any]) -> str:
    """What is declined of `worlds.edge`, where everything should be."""
    rows = [[_name(mode), _share(entry)] for mode, entry in told["modes"].items()]
    return f"{_command(told)}\n\n{_table(['mode', 'declined'], rows)}"


def weights(told: dict[str, Any]) -> str:
    """The file, its parameters, and how evenly its experts are used."""
    rows = [
        ["parameters", f"{told['total']:,}, of which {told['active']:,} are active per word"],
        ["`model.safetensors`", f"{told['bytes'] / 2**20:.1f} MiB, sha256 {told['sha256']}"],
    ]
    rows += [
        [f"mixture {place}: share of tokens per expert, {told['items']} held-out questions", shares]
        for place, shares in enumerate(told["layers"], start=1)
    ]
    return _table(["", ""], rows)


def stages(told: dict[str, Any]) -> str:
    """Seed, commit, samples, hours and energy of each stage, and their sum."""
    rows = []
    hours = energy = 0.0
    for stage in told["stages"]:
        spent = stage["hours"] * stage["cores"] * told["watts_per_core"] / 1000
        hours, energy = hours + stage["hours"], energy + spent
        rows.append([
            stage["name"], str(stage["seed"]), stage["commit"], f"{stage['samples']:,}", f"{stage['hours']:.1f}",
            f"{stage['cores']:g}", f"{spent:.3f} kWh",
        ])  # fmt: skip
    rows.append(["**together**", "", "", "", f"{hours:.1f}", "", f"{energy:.3f} kWh"])
    head = ["stage", "seed", "commit", "samples", "hours", "cores", "energy, estimated"]
    return f"{_table(head, rows)}\n\nEnergy: hours x cores x {told['watts_per_core']:g} W a core, assumed, not metered."


def strangers(told: dict[str, Any]) -> str:
    """What the model said about pictures it was never meant for."""
    rows = []
    for place, entry in enumerate(told["asked"], start=1):
        truth = f" (right: {entry['expected']})" if entry["expected"] else ""
        answers = [_quoted(_shortened(answer)) for answer in entry["answers"].values()]
        rows.append([str(place), entry["picture"], _quoted(entry["question"]) + truth, *answers])
    head = ["", "picture", "question", *map(_name, told["asked"][0]["answers"])]
    return _table(head, rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    table.__name__: table
    for table in (ways, kinds, worlds, heldout, clevr, scope, refusals, weights, stages, strangers)
}


def _command(told: dict[str, Any]) -> str:
    command = f"narthex eval {told['task']} --mode {','.join(told['modes'])}"
    return f"`{command} --limit {told['limit']} --seed {told['seed']} --json`, 95 % intervals:"


def _share(told: dict[str, Any] | None) -> str:
    """A share with its interval: "77.8 % (74.0 to 81.2)"."""
    if not told or not told["n"]:
        return "-"
    return f"{percent(told['accuracy'])} ({100 * told['low']:.1f} to {100 * told['high']:.1f})"


def _name(arm: str) -> str:
    return _NAMES.get(arm, arm.capitalize() if arm in ("instant", "thinking", "contemplating") else arm)


def _shortened(answer: str) -> str:
    """A refusal's first words are enough."""
    return answer if len(answer) <= _MAX_CHARS else answer[:_MAX_CHARS].rsplit(" ", 1)[0] + " …"


def _quoted(said: str) -> str:
    return '"' + said.replace("|", "/").replace("\n", " ") + '"'


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    sys.exit(main())
