"""A small character-level transformer decoder."""

import torch
from torch import Tensor, nn

from xbar.models.transformer import Block


class CharacterGPT(nn.Module):
    """After A. Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), small: characters and their positions
    embedded in a width of 128, so that its matrices fill crossbars of 128 x 128, four causal blocks of 4 heads whose perceptrons are
    four times as wide, and a linear layer of its own weights for the next character's logits.

    Input int64 (batch, length) of tokens below `vocabulary`, at most `context` long; output (batch, length, vocabulary) logits:
    those at a position are for the token after it, and rest on it and those before it alone. 834,657 weights and biases.
    """

    def __init__(
        self, vocabulary: int = 97, context: int = 128, width: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.1
    ) -> None:  # fmt: skip
        super().__init__()
        self.characters = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(*(Block(width, heads, 4, causal=True, dropout=dropout) for _ in range(layers)))
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        nn.init.normal_(self.characters.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.characters(tokens) + self.positions[: tokens.shape[1]]  # (batch, length, width)
        logits: Tensor = self.fc(self.norm(self.blocks(x)))
        return logits
