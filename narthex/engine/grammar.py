"""Answers of a given form: which tokens a JSON schema, a regular expression or a Lark grammar allows next.

llguidance does the parsing, byte by byte over the vocabulary. The engine knows ids only, so whoever builds it hands in
the text of `tokenizer.json`. Sources come from strangers: they are bounded in size here and in work by llguidance's
own limits, and whatever it cannot take ends in an InputError.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narthex.base.errors import InputError
from narthex.engine.request import Grammar

if TYPE_CHECKING:
    import llguidance

MAX_SOURCE_CHARACTERS = 64 * 1024
# A tenth to a half of llguidance's defaults. The worst of some fifty hostile sources took 0.2 s to compile.
MAX_COMPILE_FUEL, MAX_STEP_FUEL, MAX_STEP_ITEMS = 500_000, 100_000, 20_000
MAX_KEPT_GRAMMARS = 32
WHITE_SPACE = r"\n? {0,24}"  # a line's end and its indentation
MAX_LEXER_STATES, MAX_GRAMMAR_SYMBOLS = 25_000, 100_000


class Matcher:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    def copy(self) -> Matcher:
        return Matcher(self._matcher.deep_copy(), self._vocab_size)

    @property
    def error(self) -> str:
        """Why nothing can follow any more although the answer is not complete; empty while all is well."""
        return self._matcher.get_error()

    @property
    def is_accepting(self) -> bool:
        """The answer may end here."""
        return self._matcher.is_accepting()

    @property
    def is_complete(self) -> bool:
        """The answer can only end here."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def allowed(self) -> Tensor:
        """Bool (V,): what may come next. Nothing at all where there is an `error`."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            return torch.zeros(self._vocab_size, dtype=torch.bool)
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(bool))

    def consume(self, token: int) -> None:
        """Go on by one token. One that is not allowed becomes the `error`."""
        self._matcher.consume_token(token)


class GrammarCompiler:
    """Makes matchers for one vocabulary. Thread-safe: two threads may at worst compile the same grammar twice."""

    def __init__(self, tokenizer_json: str, *, vocab_size: int, stop_ids: tuple[int, ...]) -> None:
        """Raises: InputError when llguidance cannot read the tokenizer."""
        import llguidance  # only here: those without grammars need not have it

        self._llguidance, self._vocab_size = llguidance, vocab_size
        try:
            self._tokenizer = llguidance.LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=list(stop_ids))
        except (ValueError, RuntimeError) as error:
            raise InputError(f"tokenizer.json serves no grammars: {first_line(error)}") from error
        self._compiled: dict[Grammar, Matcher] = {}
        self._limits = llguidance.LLParserLimits(
            initial_lexer_fuel=MAX_COMPILE_FUEL,
            step_lexer_fuel=MAX_STEP_FUEL,
            step_max_items=MAX_STEP_ITEMS,
            max_lexer_states=MAX_LEXER_STATES,
            max_grammar_size=MAX_GRAMMAR_SYMBOLS,
            verbose_errors=False,
        )

    def compile(self, grammar: Grammar) -> Matcher:
        """A matcher at its beginning; agents of one question ask for one grammar, so those compiled lately are copied.

        Raises: InputError for what is too large, malformed, unsatisfiable or too much work.
        """
        found = self._compiled.get(grammar)
        if found is None:
            found = self._compiled[grammar] = self._compile(grammar)
            while len(self._compiled) > MAX_KEPT_GRAMMARS:
                self._compiled.pop(next(iter(self._compiled)), None)
        return found.copy()

    def _compile(self, grammar: Grammar) -> Matcher:
        if len(grammar.source) > MAX_SOURCE_CHARACTERS:
            raise InputError(
                f"the {grammar.kind} has {len(grammar.source):,} characters; {MAX_SOURCE_CHARACTERS:,} are allowed"
            )
        try:
            matcher = self._llguidance.LLMatcher(
                self._tokenizer, self._grammar_text(grammar), log_level=0, limits=self._limits
            )
        except (ValueError, RuntimeError, RecursionError) as error:
            raise InputError(f"the {grammar.kind} cannot be used: {first_line(error)}") from error
        if not matcher.is_error():
            matcher.compute_bitmask()  # the first step is where a pattern that is too much work shows
        if matcher.is_error():
            raise InputError(f"the {grammar.kind} cannot be used: {first_line(matcher.get_error())}")
        return Matcher(matcher, self._vocab_size)

    def _grammar_text(self, grammar: Grammar) -> str:
        make: Any = self._llguidance.LLMatcher
        if grammar.kind == "regex":
            return make.grammar_from_regex(grammar.source)
        if grammar.kind == "lark":
            return make.grammar_from_lark(grammar.source)
        schema = json.loads(grammar.source)  # llguidance would paste the text as it is into a larger document
        if not isinstance(schema, dict | bool):
            raise ValueError("a schema is an object, or true or false")
        return make.grammar_from_json_schema(json.dumps(with_bounded_space(schema)))


def with_bounded_space(schema: Any) -> Any:
    """The schema with an end to the white space between its parts: a weak model would write nothing else.

    A schema that says itself what it wants ("x-guidance") stays as it is.
    """
    if not isinstance(schema, dict) or "x-guidance" in schema:
        return schema
    return {**schema, "x-guidance": {"whitespace_pattern": WHITE_SPACE}}


def first_line(error: object) -> str:
    """Errors of the parser quote whole grammars; their first line says what is wrong."""
    line = str(error).strip().split("\n")[0]
    if line.startswith("NoExtension"):  # llguidance's name for it
        return "no text satisfies it"
    return line if len(line) <= 200 else line[:200] + "…"
