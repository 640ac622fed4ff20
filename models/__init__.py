"""Plain torch networks, no hardware in them."""

from models.digits import DigitsCNN
from models.lenet import LeNet5, LeNet5Caffe
from models.resnet import ResNet18, ResNet20, ResNet56
from models.vgg import VGG16

__all__ = ["VGG16", "DigitsCNN", "LeNet5", "LeNet5Caffe", "ResNet18", "ResNet20", "ResNet56"]
