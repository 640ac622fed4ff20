"""Plain torch networks, no hardware in them."""

from models.digits import DigitsCNN
from models.lenet import LeNet5
from models.resnet import ResNet20
from models.vgg import VGG16

__all__ = ["VGG16", "DigitsCNN", "LeNet5", "ResNet20"]
