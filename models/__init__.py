"""Plain torch networks, no hardware in them."""

from xbar.models.digits import DigitsCNN
from xbar.models.lenet import LeNet5, LeNet5Caffe
from xbar.models.resnet import ResNet18, ResNet20, ResNet56
from xbar.models.vgg import VGG8, VGG16

__all__ = ["VGG8", "VGG16", "DigitsCNN", "LeNet5", "LeNet5Caffe", "ResNet18", "ResNet20", "ResNet56"]
