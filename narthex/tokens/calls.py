"""Tool calls in a stream of text: found as they arrive, read without `eval`, and never half shown as answer.

Four shapes are known, by name:
    json       {"name": "f", "parameters": {"a": 1}}   (or "arguments")
    tool_call  <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>
    pythonic   [f(a=1), g(b="x")]
    function   <function=f>{"a": 1}</function>
JSON and pythonic calls count at the start of a line only; nothing counts inside a ``` fence.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from narthex.chat import ToolCall

SHAPES = ("json", "tool_call", "pythonic", "function")

# A longer call is not worth parsing: no tool takes it, and Python's own parser would take seconds.
_MAX_PYTHONIC_CHARS = 100_000
_EXCERPT_CHARS = 80

_JSON_OPENINGS = ('{"name":', '{"function":', '{"parameters":', '{"arguments":', '{"type":"function"')
_PYTHONIC = re.compile(r"\[\s*[A-Za-z_][\w.]*\s*\(")
_PYTHONIC_SO_FAR = re.compile(r"\[\s*(?:[A-Za-z_][\w.]*\s*)?")
_FUNCTION = re.compile(r"<function=([^<>\s]{1,128})>")
_FUNCTION_SO_FAR = re.compile(r"<function=[^<>\s]{0,128}")
_TOOL_CALL = "<tool_call>"
_CLOSERS = ("</function>", "</tool_call>")
_FENCE = "```"


class CallError(ValueError):
    """A call that cannot be read. The message is one line, for the model."""


@dataclass
class _Brackets:
    """Finds where a bracketed literal closes, character by character, minding strings and escapes."""

    quotes: str
    depth: int = 0
    quote: str = ""
    is_escaped: bool = False
    seen: int = 0

    def close(self, text: str) -> int | None:
        """Read on from where the last call ended; the place after the closing bracket, or None if it is not there."""
        while self.seen < len(text):
            char = text[self.seen]
            self.seen += 1
            if self.is_escaped:
                self.is_escaped = False
            elif self.quote:
                self.is_escaped = char == "\\"
                if char == self.quote:
                    self.quote = ""
            elif char in self.quotes:
                self.quote = char
            elif char in "{[(":
                self.depth += 1
            elif char in "}])":
                self.depth -= 1
                if self.depth <= 0:
                    return self.seen
        return None


@dataclass
class _Open:
    """A call that has begun: its shape, the function's name where a tag gave it, and its text so far."""

    shape: str
    name: str = ""
    brackets: _Brackets = field(default_factory=lambda: _Brackets('"'))


Found = str | ToolCall | CallError


