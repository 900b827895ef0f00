"""The special tokens of our format, and which of them mean what.

The names are those of the Llama 4 family, so that any program that knows the family knows ours. A folder of another
family has names of its own; `ChatFormat` reads those from its `tokenizer.json`.
"""

from __future__ import annotations

BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
HEADER_START = "<|header_start|>"
HEADER_END = "<|header_end|>"
END_OF_MESSAGE = "<|eom|>"
END_OF_TURN = "<|eot|>"
PYTHON_START = "<|python_start|>"
PYTHON_END = "<|python_end|>"
IMAGE_START = "<|image_start|>"
IMAGE_END = "<|image_end|>"
IMAGE = "<|image|>"
PATCH = "<|patch|>"
TILE_X = "<|tile_x_separator|>"
TILE_Y = "<|tile_y_separator|>"
THOUGHT_START = "<|reasoning_thinking_start|>"
THOUGHT_END = "<|reasoning_thinking_end|>"
PAD = "<|finetune_right_pad|>"

# In the order of their ids: nano's vocabulary ends with exactly these.
SPECIAL_TOKENS: tuple[str, ...] = (
    BEGIN_OF_TEXT,
    END_OF_TEXT,
    HEADER_START,
    HEADER_END,
    END_OF_MESSAGE,
    END_OF_TURN,
    PYTHON_START,
    PYTHON_END,
    IMAGE_START,
    IMAGE_END,
    IMAGE,
    PATCH,
    TILE_X,
    TILE_Y,
    THOUGHT_START,
    THOUGHT_END,
    PAD,
)
