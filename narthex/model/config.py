"""The architecture in numbers: what a published Llama 4 `config.json` says, checked before anything is built.

Both spellings of the rotary settings are read (`rope_theta` + `rope_scaling`, and the newer `rope_parameters`), and the
text-only layout (`model_type: llama4_text`, everything at top level) as well as the multimodal one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from narthex.base.errors import ConfigError

TEXT_ROPE_THETA = 500_000.0  # Llama 4's own default
VISION_ROPE_THETA = 10_000.0


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's frequency scaling: slow rotations are stretched by `factor`, fast ones kept, a ramp in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class TextConfig:
    """The decoder. Names are those of the published config; `layer_*` tuples have one entry per layer."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int  # of one expert, routed or shared
    intermediate_size_mlp: int  # of a dense layer
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    num_local_experts: int
    num_experts_per_tok: int
    moe_layers: tuple[int, ...]
    no_rope_layers: tuple[int, ...]  # 1 = the layer rotates (and is chunked), 0 = it sees no position and everything
    attention_chunk_size: int | None
    use_qk_norm: bool
    attn_temperature_tuning: bool
    floor_scale: int
    attn_scale: float
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    max_position_embeddings: int
    attention_bias: bool
    tie_word_embeddings: bool

    def uses_rope(self, layer: int) -> bool:
        return bool(self.no_rope_layers[layer])

    def chunk_of(self, layer: int) -> int | None:
        """The chunk within which this layer attends, in tokens; None where it sees everything before it."""
        return self.attention_chunk_size if self.uses_rope(layer) else None


@dataclass(frozen=True)
class VisionConfig:
    """The picture encoder: one square tile of `image_size` pixels in, `tokens_per_tile` features out."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_channels: int
    image_size: int
    patch_size: int
    pixel_shuffle_ratio: float
    projector_input_dim: int
    projector_output_dim: int
    vision_output_dim: int
    rope_theta: float

    @property
    def grid(self) -> int:
        """Patches along one side of a tile."""
        return self.image_size // self.patch_size

    @property
    def shuffle(self) -> int:
        """Patches along one side of the square that becomes one token (2 at the usual ratio of 0.5)."""
        return round(1 / self.pixel_shuffle_ratio)

    @property
    def tokens_per_tile(self) -> int:
        return (self.grid // self.shuffle) ** 2


@dataclass(frozen=True)
class ModelConfig:
    """A whole model: decoder, and picture encoder where there is one."""

    text: TextConfig
    vision: VisionConfig | None = None
    image_token_index: int = 200_092
    boi_token_index: int = 200_080
    eoi_token_index: int = 200_081

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Read a parsed `config.json`. Raises ConfigError naming every missing or impossible field."""
        kind = raw.get("model_type")
        if kind not in ("llama4", "llama4_text"):
            raise ConfigError(
                f"model_type is {kind!r}, and the embedded engine runs the Llama 4 family",
                hint="a folder whose config.json says llama4 or llama4_text; other models run behind an upstream",
            )
        text_raw = raw.get("text_config", raw) if kind == "llama4" else raw
        vision_raw = raw.get("vision_config") if kind == "llama4" else None
        if not isinstance(text_raw, Mapping) or not isinstance(vision_raw, Mapping | None):
            raise ConfigError("text_config and vision_config of config.json must be objects")
        try:
            text = _read_text(text_raw, tied=bool(raw.get("tie_word_embeddings", False)))
            vision = _read_vision(vision_raw) if vision_raw else None
            tokens = {name: _whole(raw, name) for name in _PICTURE_TOKENS if raw.get(name) is not None}
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"config.json holds a value of the wrong kind: {error}") from None
        config = cls(text, vision, **tokens)
        problems = _text_problems(text) + _picture_problems(config) + _unsupported(text, text_raw, vision_raw or {})
        if problems:
            raise ConfigError("config.json does not describe a model that can be built: " + "; ".join(problems))
        return config

    def to_dict(self) -> dict[str, Any]:
        """The published form of this configuration, ready for `config.json`."""
        text = asdict(self.text)
        scaling = text.pop("rope_scaling")
        text["rope_parameters"] = {"rope_theta": text.pop("rope_theta"), "rope_type": "default"}
        if scaling:
            text["rope_parameters"].update(scaling, rope_type="llama3")
        text.update(model_type="llama4_text", hidden_act="silu")
        text["moe_layers"], text["no_rope_layers"] = list(self.text.moe_layers), list(self.text.no_rope_layers)
        if self.vision is None:
            return {**text, "architectures": ["Llama4ForCausalLM"]}
        vision = asdict(self.vision)
        vision["rope_parameters"] = {"rope_theta": vision.pop("rope_theta"), "rope_type": "default"}
        vision.update(model_type="llama4_vision_model", hidden_act="gelu", norm_eps=1e-5)
        return {
            "architectures": ["Llama4ForConditionalGeneration"],
            "model_type": "llama4",
            "tie_word_embeddings": self.text.tie_word_embeddings,
            **{name: getattr(self, name) for name in _PICTURE_TOKENS},
            "text_config": text,
            "vision_config": vision,
        }


