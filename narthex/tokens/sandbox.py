"""A place to run a stranger's chat template: jinja2's immutable sandbox, with limits on time and size inside it.

The sandbox keeps a template away from Python's internals, but lets it take all memory and all time:
`{{ 'x' * 10**10 }}`, loops in loops, texts that double. Nothing outside can stop that within one process, so the
template itself is made to pay: its syntax tree is rewritten to tick in every loop, macro and concatenation, and every
filter, operator and call charges what it makes to a `Meter`, before making it where that is foreseeable.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer


class TemplateRefusal(jinja2.TemplateError):
    """The template called `raise_exception`: it does not want this conversation."""


class TemplateLimit(jinja2.TemplateError):
    """The template took more time or room than it may."""


class Meter:
    """What one rendering may still take: seconds of its thread's processor time, and characters or items made.

    Not wall time: a template can only compute, and on a busy machine a short one may wait for long.
    """

    def __init__(self, *, seconds: float, size: int) -> None:
        self._deadline = time.thread_time() + seconds
        self._size = size

    def charge(self, size: int) -> None:
        """Raises: TemplateLimit where the time is over or `size` more is too much."""
        self._size -= size
        if self._size < 0:
            raise TemplateLimit("it makes too much text")
        if time.thread_time() > self._deadline:
            raise TemplateLimit("it takes too long")

    def charge_deep(self, value: Any) -> None:
        """Charge `value` with everything in it, as often as it stands in it: what writing it out would take."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Mapping):
                self.charge(1 + len(item))
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple)):
                self.charge(1 + len(item))
                waiting += item
            elif isinstance(item, str):
                self.charge(len(item))


# For what runs before any rendering: constants that jinja2 folds while it compiles.
_METER: ContextVar[Meter] = ContextVar("meter")
_COMPILE_SECONDS = 5.0
_COMPILE_SIZE = 4_000_000

_MAX_INT_BITS = 256
_MAX_INDENT = 64
_MAX_FORM_CHARS = 100

_SAFE_FILTERS = """
    abs capitalize count d default dictsort e escape first float groupby int items last length list lower map max min
    reject rejectattr reverse safe select selectattr sort string title trim truncate unique upper urlencode wordcount
"""
_STRING_METHODS = """
    capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace
    istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip
    split splitlines startswith strip swapcase title upper
"""
_ALLOWED_METHODS = frozenset(_STRING_METHODS.split())


def _charge(size: int) -> None:
    meter = _METER.get(None)
    (meter or Meter(seconds=_COMPILE_SECONDS, size=_COMPILE_SIZE)).charge(size)


def _charge_deep(value: Any) -> None:
    meter = _METER.get(None)
    (meter or Meter(seconds=_COMPILE_SECONDS, size=_COMPILE_SIZE)).charge_deep(value)


def _text(value: Any) -> str:
    """`str(value)`, charged first."""
    if isinstance(value, str):
        _charge(len(value))
        return value
    _charge_deep(value)
    return str(value)


