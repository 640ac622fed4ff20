"""What the simulated chip gives where the real one was measured: columns, accuracies and outputs, with their spread over instances.

All of it rests on the preset, whose error of cells in products and whose count of the neuron were fitted on the columns of one row
segment (run C15). Everything else is a prediction.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from xbar.hw.analog import fit_columns, program
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.chip.description import Chip
from xbar.workloads.data import DataError
from xbar.workloads.neurram.columns import Columns, measure
from xbar.workloads.neurram.folder import Folder
from xbar.workloads.neurram.mapping import (
    BITS,
    IMAGE_LAYERS,
    bias_rows,
    chip_for,
    inputs_of,
    on_chip,
    printed_error,
    segment_matrix,
    targets,
)
from xbar.workloads.neurram.networks import KeywordLstm, MnistCnn, ResNet20

BATCH = 250  # images at once
FIT_IMAGES = 2_000  # that columns are fitted on, the first
SOFTWARE_TAIL = ("conv16", "conv17", "conv18", "conv19", "conv20", "dense")  # of the chip's experiment with its end in software
TARGETS = {  # arrays whose targets are printed: network's file and name, layer, segment, what feeds it, table of cores
    "cifar10 all_val dense": ("cifar10_chip.npz", "all_val", "dense", 0, "act18/range", "cifar10 first"),
    "cifar10 progressive conv04 segment 1": ("cifar10_chip.npz", "progressive", "conv04", 1, "act03/range", "cifar10 finetune"),
    "mnist dense segment 5": ("mnist_cnn.npz", None, "dense", 5, "act5/range", "mnist"),
}
PREDICTED = ["what", "quantity", "unit", "value", "sd", "low", "high", "instances", "given"]


@dataclass(frozen=True)
class Judge:
    """The chip, the folder, and how many instances (seeds from `seed` on) every figure is of.

    images: of test sets that accuracies are of; progress: told what is done.
    """

    chip: Chip
    folder: Folder
    instances: int = 10
    seed: int = 0
    images: int = 10_000
    progress: Callable[[str], None] = field(default=lambda text: None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Chip instances."""
        return tuple(range(self.seed, self.seed + self.instances))

    # ---- cells and columns

    def printed(self) -> pd.DataFrame:
        """Targets of cells against those that were printed: array, count, largest difference [S]."""
        rows = []
        for array, (file, network, layer, segment, top, table) in TARGETS.items():
            matrix, _ = self._matrix(self.folder.arrays(file, network), layer, top, table)
            count, largest = printed_error(self.folder, array, targets(matrix, segment))
            rows.append({"array": array, "targets": count, "largest_difference_S": largest})
        return pd.DataFrame(rows)

    def _matrix(self, arrays: dict[str, np.ndarray], layer: str, top: str, table: str) -> tuple[CrossbarMatrix, float]:
        weight, bias = folded(arrays, layer)
        segment = self.chip.weights.segment
        assert segment is not None
        rows = bias_rows(self.folder, table, layer, weight.shape[1], segment)
        return segment_matrix(weight, bias, float(arrays[top]), self.chip, rows, IMAGE_LAYERS.get(layer, BITS))

    def columns(self, network: str, layer: str, segment: int, top: str, table: str, codes: np.ndarray, most: int | None = None) -> Columns:
        """Fitted columns of a row segment of a CIFAR-10 network on input codes."""
        matrix, unit = self._matrix(self.folder.arrays("cifar10_chip.npz", network), layer, top, table)
        return measure(matrix, unit, segment, codes, self.seeds, most)

    def run_c15(self) -> Columns:
        """The columns that the preset's two numbers were fitted on: conv15, segment 5."""
        codes = self.folder.arrays("column_inputs.npz")["C15_codes"]
        return self.columns("all_val", "conv15", 5, "act13/range", "cifar10 first", codes)

    def run_c4(self) -> Columns:
        """conv04, segment 0, of the network that was tuned layer by layer."""
        codes = self.folder.arrays("column_inputs.npz")["C4_codes"]
        return self.columns("progressive", "conv04", 0, "act03/range", "cifar10 finetune", codes)

    def mnist_dense(self, images: Tensor) -> Columns:
        """The last row segment of MNIST's dense layer, on what software feeds it of `images`."""
        arrays = self.folder.arrays("mnist_cnn.npz")
        matrix, unit = self._matrix(arrays, "dense", "act5/range", "mnist")
        model, fed = MnistCnn(arrays).eval(), []
        with torch.no_grad():
            handle = model.dense.register_forward_hook(lambda module, given, out: fed.append(given[0]))
            for part in images.split(BATCH):
                model(part)
            handle.remove()
        codes = (torch.cat(fed).double() / unit).round().numpy()
        g = matrix.geometry
        first = 5 * (g.inputs_per_crossbar - g.bias_rows)
        return measure(matrix, unit, 5, codes[:, first:], self.seeds)

    # ---- accuracies

    def accuracies(
        self, model: nn.Module, ranges: dict[str, tuple[float, float]], images: Tensor, labels: Tensor, table: str,
        hosts: dict[str, tuple[str, ...]],
    ) -> pd.DataFrame:  # fmt: skip
        """Accuracy in software and of every instance, for each set of layers that stay in software: configuration, instance, accuracy,
        software. Columns are fitted on the first images, layer after layer, on what the chip's layers before give."""
        images, labels = images[: self.images], labels[: self.images]
        software = _accuracy(model, images, labels)
        example = images[:BATCH]
        own = chip_for(self.chip, self.folder, table, inputs_of(model, images[:2]))
        rows = []
        for name, host in hosts.items():
            converted = on_chip(model, own, example, ranges, self.seed, host)
            for seed in self.seeds:
                program(converted, seed)
                fit_columns(converted, images[:FIT_IMAGES])
                found = _accuracy(converted, images, labels)
                rows.append({"configuration": name, "instance": seed, "accuracy": found, "software": software, "images": len(images)})
                self.progress(f"{name}, instance {seed}: {100 * found:.2f} %, in software {100 * software:.2f} %")
        return pd.DataFrame(rows)

    def mnist(self, images: Tensor, labels: Tensor) -> pd.DataFrame:
        """Accuracy on MNIST, images from 0 to 1: all layers on the chip, and the convolutions only."""
        model = MnistCnn(self.folder.arrays("mnist_cnn.npz")).eval()
        hosts = {"MNIST, all layers on chip": (), "MNIST, convolutions on chip": ("dense",)}
        return self.accuracies(model, model.input_ranges(), images, labels, "mnist", hosts)

    def cifar10(self, images: Tensor, labels: Tensor) -> pd.DataFrame:
        """Accuracy on CIFAR-10, images from 0 to 1, of the network that was put on the chip as it was trained: all layers on the chip, and
        conv00 to conv15 on the chip with what follows in software."""
        model = ResNet20(self.folder.arrays("cifar10_chip.npz", "all_val")).eval()
        hosts = {"CIFAR-10, all layers on chip": (), "CIFAR-10, conv00 to conv15 on chip": SOFTWARE_TAIL}
        return self.accuracies(model, model.input_ranges(), images, labels, "cifar10 first", hosts)

    # ---- the keyword LSTM

    def silence(self, sequences: int = 400) -> pd.DataFrame:
        """Outputs of the LSTM's output layers for a waveform of zeros: block, class, software, mean and sd over instances.

        The recurrent part is in software. Columns are fitted on hidden states of made-up sequences (a random walk of cepstral
        coefficients from silence on, as no speech is at hand).
        """
        lstm = KeywordLstm(self.folder.arrays("kws_lstm.npz"))
        made = made_up_features(lstm, sequences, self.seed)
        rows = []
        for block in range(lstm.BLOCKS):
            top = lstm.output_top(block) * (1 - 2.0 ** (1 - lstm.BITS))
            model = nn.Sequential(lstm.output_layer(block))
            fed = torch.as_tensor(lstm.hidden(made, block), dtype=torch.float32)
            silent = torch.as_tensor(lstm.hidden(lstm.silence(), block), dtype=torch.float32)[None]
            settings = {"0": {"weights": {"bias_rows": 2}}}
            own = self.chip.with_changes(inputs={"bits": lstm.BITS}, weights={"segment": lstm.UNITS}, layer=settings)
            converted = on_chip(model, own, fed, {"0": (-top, top)}, self.seed)
            found = []
            with torch.no_grad():
                for seed in self.seeds:
                    program(converted, seed)
                    fit_columns(converted, fed)
                    found.append(converted(silent)[0].double().numpy())
                exact = model(silent)[0].double().numpy()
            for number in range(lstm.CLASSES):
                values = np.array([each[number] for each in found])
                rows.append({"block": block, "class": number, "software": exact[number], "mean": values.mean(), "sd": values.std(ddof=1)})
        return pd.DataFrame(rows)


