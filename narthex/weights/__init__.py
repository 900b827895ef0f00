"""Model folders: open, check, save. safetensors only, every file against a manifest, nothing that could run code."""

from narthex.weights.check import CheckedFolder, check_folder
from narthex.weights.open import OpenedModel, open_model
from narthex.weights.save import save_model

__all__ = ["CheckedFolder", "OpenedModel", "check_folder", "open_model", "save_model"]