class CallScanner:
    """Splits streamed text into answer text, calls and mistakes, in order.

    `feed` gives text as soon as it cannot be (part of) a call any more. `new_id(i)` names the i-th call.
    """

    def __init__(self, shapes: Sequence[str], new_id: Callable[[int], str]) -> None:
        self._shapes = frozenset(shapes)
        self._new_id = new_id
        self._buffer = ""
        self._space = ""  # white space that is text only if no call follows
        self._at_line_start = True
        self._has_text = False
        self._is_after_call = False
        self._in_fence = False
        self._in_tag = False
        self._open: _Open | None = None
        self._num_calls = 0

    def feed(self, text: str) -> list[Found]:
        """Take some text; return what is settled by now."""
        self._buffer += text
        return _joined(self._settle(is_final=False))

    def finish(self) -> list[Found]:
        """No more text comes: what was held back is text after all, and a call still open is a mistake."""
        found = _joined(self._settle(is_final=True))
        if self._open is not None:
            found.append(_mistake("the call is incomplete, or its brackets do not match", self._buffer))
        elif not self._is_after_call and self._space:
            found.append(self._space)
        self._buffer = self._space = ""
        self._open = None
        return found

    def _settle(self, *, is_final: bool) -> Iterator[Found]:
        if not self._shapes:
            if self._buffer:
                yield self._buffer
            self._buffer = ""
            return
        while self._buffer:
            before = (len(self._buffer), self._open, self._at_line_start)
            if self._open is not None:
                yield from self._read_call(self._open)
            elif self._at_line_start:
                yield from self._begin_line(is_final)
            else:
                yield from self._inside_line(is_final)
            if (len(self._buffer), self._open, self._at_line_start) == before:
                return

    def _begin_line(self, is_final: bool) -> Iterator[Found]:
        text = self._buffer.lstrip()
        self._space += self._buffer[: len(self._buffer) - len(text)]
        self._buffer = text
        if not text:
            return
        if self._is_after_call:
            if text[0] in ";,":
                self._buffer, self._space = text[1:], ""
                return
            closer, is_undecided = _starts_with(text, _CLOSERS)
            if closer:
                self._buffer, self._space, self._in_tag = text[len(closer) :], "", False
                return
            if is_undecided and not is_final:
                return
        fence, is_undecided = _starts_with(text, (_FENCE,))
        if fence:
            self._in_fence = not self._in_fence
            yield self._say(len(_FENCE))
            return
        if not is_undecided:
            opened, is_undecided = self._opening(text)
            if opened is not None:
                yield from self._begin_call(opened)
                return
        if not is_undecided or is_final:
            yield self._say(1)

    def _inside_line(self, is_final: bool) -> Iterator[Found]:
        """Text up to the end of the line, or to a tag, which counts anywhere."""
        text = self._buffer
        line_end = text.find("\n")
        tag = -1 if self._in_fence else text.find("<")
        if tag == 0:
            opened, is_undecided = self._opening(text)
            if opened is not None:
                yield from self._begin_call(opened)
            elif not is_undecided or is_final:
                yield self._say(1)
            return
        ends = [place for place in (line_end, tag) if place >= 0]
        end = min(ends, default=len(text))
        if end:
            yield self._say(end)
        if line_end == end:
            self._at_line_start = True

    def _say(self, length: int) -> str:
        """Release the next `length` characters as answer text."""
        if self._is_after_call and not self._has_text:
            self._space = ""  # the answer begins only now, and not with the break after a call
        said = self._space + self._buffer[:length]
        self._buffer, self._space = self._buffer[length:], ""
        self._at_line_start = self._is_after_call = False
        self._has_text = True
        return said

    def _opening(self, text: str) -> tuple[_Open | None, bool]:
        """The call that begins with `text`, and, where there is none, whether more text could still make it one."""
        if self._in_fence:
            return None, False
        if text[0] == "<":
            if "function" in self._shapes:
                if match := _FUNCTION.match(text):
                    return _Open("function", match[1]), False
                if "<function=".startswith(text) or _FUNCTION_SO_FAR.fullmatch(text):
                    return None, True
            if "tool_call" in self._shapes:
                return (_Open("tag"), False) if text.startswith(_TOOL_CALL) else (None, _TOOL_CALL.startswith(text))
        elif text[0] == "{" and self._in_tag:
            return _Open("json"), False
        elif text[0] == "{" and "json" in self._shapes:
            dense = "".join(text[:200].split())
            if dense.startswith(_JSON_OPENINGS):
                return _Open("json"), False
            return None, any(opening.startswith(dense) for opening in _JSON_OPENINGS)
        elif text[0] == "[" and "pythonic" in self._shapes:
            if _PYTHONIC.match(text):
                return _Open("pythonic", brackets=_Brackets("\"'")), False
            return None, _PYTHONIC_SO_FAR.fullmatch(text) is not None
        return None, False

    def _begin_call(self, opened: _Open) -> Iterator[Found]:
        # One line break belongs to the call; what else stands before it was text.
        space = self._space.removesuffix("\n")
        if self._has_text and not self._is_after_call and space:
            yield space
        self._space = ""
        if opened.shape == "tag":
            self._buffer = self._buffer[len(_TOOL_CALL) :]
            self._in_tag = self._at_line_start = self._is_after_call = True
            return
        if opened.shape == "function":
            self._buffer = self._buffer[len(f"<function={opened.name}>") :]
        self._open = opened

    def _read_call(self, opened: _Open) -> Iterator[Found]:
        if opened.shape == "function" and not opened.brackets.seen:
            self._buffer = self._buffer.lstrip()
            if self._buffer and self._buffer[0] != "{":
                # No JSON object follows the tag: everything up to its end is the mistake.
                end = self._buffer.find("</function>")
                if end >= 0:
                    reason = "the call's parameters are no JSON object"
                    yield from self._end_call(end, _mistake(reason, self._buffer[:end]))
                return
        end_or_none = opened.brackets.close(self._buffer)
        if end_or_none is None:
            return
        source = self._buffer[:end_or_none]
        try:
            found = self._parse(opened, source)
        except CallError as error:
            found = [_mistake(str(error), source)]
        if not found:  # valid JSON, but no call: it is the answer
            self._open = None
            yield self._say(end_or_none)
            return
        yield from self._end_call(end_or_none, *found)

    def _end_call(self, end: int, *found: Found) -> Iterator[Found]:
        yield from found
        self._buffer = self._buffer[end:]
        self._open = None
        self._at_line_start = self._is_after_call = True

    def _parse(self, opened: _Open, source: str) -> list[Found]:
        if opened.shape == "pythonic":
            pairs = parse_pythonic(source)
        elif opened.shape == "function":
            pairs = [(opened.name, _load_object(source))]
        else:
            pairs = parse_json(source)
        calls: list[Found] = []
        for name, arguments in pairs:
            try:
                calls.append(ToolCall(id=self._new_id(self._num_calls), name=name, arguments=arguments))
            except ValueError:  # pydantic's: a lone surrogate, say, which no file or socket can carry
                raise CallError("the call's parameters cannot be written as JSON") from None
            self._num_calls += 1
        return calls


