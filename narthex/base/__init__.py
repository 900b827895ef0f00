"""Floor 0: errors, config helpers, folders, device facts, logging. Knows nothing of any other room."""

from __future__ import annotations

from narthex.base.config import did_you_mean, read_dataclass
from narthex.base.devices import DeviceFacts, describe_device, pick_device
from narthex.base.errors import (
    BackendError,
    ConfigError,
    ContextOverflowError,
    InputError,
    ModelMistake,
    NarthexError,
    UserError,
    WeightsError,
    format_error,
)
from narthex.base.log import get_logger, setup_logging, wants_colour
from narthex.base.paths import narthex_home

__all__ = [
    "BackendError",
    "ConfigError",
    "ContextOverflowError",
    "DeviceFacts",
    "InputError",
    "ModelMistake",
    "NarthexError",
    "UserError",
    "WeightsError",
    "describe_device",
    "did_you_mean",
    "format_error",
    "get_logger",
    "narthex_home",
    "pick_device",
    "read_dataclass",
    "setup_logging",
    "wants_colour",
]
