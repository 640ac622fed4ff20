"""The meta-embedding recommender: a meta block, adapted to each member, whose output is one input of a global block.

LiMAML (Wang et al., KDD 2024, arXiv 2403.00803) in outline: the meta block sees what belongs to the member alone, so that its
output, the meta embedding, is one vector a member, whatever the item; the global block is shared by all. The paper's
sizes could not be read; those here are our own.
"""

import torch
from torch import Tensor, nn


class MetaBlock(nn.Module):
    """Member features (n, features) and member ids (n,) to meta embeddings (n, size).

    ids: int64 from 0 on; `members` itself stands for a member who is not known. Without members, ids are not looked at.
    """

    def __init__(self, features: int, members: int, size: int = 32, id_size: int = 16, hidden: int = 64):
        super().__init__()
        self.identity = nn.Embedding(members + 1, id_size) if members else None
        self.hidden = nn.Linear(features + (id_size if members else 0), hidden)
        self.out = nn.Linear(hidden, size)
        self.size = size
        if self.identity is not None:
            nn.init.normal_(self.identity.weight, std=0.05)
            with torch.no_grad():
                self.identity.weight[members] = 0.0

    def forward(self, features: Tensor, ids: Tensor | None = None, ready: bool = False) -> Tensor:
        """Meta embeddings (n, size). ready: `features` has the vectors of the ids at its end already."""
        if self.identity is not None and not ready:
            features = torch.cat([features, self.identity(ids)], 1)
        return self.out(torch.tanh(self.hidden(features)))


class GlobalBlock(nn.Module):
    """Meta embedding, item embedding, item features and context, side by side (n, inputs), to a logit (n, 1).

    It is what runs on the chip at every request: three matrices, nothing that belongs to one member.
    """

    def __init__(self, inputs: int, hidden: tuple[int, int] = (128, 64)):
        super().__init__()
        self.first = nn.Linear(inputs, hidden[0])
        self.second = nn.Linear(hidden[0], hidden[1])
        self.score = nn.Linear(hidden[1], 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (n, 1)."""
        return self.score(torch.relu(self.second(torch.relu(self.first(inputs)))))


class Recommender(nn.Module):
    """Both blocks, with the table of item embeddings that the global block reads.

    wide: also a bias of each member and each item, beside the deep network, as wide-and-deep has it.
    """

    def __init__(
        self, member_features: int, members: int, items: int, item_features: int, context: int, size: int = 32,
        item_size: int = 16, hidden: tuple[int, int] = (128, 64), wide: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.meta = MetaBlock(member_features, members, size)
        self.item = nn.Embedding(items, item_size)
        nn.init.normal_(self.item.weight, std=0.05)
        self.globals = GlobalBlock(size + item_size + item_features + context, hidden)
        self.wide_member = nn.Embedding(members + 1, 1) if wide else None
        self.wide_item = nn.Embedding(items, 1) if wide else None
        for table in (self.wide_member, self.wide_item):
            if table is not None:
                nn.init.zeros_(table.weight)

    def rest(self, items: Tensor, item_features: Tensor, context: Tensor) -> Tensor:
        """What the global block reads besides the meta embedding (n, inputs - size)."""
        return torch.cat([self.item(items), item_features, context], -1)

    def forward(
        self, member_features: Tensor, members: Tensor, items: Tensor, item_features: Tensor, context: Tensor
    ) -> Tensor:
        """Logits (n,)."""
        embeddings = self.meta(member_features, members)
        logits = self.globals(torch.cat([embeddings, self.rest(items, item_features, context)], 1))[:, 0]
        if self.wide_member is not None and self.wide_item is not None:
            logits = logits + self.wide_member(members)[:, 0] + self.wide_item(items)[:, 0]
        return logits


class CandidateScorer(nn.Module):
    """The global block over K candidates (batch, inputs, K, 1): three 1 x 1 convolutions with its weights; (batch, 1, K, 1)."""

    def __init__(self, block: GlobalBlock):
        super().__init__()
        self.first, self.second, self.score = (_pointwise(layer) for layer in (block.first, block.second, block.score))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of every candidate."""
        return self.score(torch.relu(self.second(torch.relu(self.first(inputs)))))


def _pointwise(layer: nn.Linear) -> nn.Conv2d:
    found = nn.Conv2d(layer.in_features, layer.out_features, 1)
    with torch.no_grad():
        found.weight.copy_(layer.weight[:, :, None, None])
        found.bias.copy_(layer.bias)  # type: ignore[union-attr]
    return found


class LookupScorer(nn.Module):
    """One candidate, its embeddings looked up on crossbars: member (batch,), item (batch,), the rest (batch, n) to a logit."""

    def __init__(self, block: GlobalBlock, members: Tensor, items: Tensor):
        super().__init__()
        self.member = nn.Embedding.from_pretrained(members.clone())
        self.item = nn.Embedding.from_pretrained(items.clone())
        self.block = block

    def forward(self, member: Tensor, item: Tensor, rest: Tensor) -> Tensor:
        """Logits (batch, 1)."""
        return self.block(torch.cat([self.member(member), self.item(item), rest], 1))
