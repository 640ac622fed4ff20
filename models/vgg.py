"""VGG-16 and VGG-8 for 32 x 32 images (K. Simonyan and A. Zisserman, Very deep convolutional networks, ICLR 2015, column D)."""

from torch import Tensor, nn

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels; a pool after each


class VGG16(nn.Module):
    """Thirteen 3 x 3 convolutions with batch norm and one linear layer; 14.7 million parameters.

    Input (batch, 3, 32, 32), output (batch, classes) scores. Differs from the paper as is usual for CIFAR-10: batch
    norm, and one linear layer for three, because 32 x 32 images end at one position.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in STAGES:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        return self.classifier(self.features(x).flatten(1))


class VGG8(nn.Module):
    """Six 3 x 3 convolutions of 128, 128, 256, 256, 512 and 512 channels, a pool after each pair, and two linear layers.

    Input (batch, 3, 32, 32), output (batch, classes) scores; 13.0 million parameters. The network that simulators of crossbar
    chips compare on (NeuroSim's example for CIFAR-10, from its program; the paper was not opened). No batch norm.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (128, 256, 512):
            for inputs in (channels, width):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(16 * channels, 1024), nn.ReLU(), nn.Linear(1024, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        return self.classifier(self.features(x).flatten(1))
