"""Train a small tokenizer, and write the text half of a model folder around it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from narthex.tokens import special

TEMPLATE_FILE = "chat_template.jinja"

# What may never be merged across, in order of preference at each place of the text:
#   a digit alone, and a capital alone that begins no word: the model copies readings and labels character by
#     character, and one token per glyph is what its dense labels in training say stands in a patch. A capital that
#     begins a word stays with it: "W" in "What" is no gauge, and telling them apart cost training its first jump;
#   a word, with the space before it where it is in small letters (as in most vocabularies: it then costs one token);
#   a run of anything else, up to the space that belongs to the next word: '": {"' can become one token.
_PIECES = (
    r"\p{N}",
    r"[A-Z](?:(?![A-Z])[\p{L}\p{M}])+",
    r"[A-Z]",
    r" ?(?:(?![A-Z])[\p{L}\p{M}])+",
    r"(?:(?! (?![A-Z])[\p{L}\p{M}])[^\p{L}\p{M}\p{N}])+",
)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = 2048) -> Tokenizer:
    """Learn a byte-level BPE vocabulary from `texts`; our special tokens are its last entries.

    Any unicode text survives encode and decode unchanged, because all 256 bytes are in the vocabulary. The result has
    at most `vocab_size` entries: fewer when `texts` holds fewer pairs worth merging.
    Raises: ValueError if `vocab_size` has no room for the bytes and the special tokens.
    """
    num_learned = vocab_size - len(special.SPECIAL_TOKENS)
    if num_learned < 256:
        raise ValueError(f"vocab_size must be at least {256 + len(special.SPECIAL_TOKENS)}: bytes and special tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(_PIECES)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=num_learned,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special.SPECIAL_TOKENS])
    return tokenizer


def read_template() -> str:
    """The chat template of our format, as shipped in the package."""
    return (Path(__file__).parent / TEMPLATE_FILE).read_text(encoding="utf-8")


def write_nano_folder(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    tile_size: int = 64,
    patch_size: int = 8,
    pixel_shuffle_ratio: float = 0.5,
    max_tiles: int = 1,
    max_length: int = 8192,
) -> None:
    """Write everything of a model folder that concerns text and pictures; the weights room adds the rest.

    `tile_size` and `patch_size` are in pixels. One tile means one global view: what is too fine for it must be
    looked at by zooming. `transformers.AutoProcessor` opens the folder too.
    Raises: ValueError if a tile does not hold a whole number of shuffled patches.
    """
    shuffled = patch_size / pixel_shuffle_ratio
    if tile_size % shuffled:
        raise ValueError(f"tile_size {tile_size} is no multiple of {shuffled:g} (patch_size / pixel_shuffle_ratio)")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    template = read_template()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(template, max_length))
    _write_json(folder / "special_tokens_map.json", _named_tokens())
    _write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Llama4ImageProcessor",
            "processor_class": "Llama4Processor",
            "do_convert_rgb": True,
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "resample": 2,  # bilinear, in Pillow's numbering
            "rescale_factor": 1 / 255,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "size": {"height": tile_size, "width": tile_size},
            "max_patches": max_tiles,
            "resize_to_max_canvas": False,
        },
    )
    _write_json(
        folder / "processor_config.json",
        {
            "processor_class": "Llama4Processor",
            "patch_size": patch_size,
            "pixel_shuffle_ratio": pixel_shuffle_ratio,
            "fake_image_token": special.IMAGE,
            "image_token": special.IMAGE,
            "start_of_image_token": special.IMAGE_START,
            "end_of_image_token": special.IMAGE_END,
            "patch_token": special.PATCH,
            "tile_x_separator_token": special.TILE_X,
            "tile_y_separator_token": special.TILE_Y,
        },
    )


def _named_tokens() -> dict[str, str]:
    return {"bos_token": special.BEGIN_OF_TEXT, "eos_token": special.END_OF_TURN, "pad_token": special.PAD}


def _tokenizer_config(template: str, max_length: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "Llama4Processor",
        **_named_tokens(),
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_length,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
