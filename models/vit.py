"""A small vision transformer for 8 x 8 handwritten digits."""

import torch
from torch import Tensor, nn

from xbar.models.transformer import Block


class DigitsViT(nn.Module):
    """After A. Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021): 16 patches of 2 x 2 pixels embedded in a width of
    48, learned positions, three blocks of 4 heads whose perceptrons double the width, and a linear layer on the mean of the patches.

    Input (batch, 1, 8, 8), output (batch, 10) scores; 58,474 weights and biases.
    """

    def __init__(self, width: int = 48, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.positions = nn.Parameter(0.02 * torch.randn(16, width))
        self.blocks = nn.Sequential(*(Block(width, heads, 2) for _ in range(layers)))
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.positions  # (batch, 16, width)
        scores: Tensor = self.fc(self.norm(self.blocks(x)).mean(1))
        return scores