class _Rewriter(NodeTransformer):
    """Makes loops, macros, block assignments and concatenations pay. Weights are the plain text that they repeat."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._with_tick(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._with_tick(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._with_tick(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "narthex_concat")

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._measured(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._measured(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._measured(node) if node.ctx == "load" else node

    def _measured(self, node: nodes.List | nodes.Dict | nodes.Tuple) -> nodes.Node:
        # Lists of lists of lists double without a letter being written: comparing two of them would take for ever.
        self.generic_visit(node)
        children = node.items
        return _filter(node, "narthex_measured") if any(not isinstance(c, nodes.Const) for c in children) else node

    def _with_tick(self, node: Any) -> nodes.Node:
        weight = 1 + sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        weight += sum(len(word.value) for word in node.find_all(nodes.Const) if isinstance(word.value, str))
        self.generic_visit(node)
        tick = _filter(nodes.Const(weight, lineno=node.lineno), "narthex_tick")
        node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
        return node


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks training targets for others; here it is only its body."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own contract)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox that chat templates run in. See the module's text."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _GenerationTag],
            finalize=_finalize,
        )
        self.filters = {name: _charged(FILTERS[name]) for name in _SAFE_FILTERS.split()} | _OWN_FILTERS
        allowed = ("range", "dict", "namespace", "joiner", "cycler")
        self.globals = {name: self.globals[name] for name in allowed} | _FUNCTIONS

    def compile_template(self, source: str) -> jinja2.Template:
        """Parse, rewrite, compile. Raises what jinja2 and the compiler raise on hostile source: nearly anything."""
        tree = _Rewriter().visit(self.parse(source))
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    def getattr(self, obj: Any, attribute: str) -> Any:
        if not _is_allowed(obj, attribute):
            return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: str | Any) -> Any:
        if isinstance(argument, str) and not _is_allowed(obj, argument):
            return self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "replace":
            return _replace(owner, *args, **kwargs)
        if isinstance(owner, str) and name == "join":
            return _join(args[0] if args else (), owner)
        _charge(1)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, dict):
            _charge_deep(result)
        elif isinstance(result, (str, list, tuple)):
            _charge(len(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            if re.search(r"\d{4,}|\*", left):
                raise TemplateLimit("it formats to an absurd width")
            _charge(len(left) + len(_text(right)))
        elif isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_INT_BITS:
                raise TemplateLimit("it calculates with absurd numbers")
        elif operator == "*":
            _charge(_size(left) * (right if isinstance(right, int) else 1))
            _charge(_size(right) * (left if isinstance(left, int) else 1))
        else:
            _charge(_size(left) + _size(right))
        return super().call_binop(context, operator, left, right)


def _is_allowed(obj: Any, attribute: str) -> bool:
    """No methods of numbers (`to_bytes` takes a size) and bytes; of strings only those that cannot grow unforeseen."""
    if isinstance(obj, str):
        return attribute in _ALLOWED_METHODS
    return not isinstance(obj, (int, float, complex, bytes))


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 0


def _finalize(value: Any) -> Any:
    """Called by jinja2 on everything that is written out, macros and blocks included."""
    return value if isinstance(value, Undefined) else _text(value)


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, its result charged. jinja2 reads the attributes that it keeps on filters from the copy, too."""

    def charged(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        _charge(1 + _size(result))
        return result

    charged.__dict__.update(getattr(function, "__dict__", {}))
    return charged


def _concat(items: list[Any]) -> str:
    return "".join([_text(item) for item in items])


def _measured(value: Any) -> Any:
    _charge_deep(value)
    return value


@jinja2.pass_context  # which also keeps jinja2 from folding it away as a constant
def _tick(context: Context, weight: int) -> None:
    _charge(weight)


def _replace(s: str, old: str, new: str, count: int | None = -1) -> str:
    text, old, new = _text(s), _text(old), _text(new)
    found = text.count(old) if old else len(text) + 1
    _charge(max(0, found * (len(new) - len(old))))
    return text.replace(old, new, -1 if count is None else count)


def _join(value: Any, d: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        value = [item[attribute] for item in value]
    pieces = [_text(item) for item in value]
    _charge(len(pieces) * len(d))
    return d.join(pieces)


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * min(width, _MAX_INDENT)
    _charge(len(s) + (s.count("\n") + 1) * len(margin))
    return str(FILTERS["indent"](s, margin, first, blank))


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    return float(FILTERS["round"](value, max(-20, min(precision, 20)), method))


def _sum(values: Any, attribute: str | None = None, start: float = 0) -> Any:
    numbers = [value if attribute is None else value[attribute] for value in values]
    if not all(isinstance(number, (int, float)) for number in [*numbers, start]):
        raise TemplateLimit("it adds up what are no numbers")
    return sum(numbers, start)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML; models were trained on plain JSON.
    _charge_deep(value)
    if indent is not None:
        indent = min(indent, _MAX_INDENT)
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    _charge(len(text))
    return text


def _refuse(message: Any) -> NoReturn:
    raise TemplateRefusal(_text(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form[:_MAX_FORM_CHARS])


_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "sum": _sum,
    "tojson": _to_json,
    "narthex_concat": _concat,
    "narthex_measured": _measured,
    "narthex_tick": _tick,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"raise_exception": _refuse, "strftime_now": _now}


def render(template: jinja2.Template, variables: Mapping[str, Any], meter: Meter) -> str:
    """Render at the cost of `meter`. Raises: TemplateLimit, TemplateRefusal, or whatever the template breaks with."""
    token = _METER.set(meter)
    try:
        return template.render(**variables)
    finally:
        _METER.reset(token)
