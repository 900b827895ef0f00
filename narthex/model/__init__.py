"""The Llama 4 architecture: norm, rope, attention, router and experts, vision, transformer; and a naive generate."""

from narthex.model.config import ModelConfig, TextConfig, VisionConfig
from narthex.model.generate import generate, sample
from narthex.model.transformer import Output, Transformer, count_parameters

__all__ = [
    "ModelConfig",
    "Output",
    "TextConfig",
    "Transformer",
    "VisionConfig",
    "count_parameters",
    "generate",
    "sample",
]
