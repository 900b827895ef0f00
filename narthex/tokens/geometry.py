"""How a model folder cuts pictures, and the run of ids that stands for one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from narthex.base.errors import WeightsError
from narthex.tokens import special
from narthex.tokens.pictures import Tiles, tile_picture

_LAYOUT = (special.IMAGE_START, special.IMAGE_END, special.IMAGE, special.PATCH, special.TILE_X, special.TILE_Y)


@dataclass(frozen=True)
class PictureGeometry:
    """Sizes in pixels. `layout` holds the ids of image start, image end, image, patch, x and y separator."""

    tile_size: int
    max_tiles: int
    tokens_per_tile: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_to_max_canvas: bool
    image_token: str
    layout: tuple[int, int, int, int, int, int]

    @classmethod
    def read(cls, folder: Path, token_ids: Mapping[str, int]) -> PictureGeometry | None:
        """From the folder's JSON files; None for a model without pictures.

        `config.json` has the last word on patches, because the model is built from it.
        Raises: WeightsError for pictures of another family than Llama 4, or files that contradict each other.
        """
        processing = read_json(folder / "preprocessor_config.json")
        processor = read_json(folder / "processor_config.json")
        processing = processing or processor.get("image_processor") or {}
        if not processing or not all(name in token_ids for name in _LAYOUT):
            return None
        kind = str(processing.get("image_processor_type", "Llama4ImageProcessor"))
        if not kind.startswith("Llama4"):
            raise WeightsError(f"pictures cut by {kind} are not supported", hint="use a model of the Llama 4 family")
        config = read_json(folder / "config.json")
        vision = config.get("vision_config") or {}
        size = processing.get("size") or {}
        tile_size = int(size.get("height", 336))
        if int(size.get("width", tile_size)) != tile_size or vision.get("image_size", tile_size) != tile_size:
            raise WeightsError(
                f"{folder}: tiles of {size} pixels, but the model expects {vision.get('image_size', 'square ones')}",
                hint="preprocessor_config.json and config.json must be of the same model",
            )
        patch_id = token_ids[special.PATCH]
        if config.get("image_token_index", patch_id) != patch_id:
            raise WeightsError(
                f"{folder}: config.json says image_token_index {config['image_token_index']}, the tokenizer {patch_id}",
                hint="tokenizer.json and config.json must be of the same model",
            )
        patch_size = int(vision.get("patch_size", processor.get("patch_size", 14)))
        ratio = float(vision.get("pixel_shuffle_ratio", processor.get("pixel_shuffle_ratio", 0.5)))
        return cls(
            tile_size=tile_size,
            max_tiles=int(processing.get("max_patches", 16)),
            # Pixel shuffle joins round(1 / ratio**2) neighbouring patches into one token.
            tokens_per_tile=(tile_size // patch_size) ** 2 // round(1 / ratio**2),
            mean=_three(processing.get("image_mean")),
            std=_three(processing.get("image_std")),
            resize_to_max_canvas=bool(processing.get("resize_to_max_canvas", False)),
            image_token=special.IMAGE,
            layout=tuple(token_ids[name] for name in _LAYOUT),  # type: ignore[arg-type]
        )

    def cut(self, image: Image.Image) -> Tiles:
        """The tiles of one picture, uint8."""
        return tile_picture(
            image,
            tile_size=self.tile_size,
            max_tiles=self.max_tiles,
            resize_to_max_canvas=self.resize_to_max_canvas,
        )

    def picture_ids(self, rows: int, cols: int) -> list[int]:
        """The ids of a picture of rows x cols tiles: tiles with separators, then the global view; a single tile alone.

        Source: Llama 4's processor; ids equal those of transformers (tests/parity/test_processor.py).
        """
        return list(_picture_ids(self.layout, self.tokens_per_tile, rows, cols))


@lru_cache(maxsize=256)
def _picture_ids(layout: tuple[int, ...], tokens_per_tile: int, rows: int, cols: int) -> tuple[int, ...]:
    start, end, image, patch, tile_x, tile_y = layout
    patches = [patch] * tokens_per_tile
    ids = [start]
    if rows * cols > 1:
        row = patches + ([tile_x] + patches) * (cols - 1) + [tile_y]
        ids += row * rows
    return (*ids, image, *patches, end)


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = values or (0.5, 0.5, 0.5)
    return float(red), float(green), float(blue)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; {} where there is no such file. Raises: WeightsError where it holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}", hint="download the file again") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path} does not hold a JSON object", hint="download the file again")
    return value
