"""The chat format of a model folder: a conversation becomes ids and tiles; a parser takes the reply apart again.

Our own template and foreign ones take one path: mark what people wrote, render, split at the template's control tokens,
encode what lies between as plain text, and put the ids of a whole picture where the template named one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from narthex.base.config import did_you_mean
from narthex.base.errors import ConfigError, InputError, WeightsError
from narthex.tokens import special
from narthex.tokens.calls import SHAPES
from narthex.tokens.geometry import PictureGeometry, read_json
from narthex.tokens.pictures import Tiles, normalise
from narthex.tokens.reply import ReplyParser, ThoughtStyle
from narthex.tokens.template import ChatTemplate, Marker
from narthex.tokens.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from narthex.chat import ImagePart, Message, Part, ToolCall, ToolSpec

_KEPT_PICTURES = 32  # of which tiles are kept: those of the conversations under way
_TOOLS_PLACE = "tools_in_user_message"
# The family's own ends of a reply, known even where no config names them.
_STOP_NAMES = (special.END_OF_TURN, special.END_OF_MESSAGE, special.END_OF_TEXT)


THOUGHT_STYLES = {
    "control_tokens": ThoughtStyle(special.THOUGHT_START, special.THOUGHT_END, is_exact=True),
    "think_tags": ThoughtStyle("<think>", "</think>", is_exact=False),
    "think_brackets": ThoughtStyle("[THINK]", "[/THINK]", is_exact=False),
}


class Prompt(NamedTuple):
    """ids: the whole prompt; tiles: float32 (num_tiles, 3, tile, tile) of all its pictures in order, normalised."""

    ids: list[int]
    tiles: np.ndarray


class ChatFormat:
    """How one model folder writes conversations. Open it once; rendering is safe from threads.

    The tiles of pictures shown lately are kept by the image object: an image that is shown must not change.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        template: ChatTemplate,
        *,
        geometry: PictureGeometry | None,
        named_tokens: dict[str, str],
        stop_ids: tuple[int, ...],
        thought: str | None = None,
        calls: Sequence[str] | None = None,
    ) -> None:
        """`thought` names one of THOUGHT_STYLES or "none", `calls` some of `calls.SHAPES`; by default the folder tells.

        Raises: ConfigError for a name that is not known.
        """
        self.tokenizer = tokenizer
        self.geometry = geometry
        self.stop_ids = stop_ids
        self._template = template
        self._marker = Marker(tokenizer.special_ids)
        self._named_tokens = named_tokens
        # Our template shows pictures inside tool results; others get them as upstreams do, in a message after.
        self._shows_tool_pictures = special.THOUGHT_START in template.source and "pictures_of" in template.source
        self._shapes = _call_shapes(calls, is_ours=self._shows_tool_pictures)
        self._style = _thought_style(thought, tokenizer)
        self._opens_thought: dict[bool, bool] = {}
        self._tiles: OrderedDict[int, tuple[Image.Image, Tiles, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path, *, thought: str | None = None, calls: Sequence[str] | None = None) -> ChatFormat:
        """Read the text half of a model folder: tokenizer, template, picture geometry, stop tokens.

        `thought` and `calls` as in the constructor.
        Raises: WeightsError where a file is missing, broken, or contradicts another; ConfigError for an unknown name.
        """
        folder = Path(folder)
        tokenizer = TextTokenizer.open(folder / "tokenizer.json")
        settings = read_json(folder / "tokenizer_config.json")
        named = {key: token for key, value in settings.items() if (token := _token_text(key, value)) is not None}
        config = read_json(folder / "config.json")
        return cls(
            tokenizer,
            ChatTemplate(_find_template(folder, settings)),
            geometry=PictureGeometry.read(folder, tokenizer.special_ids),
            named_tokens=named,
            stop_ids=_stop_ids(tokenizer, named, config, read_json(folder / "generation_config.json")),
            thought=thought,
            calls=calls,
        )

    def render(
        self,
        messages: Iterable[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool,
        load_image: Callable[[ImagePart], Image.Image],
        generate: bool = True,
    ) -> Prompt:
        """Write `messages` as the model reads them; with `generate`, up to where its reply begins.

        `load_image` turns a picture's reference into an upright RGB image.
        Raises: InputError for a conversation that the template refuses, or pictures that the model cannot take.
        """
        written, pictures = self._template_messages(list(messages))
        if pictures and self.geometry is None:
            raise InputError("this model cannot see pictures", hint="choose a multimodal model, or leave them out")
        variables = self._variables(
            written, [self._tool_dict(tool) for tool in tools] or None, thinking=thinking, generate=generate
        )
        if tools and pictures and _TOOLS_PLACE in self._template.source:
            # Llama 4's own template writes tools into the first user message, but only if that is text alone. Told to,
            # it writes them into the system message, where there is one, be it empty.
            variables[_TOOLS_PLACE] = False
            if written[0]["role"] != "system":
                variables["messages"] = [{"role": "system", "content": ""}, *written]
        pieces = self._marker.split(self._template.render(variables))
        named = 0 if self.geometry is None else pieces[1::2].count(self.geometry.image_token)
        if named != len(pictures):
            raise InputError(
                f"the model's chat template shows {named} of {len(pictures)} pictures",
                hint="this folder's template does not support pictures here",
            )
        return self._assemble(pieces, [load_image(part) for part in pictures])

    def encode(self, text: str) -> list[int]:
        """Plain text to ids; never a control token."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text, control tokens written out."""
        return self.tokenizer.decode(list(ids))

    @property
    def thought_end_id(self) -> int | None:
        """The one id that ends a thought; None where the family spells it, or does not think."""
        return None if self._style is None else self.tokenizer.special_ids.get(self._style.end)

    @property
    def close_ids(self) -> tuple[int, ...]:
        """What to force to end a thought whose budget is spent, after a closing sentence; () where nothing can."""
        if self._style is None:
            return ()
        end_id = self.thought_end_id
        if self._style.is_exact:
            return () if end_id is None else (end_id,)
        mark = self.tokenizer.encode(self._style.end) if end_id is None else [end_id]
        return (*self.tokenizer.encode("\n"), *mark, *self.tokenizer.encode("\n\n"))

    def reply_parser(
        self, *, thinking: bool, tools: bool = True, new_call_id: Callable[[int], str] | None = None
    ) -> ReplyParser:
        """A parser for the reply to a prompt rendered with the same `thinking`.

        Without `tools` nothing is taken for a call, so an answer that is JSON streams as it comes. `new_call_id(i)`
        names the i-th call of the reply; by default at random.
        """
        return ReplyParser(
            self.tokenizer,
            style=self._style,
            in_thought=self._prompt_opens_thought(thinking),
            shapes=self._shapes if tools else (),
            stop_ids=self.stop_ids,
            new_call_id=new_call_id,
        )

    def _prompt_opens_thought(self, thinking: bool) -> bool:
        """Whether the template itself writes the mark that begins a thought: seen by rendering a short question."""
        if self._style is None:
            return False
        if thinking not in self._opens_thought:
            question = [{"role": "user", "content": "x"}]
            rendered = self._template.render(self._variables(question, None, thinking=thinking, generate=True))
            self._opens_thought[thinking] = rendered.rstrip().endswith(self._style.start)
        return self._opens_thought[thinking]

    def _variables(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, thinking: bool, generate: bool
    ) -> dict[str, Any]:
        return {
            **self._named_tokens,
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": generate,
            "enable_thinking": thinking,
            "date_string": datetime.now().strftime("%d %b %Y"),
        }

    def _assemble(self, pieces: list[str], images: list[Image.Image]) -> Prompt:
        ids: list[int] = []
        tiles: list[np.ndarray] = []
        waiting = iter(images)
        geometry = self.geometry
        for place, piece in enumerate(pieces):
            if place % 2 == 0:
                if piece:
                    ids += self.tokenizer.encode(piece)
            elif geometry is not None and piece == geometry.image_token:
                cut, pixels = self._cut(next(waiting), geometry)
                ids += geometry.picture_ids(cut.rows, cut.cols)
                tiles.append(pixels)
            else:
                ids.append(self.tokenizer.special_ids[piece])
        if geometry is None:
            return Prompt(ids, np.zeros((0, 3, 1, 1), dtype=np.float32))
        if not tiles:
            return Prompt(ids, np.zeros((0, 3, geometry.tile_size, geometry.tile_size), dtype=np.float32))
        return Prompt(ids, np.concatenate(tiles))

    def _cut(self, image: Image.Image, geometry: PictureGeometry) -> tuple[Tiles, np.ndarray]:
        """A picture's tiles, and their normalised pixels; agents show the same image again and again."""
        with self._lock:
            known = self._tiles.get(id(image))
            if known is None or known[0] is not image:
                cut = geometry.cut(image)
                known = image, cut, normalise(cut.pixels, geometry.mean, geometry.std)
                self._tiles[id(image)] = known
                while len(self._tiles) > _KEPT_PICTURES:
                    self._tiles.popitem(last=False)
            self._tiles.move_to_end(id(image))
        return known[1], known[2]

    def _template_messages(self, messages: list[Message]) -> tuple[list[dict[str, Any]], list[ImagePart]]:
        """Messages in the shape that templates expect, and their pictures in the order in which they will appear.

        Whatever somebody wrote is marked here; roles and part types are ours, and templates compare them.
        """
        mark = self._marker.mark
        written: list[dict[str, Any]] = []
        pictures: list[ImagePart] = []
        late: list[ImagePart] = []
        tool_names: dict[str | None, str] = {call.id: call.name for message in messages for call in message.calls}
        last_user = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
        for place, message in enumerate(messages):
            shown = list(message.pictures)
            if late and message.role != "tool":
                written.append(_pictures_message(late))
                late = []
            entry: dict[str, Any] = {"role": message.role, "content": mark(message.text)}
            if shown and message.role == "tool" and not self._shows_tool_pictures:
                late += shown
            elif shown:
                entry["content"] = [self._part_dict(part) for part in message.parts]
            pictures += shown
            if message.role == "tool":
                entry["tool_call_id"] = mark(message.call_id)
                entry["name"] = mark(tool_names.get(message.call_id, ""))
            if message.thought and place > last_user:
                entry["reasoning_content"] = mark(message.thought)
            if message.calls:
                entry["tool_calls"] = [self._call_dict(call) for call in message.calls]
            written.append(entry)
        if late:
            written.append(_pictures_message(late))
        return written, pictures

    def _part_dict(self, part: Part) -> dict[str, Any]:
        return {"type": "image"} if part.type == "image" else {"type": "text", "text": self._marker.mark(part.text)}

    def _call_dict(self, call: ToolCall) -> dict[str, Any]:
        function = {"name": self._marker.mark(call.name), "arguments": self._marker.mark(call.arguments)}
        return {"id": self._marker.mark(call.id), "type": "function", "function": function}

    def _tool_dict(self, tool: ToolSpec) -> dict[str, Any]:
        function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        return {"type": "function", "function": self._marker.mark(function)}


def _pictures_message(pictures: list[ImagePart]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"} for _ in pictures]}


def _thought_style(name: str | None, tokenizer: TextTokenizer) -> ThoughtStyle | None:
    if name is None:
        name = "control_tokens" if THOUGHT_STYLES["control_tokens"].start in tokenizer.special_ids else "think_tags"
    if name != "none" and name not in THOUGHT_STYLES:
        known = [*THOUGHT_STYLES, "none"]
        raise ConfigError(f"unknown thought style {name!r}", hint=_hint(name, known))
    return THOUGHT_STYLES.get(name)


def _call_shapes(names: Sequence[str] | None, *, is_ours: bool) -> tuple[str, ...]:
    if names is None:
        return ("json",) if is_ours else SHAPES
    for name in names:
        if name not in SHAPES:
            raise ConfigError(f"unknown shape of calls {name!r}", hint=_hint(name, list(SHAPES)))
    return tuple(names)


def _hint(name: str, known: list[str]) -> str:
    meant = did_you_mean(name, known)
    return f"did you mean {meant!r}?" if meant else f"known: {', '.join(known)}"


def _token_text(key: str, value: Any) -> str | None:
    """The text of a token named in tokenizer_config.json (a string, or an object with its `content`), else None."""
    if not key.endswith("_token"):
        return None
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _find_template(folder: Path, settings: dict[str, Any]) -> str:
    """The folder's template, from the places where folders keep it, newest convention first."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = read_json(folder / "chat_template.json").get("chat_template") or settings.get("chat_template")
    if isinstance(found, list):  # several by name: [{"name": "default", "template": …}, …]
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    if not isinstance(found, str):
        raise WeightsError(
            f"{folder} has no chat template", hint="use a model tuned for chat, or add chat_template.jinja"
        )
    return found


def _stop_ids(
    tokenizer: TextTokenizer, named: dict[str, str], config: dict[str, Any], generation: dict[str, Any]
) -> tuple[int, ...]:
    """Every id that ends a reply, by any of the places that say so, in ascending order."""
    found: set[int] = set()
    for source in (generation, config, config.get("text_config") or {}):
        stated = source.get("eos_token_id")
        found.update(id_ for id_ in (stated if isinstance(stated, list) else [stated]) if isinstance(id_, int))
    for name in (named.get("eos_token", ""), *_STOP_NAMES):
        if name in tokenizer.special_ids:
            found.add(tokenizer.special_ids[name])
    return tuple(sorted(found))
