"""Plain torch networks, no hardware in them."""

from xbar.models.digits import DigitsCNN
from xbar.models.gpt import CharacterGPT
from xbar.models.lenet import LeNet5, LeNet5Caffe
from xbar.models.resnet import ResNet18, ResNet20, ResNet56
from xbar.models.rows import RowLSTM
from xbar.models.vgg import VGG8, VGG16
from xbar.models.vit import DigitsViT

__all__ = [
    "VGG8", "VGG16", "CharacterGPT", "DigitsCNN", "DigitsViT", "LeNet5", "LeNet5Caffe", "ResNet18", "ResNet20", "ResNet56", "RowLSTM",
]  # fmt: skip
