"""`narthex chat`: one conversation, turn by turn, kept as it goes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from narthex.base.config import did_you_mean
from narthex.base.errors import InputError, NarthexError
from narthex.cli.choices import (
    ApproveChoice,
    DeviceName,
    MaxThink,
    ModelName,
    ModeName,
    OptionPairs,
    SaveChoice,
    SeedNumber,
    SystemPrompt,
    ToolNames,
    UpstreamName,
)
from narthex.cli.inputs import add_pictures, parse_options, require_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from narthex.chat import ImagePart, Message
    from narthex.cli.ask import Finished, Reached
    from narthex.cli.inputs import Options
    from narthex.cli.lines import Lines
    from narthex.cli.session import Session
    from narthex.cli.stage import Stage
    from narthex.reason.approvals import Approve

COMMANDS = {
    "!mode": "!mode NAME     think so from now on: instant, thinking, contemplating",
    "!image": "!image FILE    a picture for the next question; again for more",
    "!multi": "!multi         a question of several lines, up to a line with !end alone",
    "!tool": "!tool NAME     switch a tool on, or off again; without a name: which are on",
    "!again": "!again         ask the question that was cut once more",
    "!help": "!help          this list",
    "!quit": "!quit          leave, as does Ctrl-D; narthex chat -c comes back",
}
END_OF_MULTI = "!end"


def command(
    conversation: Annotated[
        str | None, typer.Argument(metavar="ID", help="With -c: which one; the beginning of its id is enough.")
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", "-c", help="Go on with the last conversation, or with ID.")
    ] = False,
    mode: ModeName = None,
    max_think: MaxThink = None,
    model: ModelName = None,
    upstream: UpstreamName = None,
    system: SystemPrompt = None,
    tool: ToolNames = None,
    approve: ApproveChoice = None,
    option: OptionPairs = None,
    seed: SeedNumber = None,
    device: DeviceName = None,
    save: SaveChoice = None,
) -> None:
    """Talk: a question a line, each answered with what was said before in mind. !help lists what else a line can be.

    The conversation is kept after each turn; narthex chat -c goes on with it, pictures and files included.
    """
    if conversation is not None and not go_on:
        raise InputError("which conversation to go on with is said with -c", hint=f"narthex chat -c {conversation}")
    options = parse_options(option or (), seed=seed, max_think=max_think)
    from narthex.cli.approve import parse_approve
    from narthex.cli.ask import check_manner, reach, tools_of
    from narthex.cli.lines import Lines
    from narthex.cli.logs import are_kept
    from narthex.cli.session import Session
    from narthex.cli.stage import Stage

    chosen, is_kept = parse_approve(approve), are_kept() if save is None else save
    stage = Stage(sys.stdout, sys.stderr)
    session = Session.resume(conversation, stage.warn) if go_on else Session.new(stage.warn)
    session.manner = session.manner.changed(mode=mode, model=model, upstream=upstream, tools=tool)
    check_manner(session.manner, options, device)
    tools_of(session.manner)
    if system:
        session.question("", (), require_text(system, "the system prompt"))
    reached = reach(session.manner, device)
    with Lines(is_kept=is_kept) as lines:
        chat = Chat(session, options, stage, reached, chosen, lines, system=system, is_kept=is_kept)
        chat.say_refusals(was_said=approve is not None)
        code = chat.talk()
    if code:
        raise typer.Exit(code)


class Chat:
    """A session with somebody at the other end of `lines`."""

    def __init__(
        self, session: Session, options: Options, stage: Stage, reached: Reached, choice: str, lines: Lines, *,
        system: str | None, is_kept: bool,
    ) -> None:  # fmt: skip
        from narthex.cli.approve import approver

        self.session, self.options, self.stage, self.reached, self.lines = session, options, stage, reached, lines
        self.system, self.is_kept, self.choice = system, is_kept, choice
        self.pictures: list[ImagePart] = []
        self._approve: Approve = approver(choice, stage)
        self._runner = asyncio.Runner()

    def talk(self) -> int:
        """Until the end; returns the exit code, which only a script's last failure makes other than 0."""
        from narthex.cli.ask import close_backend

        code = 0
        self._greet()
        with self._runner:
            try:
                while (line := self._read()) is not None:
                    try:
                        if not self._take(line.strip("\n")):
                            break
                        code = 0
                    except NarthexError as error:
                        self._tell(error)
                        code = error.exit_code
            finally:
                self._runner.run(close_backend(self.reached.backend))
        self._part()
        return 0 if self.lines.is_terminal else code

    def say_refusals(self, *, was_said: bool) -> None:
        from narthex.cli.approve import warn_of_refusals
        from narthex.cli.ask import tools_of

        warn_of_refusals(self.choice, was_said, tools_of(self.session.manner), self.stage.warn)

    def _read(self) -> str | None:
        try:
            return self.lines.read(f"{self.session.manner.mode}> ")
        except KeyboardInterrupt:
            self.stage.err.write("\n")
            self.stage.note("(Ctrl-D or !quit leaves)")
            return ""

    def _take(self, line: str) -> bool:
        """One line: a command or a question. Returns whether to go on. Raises: NarthexError, for the person to read."""
        if not line.strip():
            return True
        if not line.startswith("!"):
            self._ask(line)
            return True
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        match word.lower():
            case "!quit" | "!exit":
                return False
            case "!help":
                self._say("\n".join(COMMANDS.values()))
            case "!mode":
                self._set_mode(rest)
            case "!image":
                self._add_image(rest)
            case "!tool":
                self._switch_tool(rest)
            case "!again":
                self._ask_again()
            case "!multi":
                text = self._read_multi(rest)
                if text is not None:
                    self._ask(text)
            case _:
                guess = did_you_mean(word, COMMANDS)
                hint = f"did you mean {guess}?" if guess else "!help lists the commands"
                raise InputError(f"unknown command {word[:40]}", hint=f"{hint}; a question that begins so: !multi")
        return True

    # What a line can be.

    def _set_mode(self, name: str) -> None:
        if name:
            self.session.manner = self.session.manner.changed(mode=name, model=None, upstream=None, tools=None)
        self._say(f"mode: {self.session.manner.mode}")

    def _add_image(self, path: str) -> None:
        if not path:
            raise InputError("which picture?", hint="!image FILE")
        if path[0] in "'\"" and path.endswith(path[0]):
            path = path[1:-1]
        (picture,) = add_pictures(self.session.gallery, [str(Path(path).expanduser())])
        number = len(self.session.conversation.pictures) + len(self.pictures)
        self.pictures.append(picture)
        self._say(f"picture {number}: {picture.width} x {picture.height} px, with the next question")

    def _switch_tool(self, name: str) -> None:
        from dataclasses import replace

        from narthex.cli.ask import tools_of
        from narthex.tools import get_tool

        manner = self.session.manner
        if name:
            get_tool(name)
            names = [each for each in manner.tools if each != name]
            self.session.manner = replace(manner, tools=tuple(names if name in manner.tools else (*names, name)))
            self.say_refusals(was_said=False)
        self._say(f"tools: {', '.join(tool.spec.name for tool in tools_of(self.session.manner)) or 'none'}")

    def _read_multi(self, word: str) -> str | None:
        """Lines up to `!end` (or `!end WORD`, where one was given); None if it was left with Ctrl-C or never ended."""
        end = f"{END_OF_MULTI} {word}".strip()
        found: list[str] = []
        while True:
            try:
                line = self.lines.read("... ")
            except KeyboardInterrupt:
                self.stage.err.write("\n")
                self.stage.note("(left out)")
                return None
            if line is None:
                raise InputError(f"the text ended without {end}", hint=f"put {end} alone on its last line")
            if line.strip() == end:
                return "\n".join(found)
            found.append(line.rstrip("\n"))

    def _ask(self, text: str) -> None:
        system = self.system if not self.session.conversation.messages else None
        asked = self.session.question(require_text(text, "the question"), self.pictures, system)
        self._turn(asked)
        self.pictures = []

    def _ask_again(self) -> None:
        cut = self.session.unanswered
        if cut is None:
            raise InputError("no question was cut", hint="ask a new one")
        self._turn(cut.asked, replaces=cut.id or None)

    def _turn(self, asked: Sequence[Message], replaces: str | None = None) -> None:
        """Ask, show and keep. Raises: NarthexError where the run fails: then nothing was said."""
        from narthex.cli.ask import answer, cut_line, tools_of, turn_request

        session, stage = self.session, self.stage
        request = turn_request(
            session, asked, self.options, tools=tools_of(session.manner), approve=self._approve,
            ceiling=self.reached.ceiling, is_kept=self.is_kept, replaces=replaces,
        )  # fmt: skip
        stage.folder, stage.run_id = request.folder, None
        try:
            finished: Finished | None = self._runner.run(
                answer(request, self.reached.backend, stage.show, stage.warn, save=self.is_kept)
            )
        except KeyboardInterrupt:
            finished = None
        finally:
            stage.close()
        if finished is not None and finished.end.finish_reason != "cancelled":
            session.answered(asked, finished.events)
            return
        session.cut(asked, request.turn.turn_id if request.turn is not None else None, stage.run_id)
        stage.note(f"({cut_line(stage, save=self.is_kept)}; !again asks once more)")

    # What is said around it.

    def _greet(self) -> None:
        if not self.lines.is_terminal:
            return
        session = self.session
        where = f" at {session.manner.upstream}" if session.manner.upstream is not None else ""
        name = self.reached.backend.name + where
        self._say(f"{name}, {session.manner.mode}; !help lists the commands, Ctrl-D leaves")
        if session.num_turns:
            turns = f"{session.num_turns} turn{'' if session.num_turns == 1 else 's'}"
            self._say(f"going on after {turns}; the last one:")
            for message in self._last_turn():
                self._say(message)
        if session.unanswered is not None:
            from narthex.cli.show import one_line

            asked = one_line(session.unanswered.asked[-1].text, 60)
            self._say(f'the last question was cut: "{asked}"; !again asks it once more')

    def _last_turn(self) -> list[str]:
        """The last question and the answer to it, each in a line."""
        from narthex.cli.show import one_line

        messages = self.session.conversation.messages
        question = next((each for each in reversed(messages) if each.role == "user"), None)
        lines = [f"> {one_line(question.text, 200)}"] if question is not None else []
        return [*lines, f"  {one_line(messages[-1].text, 200)}"]

    def _part(self) -> None:
        from narthex.cli.logs import SHORT_ID

        if self.lines.is_terminal and self.is_kept and (self.session.num_turns or self.session.unanswered):
            self._say(f"kept: narthex chat -c {self.session.id[:SHORT_ID]}")

    def _say(self, text: str) -> None:
        for line in text.split("\n"):
            self.stage.note(line)

    def _tell(self, error: NarthexError) -> None:
        """What went wrong, in one line."""
        from narthex.cli.show import one_line

        hint = f" ({one_line(error.hint)})" if error.hint else ""
        self.stage.err.write(f"error: {one_line(error.message)}{hint}\n")
        self.stage.err.flush()
