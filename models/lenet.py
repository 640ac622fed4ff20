"""LeNet-5 (Y. LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 86(11), 1998)."""

from torch import nn


class LeNet5(nn.Sequential):
    """Convolutions of 6 and 16 channels with 5 x 5 kernels, then 120, 84 and 10 outputs; 61,706 parameters.

    Input (batch, 1, 28, 28), padded to the paper's 32 x 32; output (batch, 10) scores. Differs from the paper as is
    usual today: ReLU for tanh, max pooling for trained averaging, every C3 map sees all S2 maps, scores for softmax
    instead of radial basis functions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1, self.relu3 = nn.Linear(400, 120), nn.ReLU()
        self.fc2, self.relu4 = nn.Linear(120, 84), nn.ReLU()
        self.fc3 = nn.Linear(84, 10)


class LeNet5Caffe(nn.Sequential):
    """The form that publications on compression call LeNet-5 (20-50-500-10): 430,500 weights, 431,080 with biases.

    Input (batch, 1, 28, 28), output (batch, 10) scores. As in Caffe's examples/mnist/lenet.prototxt, which was not
    opened: no padding, max pooling, ReLU after the first linear layer; differs from it by ReLU after both convolutions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1, self.relu3 = nn.Linear(800, 500), nn.ReLU()
        self.fc2 = nn.Linear(500, 10)