def parse_json(source: str) -> list[tuple[str, dict[str, Any]]]:
    """One call as a JSON object -> [(name, arguments)]; [] where it is some other JSON object.

    Raises: CallError where it is no JSON, or a call without a usable name or parameters.
    """
    value = _load_object(source)
    inner = value.get("function")
    call = inner if isinstance(inner, dict) else value
    name = call.get("name", inner)
    key = next((key for key in ("parameters", "arguments") if key in call), None)
    if key is None:
        return []
    if not isinstance(name, str) or not name:
        raise CallError("the call has no name")
    arguments = call[key]
    if isinstance(arguments, str):  # OpenAI's way: JSON inside a string
        arguments = _load_object(arguments)
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise CallError(f'"{key}" is no JSON object')
    return [(name, arguments)]


def parse_pythonic(source: str) -> list[tuple[str, dict[str, Any]]]:
    """A list of calls with literal keyword arguments -> [(name, arguments), …]. Nothing is evaluated.

    Raises: CallError for anything else.
    """
    if len(source) > _MAX_PYTHONIC_CHARS:
        raise CallError(f"the call is longer than {_MAX_PYTHONIC_CHARS:,} characters")
    try:
        body = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise CallError("the call is not written as [name(key=value)]") from None
    if not isinstance(body, ast.List) or not body.elts:
        raise CallError("the call is not written as [name(key=value)]")
    return [_pythonic_call(node) for node in body.elts]


def _pythonic_call(node: ast.expr) -> tuple[str, dict[str, Any]]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Name, ast.Attribute)):
        raise CallError("the list holds something that is no call")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise CallError("parameters must be named: name(key=value)")
    try:
        arguments = {str(keyword.arg): _literal(keyword.value) for keyword in node.keywords}
        return ast.unparse(node.func), arguments
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise CallError("parameters must be plain values") from None


_JSON_NAMES = {"true": True, "false": False, "null": None}


class _JsonNames(ast.NodeTransformer):
    """JSON's words for what Python writes True, False and None: models mix the two."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node


def _literal(node: ast.expr) -> Any:
    return ast.literal_eval(_JsonNames().visit(node))


def _load_object(source: str) -> dict[str, Any]:
    try:
        value = json.loads(source, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise CallError(f"the call is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise CallError("the call is not JSON: a number or its nesting is out of bounds") from None
    if not isinstance(value, dict):
        raise CallError("the call is no JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and infinities are not JSON


def _starts_with(text: str, words: Sequence[str]) -> tuple[str, bool]:
    """The word that `text` starts with ("" for none), and whether more text could still make it one."""
    for word in words:
        if text.startswith(word):
            return word, False
    return "", any(word.startswith(text) for word in words)


def _joined(found: Iterable[Found]) -> list[Found]:
    """Neighbouring texts as one."""
    joined: list[Found] = []
    for item in found:
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        else:
            joined.append(item)
    return joined


def _mistake(reason: str, source: str) -> CallError:
    excerpt = _one_line(source)
    if len(excerpt) > _EXCERPT_CHARS:
        excerpt = excerpt[: _EXCERPT_CHARS - 1] + "…"
    return CallError(f"{reason}: {excerpt}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
