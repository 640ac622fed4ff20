"""Rounding of an ADC with a straight-through gradient; apart from `xbar.hw.array.converter`, which is read without torch."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from xbar.hw.array.converter import AdcRange


class Rounded(torch.autograd.Function):
    """Codes of an ADC with a gradient of one inside its codes and none outside."""

    @staticmethod
    def forward(ctx: Any, scaled: Tensor, adc: "AdcRange") -> Tensor:
        ctx.save_for_backward((scaled >= adc.low - 0.5) & (scaled <= adc.high + 0.5))
        return adc.rounded(scaled.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None
