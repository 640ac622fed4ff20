"""Small networks for tests of the hardware."""

from functools import cache

import torch
from torch import Tensor, nn

from xbar.hw import load_chip, preset_names


def seeded(build: type[nn.Module] | None = None, *layers: nn.Module, seed: int = 0) -> nn.Module:
    """A Sequential of `layers` with weights of that seed, in evaluation mode."""
    model = nn.Sequential(*layers) if build is None else build()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def small_convolutional() -> tuple[nn.Module, Tensor]:
    """Two convolutions, a pool each, one linear layer; input 1 x 8 x 8."""
    model = seeded(
        None,
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return model, torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """A stem, a block with a sum, a concatenation, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.first = nn.Conv2d(6, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.side = nn.Conv2d(6, 4, 1)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of (batch, 2, 6, 6)."""
        stem = torch.relu(self.stem(x))
        joined = torch.relu(self.second(torch.relu(self.first(stem))) + stem)
        both = torch.cat([joined, torch.relu(self.side(stem))], dim=1)
        return self.out(torch.flatten(nn.functional.adaptive_avg_pool2d(both, 1), 1))


def residual() -> tuple[nn.Module, Tensor]:
    """The residual network and an input, some of it negative."""
    return seeded(Residual), torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(2))


class UnusualPaths(nn.Module):
    """The input joins by concatenation, a depthwise layer of stride 2, one layer called twice, a skip over both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6, stride=2, padding=1)
        self.twice = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 2, 7, 7) to (batch, 6, 4, 4)."""
        small = self.depthwise(torch.cat([torch.relu(self.first(x)), x], dim=1))
        return self.twice(torch.relu(self.twice(torch.relu(small)))) + small


def unusual_paths() -> tuple[nn.Module, Tensor]:
    """The network of unusual paths and an input, some of it negative."""
    return seeded(UnusualPaths), torch.randn(3, 2, 7, 7, generator=torch.Generator().manual_seed(3))


class Sequence(nn.Module):
    """Linear layers on rows of features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, rows, 8) to (batch, rows, 4)."""
        return self.second(torch.relu(self.first(x)))


def sequence() -> tuple[nn.Module, Tensor]:
    """The network on sequences of five rows."""
    return seeded(Sequence), torch.rand(3, 5, 8, generator=torch.Generator().manual_seed(4))


class Recommender(nn.Module):
    """Look-ups of two fields in tables of their own, dense features beside them, two linear layers."""

    def __init__(self, users: int = 300, items: int = 140, width: int = 12) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, width), nn.Embedding(items, 2 * width)
        self.hidden, self.out = nn.Linear(3 * width + 5, 8), nn.Linear(8, 1)

    def forward(self, indices: Tensor, features: Tensor) -> Tensor:
        """Scores (batch, 1) of indices (batch, 2) and features (batch, 5)."""
        rows = [self.user(indices[:, 0]), self.item(indices[:, 1])]
        return self.out(torch.relu(self.hidden(torch.cat([*rows, features], dim=1))))


def recommender() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """The recommender, and indices with features."""
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(count, (6,), generator=generator) for count in (300, 140)]
    return seeded(Recommender), (torch.stack(rows, dim=1), torch.rand(6, 5, generator=generator))


class Histories(nn.Module):
    """Several look-ups of a sample in one table, a linear layer on each row, their mean, and one more layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.each, self.out = nn.Embedding(700, 70), nn.Linear(70, 6), nn.Linear(6, 3)

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, look-ups) to (batch, 3)."""
        return self.out(torch.relu(self.each(self.table(rows))).mean(1))


def histories() -> tuple[nn.Module, Tensor]:
    """The network on histories of four look-ups."""
    return seeded(Histories), torch.randint(700, (5, 4), generator=torch.Generator().manual_seed(6))


@cache
def presets_of_networks() -> list[str]:
    """Names of the chip presets that hold networks: not those of measured chips of one array, which hold one matrix."""
    return [name for name in preset_names() if load_chip(name).crossbars > 1]
