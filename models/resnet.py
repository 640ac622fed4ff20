"""ResNet-20 for 32 x 32 images (K. He et al., Deep residual learning, CVPR 2016, section 4.2)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without weights (option A): every second position, zero channels."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shrinks = stride != 1
        self.added = (width - channels) // 2  # zero channels on each side of the shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) to (batch, width, h / stride, w / stride)."""
        shortcut = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added)) if self.shrinks else x
        residual = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(residual + shortcut)


class ResNet20(nn.Module):
    """A stem, three stages of three blocks of 16, 32 and 64 channels, a mean and a linear layer; 269,722 parameters.

    Input (batch, 3, 32, 32), output (batch, classes) scores.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, stride=1)
        self.layer2 = self._stage(16, 32, stride=2)
        self.layer3 = self._stage(32, 64, stride=2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(channels: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            BasicBlock(channels, width, stride), BasicBlock(width, width, 1), BasicBlock(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(avg_pool2d(x, 8), 1))
