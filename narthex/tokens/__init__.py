"""Floor 2: a conversation becomes ids and picture tiles, and ids become a reply. No model, no tools, no users."""

from __future__ import annotations

from narthex.tokens.format import ChatFormat, Prompt
from narthex.tokens.pictures import decode_picture, tile_picture

__all__ = ["ChatFormat", "Prompt", "decode_picture", "tile_picture"]
