"""A small convolutional network for 8 x 8 handwritten digits."""

from torch import nn


class DigitsCNN(nn.Sequential):
    """Two 3 x 3 convolutions of 8 and 16 channels, each with ReLU and 2 x 2 max pooling, and one linear layer.

    Input (batch, 1, 8, 8), output (batch, 10) scores; 1,898 weights and biases.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, 10)
