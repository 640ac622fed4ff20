"""The networks that ran on NeuRRAM, in torch: what they compute in software, layer by layer, with their quantisers.

After the chip's published software (W. Wan et al., Nature 608, 504-512, 2022), as the notes beside its extracted arrays describe it.
Arrays are those of one network, by name: `conv07/kernel` (height, width, in, out), `conv07/bias`, `gamma`, `beta`, `mean`, `var`,
`act07/range`.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Arrays = Mapping[str, np.ndarray]

NORM_EPSILON = 1e-3
IMAGE_BITS, IMAGE_TOP = 4, 0.95  # of CIFAR-10's images
ACTIVATION_BITS = 3
# of each block: its two convolutions, the projection beside them, and the stride of the first and the projection
BLOCKS = (
    (1, 2, None, 1), (3, 4, None, 1), (5, 6, None, 1), (7, 8, 9, 2), (10, 11, None, 1), (12, 13, None, 1), (14, 15, 16, 2),
    (17, 18, None, 1), (19, 20, None, 1),
)  # fmt: skip
CONVOLUTIONS = 21


class Quantise(nn.Module):
    """Values rounded half up to `bits` bits over 0 to `top`; what is beyond is held at the end."""

    def __init__(self, bits: int, top: float):
        super().__init__()
        self.codes, self.top = 2**bits - 1, top

    def forward(self, x: Tensor) -> Tensor:
        """The values that codes stand for."""
        return torch.floor(torch.clamp(x, 0, self.top) / self.top * self.codes + 0.5) * (self.top / self.codes)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(array, np.float32))


def _convolution(arrays: Arrays, name: str, stride: int) -> nn.Conv2d:
    kernel = _tensor(arrays[f"{name}/kernel"]).permute(3, 2, 0, 1)
    layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], stride)
    layer.weight, layer.bias = nn.Parameter(kernel.contiguous()), nn.Parameter(_tensor(arrays[f"{name}/bias"]))
    return layer


def _norm(arrays: Arrays, name: str) -> nn.Module:
    if f"{name}/gamma" not in arrays:
        return nn.Identity()
    gamma, beta, mean, variance = (_tensor(arrays[f"{name}/{part}"]) for part in ("gamma", "beta", "mean", "var"))
    layer = nn.BatchNorm2d(len(gamma), NORM_EPSILON)
    layer.weight, layer.bias = nn.Parameter(gamma), nn.Parameter(beta)
    layer.running_mean, layer.running_var = mean, variance
    return layer


def _dense(arrays: Arrays) -> nn.Linear:
    kernel = _tensor(arrays["dense/kernel"])
    layer = nn.Linear(*kernel.shape)
    layer.weight, layer.bias = nn.Parameter(kernel.T.contiguous()), nn.Parameter(_tensor(arrays["dense/bias"]))
    return layer


def around(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of that size whose result has size / stride values, rounded up ("same" of TensorFlow)."""
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


class ResNet20(nn.Module):
    """ResNet-20 of 3-bit activations on CIFAR-10, images (batch, 3, 32, 32) from 0 to 1.

    tail: whether the last activations are pooled after a ReLU ("evaluated", the authors' software accuracy of base networks) or as
    they are ("chip", the networks put on the chip); both quantise what is pooled.
    """

    def __init__(self, arrays: Arrays, tail: str = "chip"):
        super().__init__()
        self.tail = tail
        strides = {first: stride for first, _, _, stride in BLOCKS} | {at: stride for *_, at, stride in BLOCKS if at}
        for index in range(CONVOLUTIONS):
            name = f"conv{index:02d}"
            self.add_module(name, _convolution(arrays, name, strides.get(index, 1)))
            self.add_module(f"norm{index:02d}", _norm(arrays, name))
        for index in range(len(BLOCKS) * 2 + 1):
            self.add_module(f"act{index:02d}", Quantise(ACTIVATION_BITS, float(arrays[f"act{index:02d}/range"])))
        self.image, self.dense = Quantise(IMAGE_BITS, IMAGE_TOP), _dense(arrays)

    def _layer(self, index: int, x: Tensor) -> Tensor:
        layer = self.get_submodule(f"conv{index:02d}")
        assert isinstance(layer, nn.Conv2d)
        low, high = around(x.shape[-1], layer.kernel_size[0], layer.stride[0])
        x = F.pad(x, (low, high, low, high)) if low + high else x
        found: Tensor = self.get_submodule(f"norm{index:02d}")(layer(x))
        return found

    def _act(self, index: int, x: Tensor) -> Tensor:
        found: Tensor = self.get_submodule(f"act{index:02d}")(x)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = self._act(0, self._layer(0, self.image(images)))
        for block, (first, second, projection, _) in enumerate(BLOCKS):
            y = self._layer(second, self._act(2 * block + 1, self._layer(first, x)))
            x = y + (x if projection is None else self._layer(projection, x))
            if block < len(BLOCKS) - 1:
                x = self._act(2 * block + 2, x)
        x = torch.relu(x) if self.tail == "evaluated" else x
        logits: Tensor = self.dense(self._act(2 * len(BLOCKS), x.mean((2, 3))))
        return logits

    def input_ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest input of each layer, that of its quantiser."""
        before = {0: None, 1: 0}
        for block, (first, second, projection, _) in enumerate(BLOCKS):
            before |= {first: 2 * block, second: 2 * block + 1} | ({} if projection is None else {projection: 2 * block})
        tops = {index: float(self.get_submodule(f"act{index:02d}").top) for index in range(len(BLOCKS) * 2 + 1)}  # type: ignore[arg-type]
        found = {f"conv{index:02d}": (0.0, IMAGE_TOP if act is None else tops[act]) for index, act in before.items()}
        return found | {"dense": (0.0, tops[2 * len(BLOCKS)])}


class MnistCnn(nn.Module):
    """Six convolutions of 3 x 3 and a dense layer on MNIST, images (batch, 1, 28, 28) from 0 to 1, all values of 3 bits."""

    def __init__(self, arrays: Arrays):
        super().__init__()
        self.image, self.dense = Quantise(3, 1.0), _dense(arrays)
        for index in range(6):
            layer = _convolution(arrays, f"conv{index}", 1)
            layer.padding = (1, 1)
            self.add_module(f"conv{index}", layer)
            self.add_module(f"act{index}", Quantise(3, float(arrays[f"act{index}/range"])))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = self.image(images)
        for index in range(6):
            x = self.get_submodule(f"act{index}")(self.get_submodule(f"conv{index}")(x))
            x = F.max_pool2d(x, 2, ceil_mode=True) if index % 2 else x
        logits: Tensor = self.dense(x.permute(0, 2, 3, 1).flatten(1))
        return logits

    def input_ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest input of each layer, that of its quantiser."""
        tops = [1.0, *(float(self.get_submodule(f"act{index}").top) for index in range(6))]  # type: ignore[arg-type]
        return {f"conv{index}": (0.0, tops[index]) for index in range(6)} | {"dense": (0.0, tops[6])}


