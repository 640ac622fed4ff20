"""Networks of every kind of dependence between channels, small, with an input each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Conv2d(16, 24, 3, padding=1)
        self.m, self.fc1, self.fc2 = nn.BatchNorm2d(24), nn.Linear(24 * 16, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.n(self.a(x))), 2)
        return self.fc2(F.relu(self.fc1(torch.flatten(F.relu(self.m(self.b(x))), 1))))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.c, self.n, self.fc = nn.Conv2d(16, 8, 3, padding=1), nn.BatchNorm2d(24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = torch.cat([x, F.relu(self.b(x))], 1)
        x = torch.cat([x, F.relu(self.c(x))], 1)
        return self.fc(self.n(x).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.n0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a, self.na = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.nb = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.c, self.nc = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.d, self.nd = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.down, self.ndown, self.fc = nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.n0(self.stem(x)))
        x = F.relu(x + self.nb(self.b(F.relu(self.na(self.a(x))))))
        x = F.relu(self.ndown(self.down(x)) + self.nd(self.d(F.relu(self.nc(self.c(x))))))
        return self.fc(x.mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.d = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.n, self.p, self.fc = nn.BatchNorm2d(16), nn.Conv2d(16, 24, 1), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu6(self.p(F.relu6(self.n(self.d(F.relu6(self.a(x))))))).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.g = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1, groups=4)
        self.p, self.fc = nn.Conv2d(32, 16, 1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.p(F.relu(self.g(F.relu(self.a(x)))))).mean((2, 3)))


class ResidualMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(12, 32), nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.d(x + self.c(F.relu(self.b(x))))


class TransformerMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(12, 16), nn.LayerNorm(16)
        self.wide, self.narrow, self.fc = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.fc((x + self.narrow(F.gelu(self.wide(self.norm(x))))).mean(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.layer, self.fc = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer(self.embed(x)).mean(1))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.s, self.e = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 8), nn.Linear(8, 16)
        self.b, self.fc = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        gate = torch.sigmoid(self.e(F.relu(self.s(x.mean((2, 3))))))
        return self.fc(F.relu(self.b(x * gate[:, :, None, None])).mean((2, 3)))


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b, self.fc = nn.Conv1d(4, 16, 3, padding=1), nn.BatchNorm1d(16), nn.Conv1d(16, 24, 3), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.b(F.relu(self.n(self.a(x))))).mean(2))


class Shuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.g = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1, groups=2)
        self.h, self.fc = nn.Conv2d(16, 16, 1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.g(F.relu(self.a(x))))
        x = x.view(x.size(0), 2, 8, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        return self.fc(F.relu(self.h(x)).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.join, self.last = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down(x))
        up = F.relu(self.up(F.relu(self.deep(F.max_pool2d(first, 2)))))
        return self.last(F.relu(self.join(torch.cat([first, up], 1))))


class Upsample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 3, 1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.b(self.up(F.relu(self.a(x))))))


class Groups(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b, self.fc = nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.Conv2d(16, 16, 3), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.b(F.relu(self.n(self.a(x))))).mean((2, 3)))


class Slopes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.p, self.b, self.q = nn.Conv2d(3, 16, 3, padding=1), nn.PReLU(16), nn.Conv2d(16, 16, 3, padding=1), nn.PReLU()
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.q(self.b(self.p(self.a(x)))).mean((2, 3)))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.scale = nn.Conv2d(3, 16, 3, padding=1), nn.Parameter(torch.rand(1, 16, 1, 1) + 0.5)
        self.b, self.fc = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x)) * self.scale
        return self.fc((x + self.b(x)).mean((2, 3)))


class Difference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.a(x) - self.b(x)).mean((2, 3)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.b(F.relu(self.b(F.relu(self.a(x)))))).mean((2, 3)))


class ChunkLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.lstm, self.fc = nn.Linear(12, 32), nn.LSTM(16, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        first, gate = self.a(x).chunk(2, -1)
        found, _ = self.lstm(first * torch.sigmoid(gate))
        return self.fc(found[:, -1])


IMAGE, ROWS = (3, 8, 8), (3, 12)
NETWORKS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (PlainCNN, IMAGE), (Dense, IMAGE), (Residual, IMAGE), (Depthwise, IMAGE), (Grouped, IMAGE), (ResidualMLP, (12,)),
    (TransformerMLP, ROWS), (Encoder, ROWS), (SqueezeExcite, IMAGE), (Sequence, (4, 12)), (Shuffle, IMAGE), (UNet, IMAGE),
    (Upsample, IMAGE), (Groups, IMAGE), (Slopes, IMAGE), (Scaled, IMAGE), (Difference, IMAGE), (Twice, IMAGE), (ChunkLSTM, ROWS),
]  # fmt: skip
