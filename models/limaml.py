"""The meta-embedding recommender: a meta block, adapted to each member, whose output is one input of a global block.

LiMAML (Wang et al., KDD 2024, arXiv 2403.00803) in outline: the meta block sees what belongs to the member alone, so that its
output, the meta embedding, is one vector a member, whatever the item; the global block is shared by all. The paper's
sizes could not be read; those here are our own. So is the product term: the global block may multiply meta embedding and item vector
number by number, as a factorisation of the matrix of ratings does (Koren, Bell and Volinsky 2009), beside its hidden layers.
"""

import torch
from torch import Tensor, nn

META_HIDDEN = 64  # of the meta block


class MetaBlock(nn.Module):
    """Member features (n, features) to meta embeddings (n, size); tables of what is added to them: a vector for each member's id, and,
    with items, one for each item that the member came across, whatever it thought of it (the implicit part of SVD++, Koren 2008).

    ids: int64 from 0 on; `members` itself stands for a member who is not known. Without members, ids are not looked at.
    """

    def __init__(self, features: int, members: int, size: int = 32, hidden: int = META_HIDDEN, items: int = 0):
        super().__init__()
        self.identity = nn.Embedding(members + 1, size) if members else None
        self.history = nn.Embedding(items, size) if items else None
        self.hidden = nn.Linear(features, hidden)
        self.out = nn.Linear(hidden, size)
        self.size = size
        for table in (self.identity, self.history):
            if table is not None:
                nn.init.zeros_(table.weight)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.normal_(self.out.bias, std=0.1)

    def forward(self, features: Tensor, ids: Tensor | None = None) -> Tensor:
        """Meta embeddings (n, size) before anything of a history."""
        found = self.out(torch.tanh(self.hidden(features)))
        return found if self.identity is None or ids is None else found + self.identity(ids)


class GlobalBlock(nn.Module):
    """Meta embedding, item vector, item features and context, side by side (n, inputs), to a logit (n, 1).

    It is what runs on the chip at every request: matrices, and with `product` one multiplication of each of the first `product` inputs (the
    meta embedding) by that many after them (the item vector), whose results the last matrix reads beside the hidden layers'.
    hidden: two sizes, or none for the product alone. Nothing here belongs to one member.
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...] = (128, 64), product: int = 0):
        super().__init__()
        self.product, self.inputs = product, inputs
        self.first = nn.Linear(inputs, hidden[0]) if hidden else None
        self.second = nn.Linear(hidden[0], hidden[1]) if hidden else None
        self.score = nn.Linear((hidden[1] if hidden else 0) + product, 1)
        if product:
            with torch.no_grad():
                self.score.weight[:, -product:] = 1.0
                self.score.weight[:, :-product] *= 0.1
                self.score.bias.zero_()

    def read(self, inputs: Tensor) -> Tensor:
        """What the last matrix reads (n, ...)."""
        return joined(self.first, self.second, self.product, inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (n, 1)."""
        return self.score(self.read(inputs))


def joined(first: nn.Module | None, second: nn.Module | None, product: int, inputs: Tensor) -> Tensor:
    """Hidden layers' results and the product, along axis 1."""
    parts = []
    if first is not None and second is not None:
        parts.append(torch.relu(second(torch.relu(first(inputs)))))
    if product:
        parts.append(inputs[:, :product] * inputs[:, product : 2 * product])
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class Recommender(nn.Module):
    """Both blocks, with the table of item vectors that the global block reads: one learned for each item, and a linear function of its
    features.

    With `product` the item's vector has the meta embedding's size, and two numbers of them are biases: the meta embedding's last is 1,
    where the item's vector has the item's bias; the vector's last but one is 1, where the embedding has the member's.
    wide: also a bias of each member and each item, beside the deep network, as wide-and-deep has it. history: see `MetaBlock`.
    networks: so many lie side by side, each with its own part of embedding and vector, biases among them.
    """

    def __init__(
        self, member_features: int, members: int, items: int, item_features: int, context: int, size: int = 32,
        item_size: int = 16, hidden: tuple[int, ...] = (128, 64), wide: bool = False, product: bool = False, history: bool = False,
        networks: int = 1,
    ):  # fmt: skip
        super().__init__()
        item_size, part = size if product else item_size, size // networks
        self.meta = MetaBlock(member_features, members, size, networks * META_HIDDEN, items if history else 0)
        self.item = nn.Embedding(items, item_size)
        self.item_tower = nn.Linear(item_features, item_size, bias=False)
        nn.init.normal_(self.item.weight, std=0.1)
        nn.init.normal_(self.item_tower.weight, std=0.05)
        self.globals = GlobalBlock(size + item_size + item_features + context, hidden, size if product else 0)
        self.wide_member = nn.Embedding(members + 1, 1) if wide else None
        self.wide_item = nn.Embedding(items, 1) if wide else None
        for table in (self.wide_member, self.wide_item):
            if table is not None:
                nn.init.zeros_(table.weight)
        self.size, self.item_size = size, item_size
        ones = torch.zeros(2, size)
        if product:
            ones[0, part - 1 :: part] = ones[1, part - 2 :: part] = 1.0
            with torch.no_grad():
                self.item.weight[:, part - 1 :: part] = 0.0
                self.meta.out.bias[part - 2 :: part] = 0.0
        self.register_buffer("one_of_member", ones[0], persistent=False)
        self.register_buffer("one_of_item", ones[1] if product else torch.zeros(item_size), persistent=False)

    def embedding(self, found: Tensor) -> Tensor:
        """Meta embeddings (..., size) with the 1 that the item's bias is multiplied by."""
        return found * (1 - self.one_of_member) + self.one_of_member

    def vectors(self, items: Tensor, item_features: Tensor) -> Tensor:
        """The items' vectors (..., item_size), as a table on a chip holds them."""
        return (self.item(items) + self.item_tower(item_features)) * (1 - self.one_of_item) + self.one_of_item

    def rest(self, items: Tensor, item_features: Tensor, context: Tensor) -> Tensor:
        """What the global block reads besides the meta embedding (n, inputs - size)."""
        return torch.cat([self.vectors(items, item_features), item_features, context], -1)

    def forward(
        self, member_features: Tensor, members: Tensor, items: Tensor, item_features: Tensor, context: Tensor
    ) -> Tensor:
        """Logits (n,)."""
        embeddings = self.embedding(self.meta(member_features, members))
        logits = self.globals(torch.cat([embeddings, self.rest(items, item_features, context)], 1))[:, 0]
        if self.wide_member is not None and self.wide_item is not None:
            logits = logits + self.wide_member(members)[:, 0] + self.wide_item(items)[:, 0]
        return logits


class CandidateScorer(nn.Module):
    """The global block over K candidates (batch, inputs, K, 1): 1 x 1 convolutions with its weights; (batch, 1, K, 1)."""

    def __init__(self, block: GlobalBlock):
        super().__init__()
        self.product = block.product
        self.first, self.second, self.score = (
            None if layer is None else _pointwise(layer) for layer in (block.first, block.second, block.score)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of every candidate."""
        assert self.score is not None
        return self.score(joined(self.first, self.second, self.product, inputs))


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
