"""The Llama 4 architecture: norm, rope, attention, router and experts, vision, transformer; and a naive generate."""

from narthex.model.config import ModelConfig, TextConfig, VisionConfig
from narthex.model.generate import Continuation, generate, sample
from narthex.model.transformer import Output, Transformer, count_parameters

__all__ = [
    "Continuation",
    "ModelConfig",
    "Output",
    "TextConfig",
    "Transformer",
    "VisionConfig",
    "count_parameters",
    "generate",
    "sample",
]
