"""`transformers serve` as a process: python foreign_server.py FOLDER --host … --port …

The published torchvision does not load its compiled part beside a CPU build of PyTorch. Where that is so, its two
operators get their signatures, so that it can be imported, and pictures are decoded by Pillow instead.
"""

from __future__ import annotations

import io
import sys

import torch


def prepare_torchvision() -> None:
    """Make torchvision importable, and able to decode a picture."""
    try:
        torch.ops.torchvision.nms  # noqa: B018
    except AttributeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_kept"] = library  # its operators go when it does
    import torchvision.io
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    def decode(data: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return pil_to_tensor(Image.open(io.BytesIO(data.numpy().tobytes())).convert("RGB"))

    torchvision.io.decode_image = decode


if __name__ == "__main__":
    prepare_torchvision()
    from transformers.cli.transformers import main

    sys.argv = ["transformers", "serve", *sys.argv[1:]]
    sys.exit(main())
