"""The engine: many requests over one model, batched continuously over shared pages. Token ids and tensors only."""

from __future__ import annotations

from narthex.engine.core import EngineConfig, EngineCore
from narthex.engine.engine import Engine
from narthex.engine.grammar import GrammarCompiler
from narthex.engine.request import FinishReason, Grammar, Request, Sampling, ThinkBudget, TokenOut
from narthex.engine.stream import TokenStream

__all__ = [
    "Engine",
    "EngineConfig",
    "EngineCore",
    "FinishReason",
    "Grammar",
    "GrammarCompiler",
    "Request",
    "Sampling",
    "ThinkBudget",
    "TokenOut",
    "TokenStream",
]
