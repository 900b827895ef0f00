"""What a tensor is called on disk and in the model.

The model's own names are those of the multimodal checkpoints, so there is nothing to translate for them. Text-only
checkpoints leave the outermost module out.
"""

from __future__ import annotations

from torch import nn

# model_type of config.json -> (prefix on disk, prefix in the model)
PREFIXES: dict[str, tuple[tuple[str, str], ...]] = {
    "llama4": (),
    "llama4_text": (("model.", "language_model.model."), ("lm_head.", "language_model.lm_head.")),
}


def name_on_disk(name: str, model_type: str) -> str:
    """The published name of one of the model's tensors."""
    for disk, inside in PREFIXES.get(model_type, ()):
        if name.startswith(inside):
            return disk + name.removeprefix(inside)
    return name


def tied_names(model: nn.Module) -> dict[str, str]:
    """Parameters that are another one under a second name: second -> first. Published files hold the first."""
    first: dict[int, str] = {}
    tied: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name:
            tied[name] = first[id(parameter)]
    return tied