_PICTURE_TOKENS = ("image_token_index", "boi_token_index", "eoi_token_index")


def _require(raw: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    missing = [name for name in names if raw.get(name) is None]
    if missing:
        raise ConfigError(f"config.json lacks {', '.join(missing)} in {where}")


def _whole(raw: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """The whole number under that name; what is none is refused, not rounded. Raises: TypeError, ValueError."""
    value = raw[name] if default is None else raw.get(name, default)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{name} is {value}, not a whole number")
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, not a number")
    return int(value)


def _section(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside the config; an empty one where it is missing. Raises: TypeError where it is anything else."""
    section = raw.get(name) or {}
    if not isinstance(section, Mapping):
        raise TypeError(f"{name} is {section!r}, not an object")
    return section


def _read_text(raw: Mapping[str, Any], *, tied: bool) -> TextConfig:
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    _require(raw, sizes, "text_config")
    layers, heads = _whole(raw, "num_hidden_layers"), _whole(raw, "num_attention_heads")
    if not 0 < layers <= 10_000 or heads <= 0:
        raise ConfigError(f"config.json asks for {layers} layers with {heads} attention heads")
    step = max(_whole(raw, "interleave_moe_layer_step", 1), 1)
    moe = raw.get("moe_layers")
    no_rope_interval = max(_whole(raw, "no_rope_layer_interval", 4), 1)
    no_rope = raw.get("no_rope_layers") or [int((i + 1) % no_rope_interval != 0) for i in range(layers)]
    rope = _section(raw, "rope_parameters")
    # null means that no layer is chunked; left out means Llama 4's own
    chunk = None if raw.get("attention_chunk_size", 0) is None else _whole(raw, "attention_chunk_size", 8192)
    return TextConfig(
        **{name: _whole(raw, name) for name in sizes},
        intermediate_size_mlp=int(raw.get("intermediate_size_mlp") or 2 * int(raw["intermediate_size"])),
        num_key_value_heads=int(raw.get("num_key_value_heads") or heads),
        head_dim=int(raw.get("head_dim") or int(raw["hidden_size"]) // heads),
        num_local_experts=_whole(raw, "num_local_experts", 16),
        num_experts_per_tok=_whole(raw, "num_experts_per_tok", 1),
        moe_layers=tuple(range(step - 1, layers, step) if moe is None else map(int, moe)),
        no_rope_layers=tuple(map(int, no_rope)),
        attention_chunk_size=chunk,
        use_qk_norm=bool(raw.get("use_qk_norm", True)),
        attn_temperature_tuning=bool(raw.get("attn_temperature_tuning", True)),
        floor_scale=_whole(raw, "floor_scale", 8192),
        attn_scale=float(raw.get("attn_scale", 0.1)),
        rms_norm_eps=float(raw.get("rms_norm_eps", 1e-5)),
        rope_theta=float(rope.get("rope_theta") or raw.get("rope_theta") or TEXT_ROPE_THETA),
        rope_scaling=_read_scaling(rope if "rope_type" in rope else _section(raw, "rope_scaling")),
        max_position_embeddings=_whole(raw, "max_position_embeddings", 131_072),
        attention_bias=bool(raw.get("attention_bias", False)),
        tie_word_embeddings=tied or bool(raw.get("tie_word_embeddings", False)),
    )


def _read_scaling(raw: Mapping[str, Any]) -> RopeScaling | None:
    kind = raw.get("rope_type") or raw.get("type") or "default"  # `type` is what older configs call it
    if kind == "default":
        return None
    if kind != "llama3":
        raise ConfigError(f"rope_type is {kind!r}; Llama 4 uses 'default' or 'llama3'")
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    _require(raw, names, "rope_scaling")
    low, high = float(raw["low_freq_factor"]), float(raw["high_freq_factor"])
    if float(raw["factor"]) <= 0 or low <= 0 or high < low:
        raise ConfigError(f"rope_scaling cannot stretch by {raw['factor']} between the factors {low} and {high}")
    return RopeScaling(float(raw["factor"]), low, high, _whole(raw, "original_max_position_embeddings"))


def _read_vision(raw: Mapping[str, Any]) -> VisionConfig:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")
    _require(raw, names, "vision_config")
    rope = _section(raw, "rope_parameters")
    return VisionConfig(
        **{name: _whole(raw, name) for name in names},
        intermediate_size=_whole(raw, "intermediate_size", 4 * _whole(raw, "hidden_size")),
        num_channels=_whole(raw, "num_channels", 3),
        pixel_shuffle_ratio=float(raw.get("pixel_shuffle_ratio", 0.5)),
        projector_input_dim=_whole(raw, "projector_input_dim", 4096),
        projector_output_dim=_whole(raw, "projector_output_dim", 4096),
        vision_output_dim=_whole(raw, "vision_output_dim", 7680),
        rope_theta=float(rope.get("rope_theta") or raw.get("rope_theta") or VISION_ROPE_THETA),
    )


def _unsupported(text: TextConfig, text_raw: Mapping[str, Any], vision_raw: Mapping[str, Any]) -> list[str]:
    """Settings that would change what is computed and that this code does not know: said, never ignored."""
    found = []
    for where, raw, known in (("text", text_raw, "silu"), ("vision", vision_raw, "gelu")):
        if raw.get("hidden_act", known) != known:
            found.append(f"hidden_act of {where}_config is {raw['hidden_act']!r}, and only {known!r} is known")
    kinds = ["chunked_attention" if uses_rope else "full_attention" for uses_rope in text.no_rope_layers]
    if text_raw.get("layer_types") not in (None, kinds):
        found.append("layer_types contradicts no_rope_layers (1 is chunked_attention, 0 is full_attention)")
    return found


_MAY_BE_ZERO = ("num_local_experts", "num_experts_per_tok")  # of a model without mixture layers


def _text_problems(text: TextConfig) -> list[str]:
    """Everything that would make the described decoder impossible or wrong, in words."""
    numbers = {name: value for name, value in asdict(text).items() if type(value) is int}
    found = [f"{name} is {value}" for name, value in numbers.items() if value < (name not in _MAY_BE_ZERO)]
    if text.num_key_value_heads <= 0 or text.num_attention_heads % text.num_key_value_heads:
        found.append(f"{text.num_attention_heads} heads cannot share {text.num_key_value_heads} key-value heads")
    if text.head_dim % 2:
        found.append(f"head_dim {text.head_dim} is not even, and rotary pairs need it to be")
    if len(text.no_rope_layers) != text.num_hidden_layers:
        found.append(f"no_rope_layers speaks of {len(text.no_rope_layers)} layers, not {text.num_hidden_layers}")
    if any(not 0 <= layer < text.num_hidden_layers for layer in text.moe_layers):
        found.append("moe_layers names a layer that does not exist")
    if text.moe_layers and not 1 <= text.num_experts_per_tok <= text.num_local_experts:
        found.append(f"{text.num_experts_per_tok} experts a token out of {text.num_local_experts}")
    for name in ("rms_norm_eps", "rope_theta", "attn_scale"):
        value = getattr(text, name)
        if not math.isfinite(value) or value < 0 or (name == "rope_theta" and value == 0):
            found.append(f"{name} is {value}")
    return found


def _picture_problems(config: ModelConfig) -> list[str]:
    """The same of the picture encoder, and of the way from it to the decoder."""
    vision = config.vision
    if vision is None:
        return []
    found = [
        f"{name} of vision_config is {value}" for name, value in asdict(vision).items() if not 0 < value < math.inf
    ]
    if found:
        return found  # the sums below would divide by them
    if vision.hidden_size % (4 * vision.num_attention_heads):
        found.append(f"vision width {vision.hidden_size} over {vision.num_attention_heads} heads: not a multiple of 4")
    if vision.image_size % vision.patch_size:
        found.append(f"a tile of {vision.image_size} pixels does not divide into patches of {vision.patch_size}")
    elif not math.isclose(vision.shuffle * vision.pixel_shuffle_ratio, 1) or vision.grid % vision.shuffle:
        found.append(f"{vision.grid} patches a side cannot be shuffled by {vision.pixel_shuffle_ratio}")
    elif vision.intermediate_size != vision.hidden_size * vision.shuffle**2:
        found.append("vision intermediate_size must equal hidden_size / pixel_shuffle_ratio^2: the adapter shares it")
    if not vision.projector_input_dim == vision.projector_output_dim == vision.vision_output_dim:
        found.append("projector_input_dim, projector_output_dim and vision_output_dim must be equal")
    if not 0 <= config.image_token_index < config.text.vocab_size:
        found.append(f"image_token_index {config.image_token_index} is not in a vocabulary of {config.text.vocab_size}")
    return found