class KeywordLstm:
    """Four LSTM blocks of 112 units on 40 cepstral coefficients a frame, each with an output layer of 12 classes that are summed.

    Arrays: `input_weight` (4, 40, 448), `hidden_weight`, `fc_weight`, their biases and the ranges of all values, as trained; weights
    are held within 0.2, biases within 0.4. Inputs of every product are signed values of 4 bits.
    """

    BLOCKS, CLASSES, UNITS = 4, 12, 112
    WEIGHT_TOP, BIAS_TOP, BITS = 0.2, 0.4, 4

    def __init__(self, arrays: Arrays):
        self.arrays = {name: np.asarray(value, np.float64) for name, value in arrays.items()}

    def _range(self, number: int, block: int) -> float:
        return float(self.arrays[f"range{number:02d}"][block])

    @classmethod
    def quantised(cls, x: np.ndarray, top: float) -> np.ndarray:
        """Values rounded to the 2^4 - 1 signed codes over `top`."""
        steps = 2.0 ** (cls.BITS - 1)
        return np.asarray(np.round(np.clip(x / top, -1 + 1 / steps, 1 - 1 / steps) * steps) / steps * top)

    @staticmethod
    def silence(frames: int = 51) -> np.ndarray:
        """Features (frames, 40) of a waveform of zeros: the log of 1e-6 in each of 160 mel bands, their orthonormal cosine transform."""
        features = np.zeros((frames, 40))
        features[:, 0] = np.log(1e-6) * np.sqrt(160)
        return features

    def held(self, name: str, block: int) -> np.ndarray:
        """Weights or biases of a block, held within their range."""
        top = self.BIAS_TOP if name.endswith("bias") else self.WEIGHT_TOP
        return np.clip(self.arrays[name][block], -top, top)

    def hidden(self, features: np.ndarray, block: int) -> np.ndarray:
        """The last hidden state (..., 112) of a block for features (..., frames, 40), as its output layer reads it, quantised."""
        top = {number: self._range(number, block) for number in (1, *range(3, 15))}
        weights = [self.held(name, block) for name in ("input_weight", "input_bias", "hidden_weight", "hidden_bias")]
        of_input, input_bias, of_hidden, hidden_bias = weights
        hold = lambda x, number: np.clip(x, -top[number], top[number])  # noqa: E731
        sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
        h = np.zeros((*features.shape[:-2], self.UNITS))
        c = np.zeros_like(h)
        for frame in np.moveaxis(features, -2, 0):
            gates = hold(self.quantised(frame, top[1]) @ of_input + input_bias, 12)
            gates = gates + hold(self.quantised(h, top[11]) @ of_hidden + hidden_bias, 13)
            enter, new, forget, leave = np.split(hold(gates, 14), 4, axis=-1)
            kept = hold(c * hold(sigmoid(forget), 3), 7)
            c = hold(kept + hold(hold(sigmoid(enter), 4) * hold(np.tanh(new), 5), 8), 9)
            h = hold(hold(np.tanh(c), 10) * hold(sigmoid(leave), 6), 11)
        return self.quantised(h, self.output_top(block))

    def output_top(self, block: int) -> float:
        """The value that the output layer's inputs are held within."""
        return float(self.arrays["fc_in_range"][block])

    def output_layer(self, block: int) -> nn.Linear:
        """The output layer of a block."""
        layer = nn.Linear(self.UNITS, self.CLASSES)
        layer.weight = nn.Parameter(_tensor(self.held("fc_weight", block).T))
        layer.bias = nn.Parameter(_tensor(self.held("fc_bias", block)))
        return layer