def made_up_features(lstm: KeywordLstm, sequences: int, seed: int) -> np.ndarray:
    """Sequences (sequences, frames, 40) that begin as silence does and wander, by steps of a tenth of the inputs' range."""
    silence = lstm.silence()
    steps = np.random.default_rng(seed).normal(size=(sequences, *silence.shape)).cumsum(1)
    return silence + 0.1 * float(lstm.arrays["range01"].max()) * steps


def folded(arrays: dict[str, np.ndarray], layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights (outputs, inputs), inputs by kernel position and then channel, and bias of a layer, its batch norm folded in."""
    kernel = np.asarray(arrays[f"{layer}/kernel"], np.float32)
    weight, bias = kernel.reshape(-1, kernel.shape[-1]), np.asarray(arrays[f"{layer}/bias"], np.float32)
    if f"{layer}/gamma" in arrays:
        gain = arrays[f"{layer}/gamma"] / np.sqrt(arrays[f"{layer}/var"] + np.float32(1e-3))
        weight, bias = weight * gain, (bias - arrays[f"{layer}/mean"]) * gain + arrays[f"{layer}/beta"]
    return weight.T, bias


def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        right = sum(int((model(part).argmax(1) == truth).sum()) for part, truth in _batches(images, labels))
    return right / len(labels)


def _batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(images.split(BATCH), labels.split(BATCH), strict=True)


def check(judge: Judge) -> None:
    """Raise DataError where the chip is none that the networks can be put on."""
    chip = judge.chip
    if chip.component.adc.sensing != "voltage" or chip.weights.segment is None or chip.component.adc.column_calibration != "fitted":
        raise DataError(f"chip {chip.name} must sense voltages, cut columns in segments and fit them, as the preset neurram does")
