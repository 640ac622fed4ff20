"""Residual networks for 32 x 32 images (K. He et al., Deep residual learning, CVPR 2016)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad


class PaddedShortcut(nn.Module):
    """Shortcut without weights (option A): every second position, zero channels on both sides."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.added = (width - channels) // 2  # zero channels on each side

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) to (batch, width, h / 2, w / 2)."""
        return pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; where `halves`, height and width are halved.

    The shortcut of a halving block is option A, or a 1 x 1 convolution with batch norm (option B, `projects`).
    """

    def __init__(self, channels: int, width: int, halves: bool, projects: bool) -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.shortcut: nn.Module = nn.Identity()
        if halves and projects:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
        elif halves:
            self.shortcut = PaddedShortcut(channels, width)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) to (batch, width, h, w), or half of h and w."""
        residual = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(residual + self.shortcut(x))


class ResNet(nn.Module):
    """A 3 x 3 stem, stages `layer1`, `layer2`, ... of `blocks` basic blocks each, a mean and a linear layer.

    Input (batch, 3, 32, 32), output (batch, classes) scores; each stage after the first halves height and width.
    """

    def __init__(self, widths: tuple[int, ...], blocks: int, classes: int, projects: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = [f"layer{number + 1}" for number in range(len(widths))]
        channels = widths[0]
        for name, width in zip(self.stages, widths, strict=True):
            first = BasicBlock(channels, width, halves=width != channels, projects=projects)
            rest = [BasicBlock(width, width, halves=False, projects=projects) for _ in range(blocks - 1)]
            self.add_module(name, nn.Sequential(first, *rest))
            channels = width
        self.left = 32 >> (len(widths) - 1)  # height and width after the last stage
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        x = torch.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.linear(torch.flatten(avg_pool2d(x, self.left), 1))


class ResNet20(ResNet):
    """Section 4.2 with three blocks of 16, 32 and 64 channels, option A; 269,722 parameters for 10 classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__((16, 32, 64), 3, classes)


class ResNet56(ResNet):
    """Section 4.2 with nine blocks of 16, 32 and 64 channels, option A; 853,018 parameters for 10 classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__((16, 32, 64), 9, classes)


class ResNet18(ResNet):
    """Section 4.1's ResNet-18, option B; 11,173,962 parameters for 10 classes. Differs from the paper as is usual
    for 32 x 32 images: a 3 x 3 stem of stride 1 and no pooling after it."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__((64, 128, 256, 512), 2, classes, projects=True)
