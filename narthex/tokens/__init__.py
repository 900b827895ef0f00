"""Floor 2: a conversation becomes ids and picture tiles, and ids become a reply. No model, no tools, no users."""

from __future__ import annotations

from narthex.tokens.format import ChatFormat, Prompt
from narthex.tokens.pictures import Tiles, decode_picture, tile_picture
from narthex.tokens.reply import Reply, ReplyDelta, ReplyParser
from narthex.tokens.train import train_tokenizer, write_nano_folder

__all__ = [
    "ChatFormat",
    "Prompt",
    "Reply",
    "ReplyDelta",
    "ReplyParser",
    "Tiles",
    "decode_picture",
    "tile_picture",
    "train_tokenizer",
    "write_nano_folder",
]
