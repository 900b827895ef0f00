"""One tokenizer file: text to ids that can never be control tokens, control tokens by name, and ids back to bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import tokenizers

from narthex.base.errors import WeightsError

# Headers and separators recur in every message; encoding them again costs more than looking them up.
_CACHE_ENTRIES = 2048
_CACHE_CHARS = 64


# Added tokens that are not flagged special but act so: tags such as <tool_call>. Runs of spaces are mere text.
_TAG = re.compile(r"[^\w\s].*[^\w\s]", re.DOTALL)


class TextTokenizer:
    """A `tokenizer.json`, taken apart: the control tokens on one side, the plain vocabulary on the other.

    `special_ids` maps each control token's text to its id; `skipped_ids` are those that stand for no text at all.
    """

    def __init__(self, definition: dict[str, Any]) -> None:
        added = definition.get("added_tokens") or []
        control = [entry for entry in added if entry.get("special") or _TAG.fullmatch(entry["content"])]
        self.special_ids: dict[str, int] = {entry["content"]: int(entry["id"]) for entry in control}
        self.skipped_ids = frozenset(int(entry["id"]) for entry in control if entry.get("special"))
        # Without post-processor and control tokens, `encode` turns any string into plain text and nothing else.
        words = [entry for entry in added if entry not in control]
        bare = dict(definition, added_tokens=words, post_processor=None, truncation=None, padding=None)
        self._plain = tokenizers.Tokenizer.from_str(json.dumps(bare))
        # The library numbers the kept words anew; their true ids are put back after encoding.
        true_ids = {self._plain.token_to_id(entry["content"]): int(entry["id"]) for entry in words}
        self._true_ids = {new: true for new, true in true_ids.items() if new is not None and new != true}
        self._library_ids = {true: new for new, true in self._true_ids.items()}
        # Added words stand for themselves, not for bytes in the vocabulary's spelling.
        self._words = {self._plain.token_to_id(entry["content"]): entry["content"].encode() for entry in words}
        self._names = {id_: text for text, id_ in self.special_ids.items()}
        self._is_byte_level = "ByteLevel" in json.dumps(definition.get("decoder") or {})
        self._control_ids = frozenset(self._names)
        self._cache: dict[str, list[int]] = {}
        self.vocab_size = 1 + max(
            [*self._plain.get_vocab(with_added_tokens=False).values(), *(int(e["id"]) for e in added)], default=0
        )

    @classmethod
    def open(cls, path: Path) -> TextTokenizer:
        """Raises: WeightsError where the file is missing or is no tokenizer."""
        try:
            definition = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(definition)
        except FileNotFoundError:
            raise WeightsError(f"no tokenizer.json in {path.parent}", hint="copy it from the weights' source") from None
        except Exception as error:  # the library raises bare Exception for whatever it cannot parse
            raise WeightsError(f"{path} is no tokenizer: {error}", hint="download the file again") from None

    def encode(self, text: str) -> list[int]:
        """Plain text to ids. A control token's name in `text` becomes the letters of its name, never its id."""
        if not text:
            return []
        known = self._cache.get(text)
        if known is not None:
            return list(known)
        ids = self._encode(text)
        if not self._control_ids.isdisjoint(ids):
            # A vocabulary that holds its control tokens as ordinary words too: spell the text out.
            ids = [id_ for char in text for id_ in self._encode(char)]
            ids = [id_ for id_ in ids if id_ not in self._control_ids]
        if len(text) <= _CACHE_CHARS:
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            self._cache[text] = ids
            return list(ids)
        return ids

    def decode(self, ids: list[int]) -> str:
        """Ids to text, control tokens written out; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: list[int]) -> bytes:
        """Ids to bytes: exact for each id alone where `is_byte_level`, else in runs between control tokens."""
        pieces: list[bytes] = []
        run: list[int] = []
        for id_ in [*ids, -1]:
            if id_ in self._names or id_ == -1:
                pieces.append(self._plain_bytes(run))
                run = []
            if id_ in self._names:
                pieces.append(self._names[id_].encode())
            elif id_ != -1:
                run.append(id_)
        return b"".join(pieces)

    @property
    def is_byte_level(self) -> bool:
        """Whether each id alone stands for certain bytes, so that a stream can be decoded id by id."""
        return self._is_byte_level

    def name(self, id_: int) -> str | None:
        """The text of a control token, None for an ordinary id."""
        return self._names.get(id_)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return [self._true_ids.get(id_, id_) for id_ in ids] if self._true_ids else ids

    def _plain_bytes(self, ids: list[int]) -> bytes:
        if not ids:
            return b""
        ids = [self._library_ids.get(id_, id_) for id_ in ids] if self._library_ids else ids
        if not self._is_byte_level:
            return self._plain.decode(ids, skip_special_tokens=False).encode()
        return b"".join(self._bytes_of(id_) for id_ in ids)

    def _bytes_of(self, library_id: int) -> bytes:
        """What one id of a byte-level vocabulary stands for; nothing for an id that is not in it."""
        if library_id in self._words:
            return self._words[library_id]
        return bytes(_BYTE_OF[char] for char in self._plain.id_to_token(library_id) or "" if char in _BYTE_OF)


def _byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level vocabularies (GPT-2's table), inverted.

    Printable latin bytes stand for themselves; the others take the code points from 256 up, in order.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
