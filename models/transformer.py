"""A transformer's block, as the vision transformer and the character-level decoder here share it."""

from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Attention of `heads` heads among the positions of a sequence; causal: each position sees itself and those before it.

    Input and output (batch, length, width). One linear layer makes queries, keys and values, another joins the heads.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must be a multiple of the {heads} heads")
        self.heads, self.causal = heads, causal
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (batch, heads, length, width / heads)
            for each in self.joint(x).chunk(3, 2)
        )
        joined = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        found: Tensor = self.out(joined.transpose(1, 2).flatten(2))  # (batch, length, width)
        return found


class Block(nn.Module):
    """Attention and a two-layer perceptron of `widening` times the width with GELU, each on what a layer norm leaves and added to
    the stream (R. Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020). dropout: share of each
    branch's outputs that training drops."""

    def __init__(self, width: int, heads: int, widening: int, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), SelfAttention(width, heads, causal)
        self.norm2, self.wide, self.gelu = nn.LayerNorm(width), nn.Linear(width, widening * width), nn.GELU()
        self.narrow, self.dropout = nn.Linear(widening * width, width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        found: Tensor = x + self.dropout(self.narrow(self.gelu(self.wide(self.norm2(x)))))
        return found
