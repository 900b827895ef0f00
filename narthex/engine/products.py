"""Matrix products in the form that is fastest where they run. Legend: O outputs, I inputs, N rows.

Measured on one core of an x86 CPU with AVX-512 (float32 activations, a weight of 1024 x 4096), microseconds:

    rows                     1       2       8      16     512
    float32 as it is       800   1,500   1,850   2,700  50,000
    two-byte, packed       280     340     450     840  23,000
    int8, packed           120     160     180     320

"Two-byte" is FBGEMM's: weights wait in float16 and are multiplied in float32. A weight that came from a bfloat16 or
float16 checkpoint loses nothing there (float16 has more digits, and what is too small for it is below 1e-7), half the
bytes are read, and a row has the same bits in any company. PyTorch calls its two functions deprecated, without a better
way: the operators that replace them take the same kernel and add 8 microseconds to each of a token's 20 products.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Form = Literal["as_is", "half", "int8"]
Weights = Form | Literal["auto"]
Product = Callable[[Tensor], Tensor]  # (N, I) -> (N, O)

LOSSLESS = 1e-7  # the largest difference of a float16 weight from its float32 one that nobody can measure


def can_pack(device: torch.device) -> bool:
    """Whether the packed forms run there."""
    return device.type == "cpu" and "fbgemm" in torch.backends.quantized.supported_engines


def is_lossless(weights: Iterable[Tensor]) -> bool:
    """Whether float16 holds these weights as they are."""
    return all(
        w.dtype in (torch.float16, torch.bfloat16, torch.float32) and _half_error(w) <= LOSSLESS for w in weights
    )


def _half_error(weight: Tensor) -> float:
    wide = weight.detach().float()
    return float((wide - wide.half().float()).abs().max())


def product(weight_OI: Tensor, bias_O: Tensor | None, form: Form) -> Product:
    """The product with one weight. Packed forms take and give float32 and keep a copy of the weight."""
    weight_OI = weight_OI.detach()
    bias_O = None if bias_O is None else bias_O.detach()
    if form == "as_is":
        return lambda x_NI: F.linear(x_NI, weight_OI, bias_O)
    wide_OI, bias_O = weight_OI.float().contiguous(), None if bias_O is None else bias_O.float()
    if form == "int8":
        scales_O = wide_OI.abs().amax(1).clamp(min=1e-12).double() / 127
        zeros_O = torch.zeros(len(scales_O), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.quantize_per_tensor, .* are deprecated")
            quantized = torch.quantize_per_channel(wide_OI, scales_O, zeros_O, 0, torch.qint8)
        small, times = torch.ops.quantized.linear_prepack(quantized, bias_O), torch.ops.quantized.linear_dynamic.default
        return lambda x_NI: times(x_NI, small)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fbgemm_.* is deprecated")  # said once, at the first call
        packed, multiply = torch.fbgemm_pack_gemm_matrix_fp16(wide_OI), torch.fbgemm_linear_fp16_weight_fp32_activation
        multiply(wide_OI[:1], packed, bias_O)
    return lambda x_NI: multiply(x_NI, packed, bias_O)


def fuse(linears: list[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """One weight that holds those of several layers, one after another, and their biases likewise.

    The layers' own parameters become views of it, so that nothing is kept twice.
    """
    if len(linears) == 1:
        return linears[0].weight, linears[0].bias
    names = ["weight"] if linears[0].bias is None else ["weight", "bias"]
    fused: list[Tensor] = []
    for name in names:
        parts = [getattr(linear, name) for linear in linears]
        whole = torch.cat([part.detach() for part in parts])
        for part, view in zip(parts, whole.split([len(part) for part in parts]), strict=True):
            part.data = view
        fused.append(whole)
    return fused[0], fused[1] if len(fused) > 1 else None
