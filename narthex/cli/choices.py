"""Options that several verbs share, each said once: the same letter and the same help wherever it appears."""

from __future__ import annotations

from typing import Annotated

import typer

ModelName = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="The model to ask. Default: narthex-nano.")
]
DeviceName = Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps.")]
UpstreamName = Annotated[
    str | None,
    typer.Option("--upstream", metavar="NAME|URL", help="Ask a server instead: one of your settings, or an address."),
]
ModeName = Annotated[
    str | None,
    typer.Option(
        "--mode", metavar="MODE", help="instant, thinking or contemplating. Default: thinking; with -c, as before."
    ),
]
SystemPrompt = Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="A system prompt.")]
ToolNames = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        "-T",
        metavar="NAME",
        help="A tool beside those of the mode: zoom, mark, ground or python; again for more.",
    ),
]
ApproveChoice = Annotated[
    str | None,
    typer.Option(
        "--approve",
        metavar="always|never|ask",
        help="Calls that run code or change files. Default: ask on a terminal, elsewhere never.",
    ),
]
OptionPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY VALUE",
        help="Again for more: temperature, top_p, seed, think_tokens, answer_tokens, agents, rounds, tool_calls, "
        "wall_s.",
    ),
]
MaxThink = Annotated[str | None, typer.Option("--max-think", metavar="N", help="At most N tokens of thought.")]
SeedNumber = Annotated[
    str | None, typer.Option("--seed", metavar="N", help="For draws above temperature 0; greedy needs none.")
]
SaveChoice = Annotated[
    bool | None, typer.Option("--save/--no-save", help="Keep the run in NARTHEX_HOME. Default: as narthex logs says.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
