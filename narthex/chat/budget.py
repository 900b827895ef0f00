"""How much a run may spend. None means: nothing said, so no limit of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from narthex.base.config import did_you_mean
from narthex.base.errors import InputError
from narthex.chat.messages import Frozen

Mode = Literal["instant", "thinking", "contemplating"]
MODES: tuple[Mode, ...] = ("instant", "thinking", "contemplating")

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

# Names from OpenAI's reasoning_effort; the numbers are our own choice. None: the whole context less the reserve.
EFFORT_THINK_TOKENS: dict[str, int | None] = {
    "none": 0,
    "minimal": 256,
    "low": 1024,
    "medium": 4096,
    "high": 16384,
    "xhigh": 32768,
    "max": None,
}

# Room kept for the answer, whatever was thought. A small context gives a quarter of itself instead.
ANSWER_RESERVE_TOKENS = 1024

_Count = Annotated[int, Field(ge=0)]


class Budget(Frozen):
    """Limits of a whole run, across its turns and agents. `wall_s` is in seconds.

    `answer_tokens` bounds what one reply says outside its thought, calls included: the answer is one reply's, and calls
    made on the way to it do not eat its room. `rounds` are those in which agents that disagree read each other.
    """

    think_tokens: _Count | None = None
    answer_tokens: _Count | None = None
    agents: Annotated[int, Field(ge=1)] | None = None
    rounds: _Count | None = None
    tool_calls: _Count | None = None
    wall_s: Annotated[float, Field(gt=0)] | None = None

    @classmethod
    def for_effort(cls, name: str, context: int) -> Budget:
        """The budget that a named effort stands for, in a context of `context` tokens.

        Raises: InputError on an unknown name.
        """
        if name not in EFFORT_THINK_TOKENS:
            guess = did_you_mean(name, EFFORT_THINK_TOKENS)
            raise InputError(
                f"unknown effort '{name}'",
                hint=f"did you mean '{guess}'?" if guess else "use one of " + ", ".join(EFFORT_THINK_TOKENS),
            )
        reserve = answer_reserve(context)
        wanted = EFFORT_THINK_TOKENS[name]
        room = max(0, context - reserve)
        return cls(think_tokens=room if wanted is None else min(wanted, room), answer_tokens=reserve)

    def filled_from(self, defaults: Budget) -> Budget:
        """This budget, with what it leaves open taken from `defaults`: explicit before effort before mode."""
        said = self.model_dump(exclude_none=True)
        return Budget(**{**defaults.model_dump(exclude_none=True), **said})

    def lowered_to(self, ceiling: Budget) -> Budget:
        """This budget under a ceiling, which can only lower: the smaller of each pair, and the ceiling where open."""
        merged = self.model_dump(exclude_none=True)
        for name, limit in ceiling.model_dump(exclude_none=True).items():
            merged[name] = min(merged.get(name, limit), limit)
        return Budget(**merged)


def answer_reserve(context: int) -> int:
    """Tokens of a context that thought may never take from the answer."""
    return min(ANSWER_RESERVE_TOKENS, context // 4)


def parse_mode(name: str) -> Mode:
    """The mode of that name. Raises: InputError on an unknown one."""
    for mode in MODES:
        if name.lower() == mode:
            return mode
    guess = did_you_mean(name, MODES)
    hint = f"did you mean '{guess}'?" if guess else "use one of " + ", ".join(MODES)
    raise InputError(f"unknown mode '{name}'", hint=hint)
