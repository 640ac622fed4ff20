"""Networks of the common libraries on a simulated chip: the table of docs/networks.md, and the measurements behind it.

    python docs/tables/networks.py           # measures what networks.csv lacks, and writes the table
    python docs/tables/networks.py gru lstm  # measures these anew

Needs the extra `zoo` (torchvision, transformers). Nothing is downloaded: weights are drawn, from the library's own initialisation.
Of every network: traced, with its multiply-accumulates and weights checked against what torch itself does; placed on the preset
`generic`, every group of a convolution on crossbars of its own, with as many tiles, and as large buffers, as it needs; one request
simulated; converted to an ideal 8-bit chip (the preset's 8-bit weights and inputs, exact cells, ADCs that neither round nor clip) and
compared with float.
"""

import csv
import math
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from xbar.hw import Arrivals, Chip, Network, Placement, convert, load_chip, place, simulate, trace
from xbar.hw.errors import BufferCapacityError, CapacityError
from xbar.workloads.onnx_file import let_torchvision_load

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "networks.csv", HERE.parent / "networks.md"
TOKENS, FEATURES = 64, 64  # of a text; of each step of a sequence
CALIBRATED, COMPARED = 8, 8  # samples that input ranges are taken from, and others that chip and float are compared on
SETTLED = 16  # samples that statistics of batch norms are taken from
LARGEST_BUFFER = 2**26  # [bit] a tile: beyond it a network does not fit


class Scores(nn.Module):
    """A model of the transformers library that returns its scores alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of tokens (batch, tokens)."""
        scores: Tensor = self.model(input_ids=tokens).logits
        return scores


class Recurrent(nn.Module):
    """Two recurrent layers of 128 and a linear layer on what the last step gives."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]):
        super().__init__()
        self.recurrent = kind(FEATURES, 128, 2, batch_first=True)
        self.out = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of sequences (batch, steps, FEATURES)."""
        scores: Tensor = self.out(self.recurrent(x)[0][:, -1])
        return scores


def _vision(name: str, **settings: Any) -> Callable[[int], nn.Module]:
    def build(side: int) -> nn.Module:
        let_torchvision_load()
        from torchvision import models

        sized = {"image_size": side} if name == "vit_b_16" else {}
        model: nn.Module = getattr(models, name)(weights=None, **settings, **sized)
        return model

    return build


def _bert(vocabulary: int) -> nn.Module:
    let_torchvision_load()  # transformers imports it
    from transformers import BertConfig, BertForSequenceClassification

    return Scores(BertForSequenceClassification(BertConfig(vocab_size=vocabulary, num_hidden_layers=2)))


def _gpt2(vocabulary: int) -> nn.Module:
    let_torchvision_load()
    from transformers import GPT2Config, GPT2LMHeadModel

    return Scores(GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_layer=2, use_cache=False, bos_token_id=0, eos_token_id=0)))


def _awake(model: nn.Module, x: Tensor) -> nn.Module:
    """The model with the statistics of its batch norms taken from `x`, without which values fade from layer to layer until all scores
    are the last bias, and with what its library begins at 0 (the last layer of vit_b_16) drawn."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear) and not bool(module.weight.any()):
                module.weight.normal_(std=module.in_features**-0.5)
        for norm in norms:
            norm.train().momentum = None  # the statistics of all that is seen
        if norms:
            model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum
    return model


@dataclass(frozen=True)
class Entry:
    """A network: how it is built for a size, what that is the size of, and the sizes that it is simulated and converted with."""

    build: Callable[[int], nn.Module]
    unit: str = "px"
    size: int = 224
    converted_size: int = 64

    def model(self, size: int | None = None) -> nn.Module:
        """The network in evaluation mode, the same at every call, its scores dependent on what it reads."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.build(size or self.size).eval()
            return _awake(model, self.inputs(SETTLED, self.converted_size, seed=3))

    def inputs(self, samples: int, size: int | None = None, seed: int = 1) -> Tensor:
        """Independent draws: images or sequences of normal values, or texts of TOKENS tokens."""
        generator, size = torch.Generator().manual_seed(seed), size or self.size
        if self.unit == "tokens known":
            return torch.randint(size, (samples, TOKENS), generator=generator)
        shape = (3, size, size) if self.unit == "px" else (size, FEATURES)
        return torch.randn((samples, *shape), generator=generator)


NETWORKS = {
    **{
        name: Entry(_vision(name)) for name in (
            "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "shufflenet_v2_x1_0",
            "regnet_y_400mf",
        )
    },
    "googlenet": Entry(_vision("googlenet", aux_logits=False, init_weights=False)),
    **{name: Entry(_vision(name)) for name in ("vit_b_16", "swin_t", "convnext_tiny")},
    "bert_2_layers": Entry(_bert, "tokens known", 30522, 4096),
    "gpt2_2_layers": Entry(_gpt2, "tokens known", 50257, 4096),
    "lstm": Entry(lambda _: Recurrent(nn.LSTM), "steps", 32, 32),
    "gru": Entry(lambda _: Recurrent(nn.GRU), "steps", 32, 32),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What is measured of one network: counts per sample; the sizes of its `Entry`; shares of the multiply-accumulates; seconds of
    processor time by step, and the most memory of the process [byte] until requests were simulated and until all was done."""

    network: str
    measured: str
    size: int
    matrices: int
    weights: int
    multiply_accumulates: int
    crossbar_share: float
    digital_share: float
    host_share: float
    tiles: int
    buffer_bits: int
    crossbars: int
    cells_in_use: float  # of the cells of those crossbars
    latency_s: float
    energy_J: float
    on_chip_energy_J: float
    converted_size: int
    relative_error: float  # norm of the difference of all scores over the norm of float's
    top1_agreement: float
    trace_s: float
    place_s: float
    simulate_s: float
    convert_s: float
    run_s: float
    cost_memory: int
    convert_memory: int


def multiply_accumulates(model: nn.Module, x: Tensor) -> int:
    """Of one sample in all convolutions, matrices and products of activations that torch runs for `x` (1, ...)."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TF32 acceleration")  # said of computers without it where any flag is set
            written_out = torch.backends.mkldnn.flags(enabled=False)  # fused recurrent layers are not counted
            with torch.no_grad(), written_out, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as seen:
                model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    return int(seen.get_total_flops()) // 2


def weights_by_module(model: nn.Module) -> int:
    """Weights of the matrices that the model's layers hold, tables not among them."""
    total = 0
    for module in model.modules():
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D" or isinstance(module, nn.Conv2d):
            total += module.weight.numel()  # type: ignore[union-attr]
        elif isinstance(module, nn.MultiheadAttention):
            assert module.in_proj_weight is not None
            total += module.in_proj_weight.numel()
        elif isinstance(module, nn.RNNBase):
            total += sum(parameter.numel() for name, parameter in module.named_parameters() if name.startswith("weight"))
    return total


def checked(network: Network, model: nn.Module, x: Tensor) -> Network:
    """The traced network. Raises AssertionError where its counts are not torch's."""
    counted, done = multiply_accumulates(model, x[:1]), round(network.chip_operations + network.host_operations) // 2
    assert done == counted, f"{done} multiply-accumulates traced, {counted} run by torch"
    weights, held = sum(layer.weights for layer in network.layers if not layer.lookup), weights_by_module(model)
    assert weights == held, f"{weights} weights traced, {held} in the model's modules"
    return network


def fitting(network: Network, chip: Chip) -> Placement:
    """`network` placed on `chip`, or on one with as many tiles more as it needs."""
    try:
        return place(network, chip)
    except CapacityError as error:
        tiles = math.ceil(error.needed / (chip.structure.cores_per_tile * chip.structure.crossbars_per_core))
        return place(network, chip.with_changes(structure={"tiles": tiles}))


def cells_in_use(placement: Placement) -> float:
    """Of the cells of all crossbars in use, the share that holds weights or references."""
    return placement.cells_share(*placement.copies)


def memory() -> int:
    """The most memory of this process [byte]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measured(name: str) -> Row:
    """All of one network, in this process."""
    entry, clock = NETWORKS[name], time.process_time
    model, x = entry.model(), entry.inputs(1)
    start = clock()
    network = trace(model, x)
    trace_s = clock() - start
    checked(network, model, x)
    start = clock()
    placement = fitting(network, load_chip("generic", {"weights.groups_per_crossbar": "1"}))
    place_s = clock() - start
    while True:
        start, timing = clock(), placement.chip.timing
        try:
            ledger = simulate(placement, Arrivals.batch(1))
            break
        except BufferCapacityError:
            if timing.buffer_size >= LARGEST_BUFFER:
                raise
            placement = fitting(network, placement.chip.with_changes(timing={"buffer_size": 2 * timing.buffer_size}))
    simulate_s, summary, cost_memory = clock() - start, ledger.summary(), memory()
    del model
    small, given = entry.model(entry.converted_size), entry.inputs(CALIBRATED, entry.converted_size)
    ideal = load_chip("generic").with_changes(component={"adc": {"range": "ideal"}})
    start = clock()
    chip = convert(small, ideal, given, seed=0)
    convert_s = clock() - start
    other = entry.inputs(COMPARED, entry.converted_size, seed=2)
    with torch.no_grad():
        expected = small(other)
        start = clock()
        found = chip(other)
        run_s = clock() - start
    return Row(
        name, date.today().isoformat(), entry.size, len(network.layers), sum(layer.weights for layer in network.layers),
        round(network.chip_operations + network.host_operations) // 2,
        *(summary[f"{where}_operations_share"] for where in ("crossbar", "digital", "host")),
        placement.chip.structure.tiles, placement.chip.timing.buffer_size, placement.crossbars_used, cells_in_use(placement),
        summary["latency_mean_s"], summary["energy_per_request_J"], summary["on_chip_energy_per_request_J"],
        entry.converted_size, float((found - expected).norm() / expected.norm()),
        float((found.argmax(-1) == expected.argmax(-1)).float().mean()),
        trace_s, place_s, simulate_s, convert_s, run_s, cost_memory, memory(),
    )  # fmt: skip


# ---- files


def rows_of(path: Path = RESULTS, kind: type[Any] = Row) -> dict[str, Any]:
    """The rows of a file by their first field; none where there is no file."""
    if not path.exists():
        return {}
    first, *_ = kinds = {each.name: each.type for each in fields(kind)}
    with path.open(encoding="utf-8", newline="") as file:
        read = [kind(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]  # type: ignore[operator]
    return {getattr(row, first): row for row in read}


def write(rows: dict[str, Any], path: Path = RESULTS, kind: type[Any] = Row, order: Iterable[str] = NETWORKS) -> None:
    """The rows, in that order, in place of what the file holds."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(rows[name]) for name in order if name in rows)
    partial.replace(path)


COLUMNS = (
    "network", "weights, millions", "multiply-accumulates, millions", "on crossbars / digital units / host", "crossbars",
    "cells in use", "latency", "energy, of it on chip", "relative error", "same top-1",
)  # fmt: skip


def _line(row: Row) -> str:
    shares = " / ".join(f"{100 * share:.3g}" for share in (row.crossbar_share, row.digital_share, row.host_share))
    cells = (
        row.network, f"{row.weights / 1e6:.3g}", f"{row.multiply_accumulates / 1e6:,.4g}" if row.multiply_accumulates < 1e10
        else f"{row.multiply_accumulates / 1e6:,.0f}", f"{shares} %", f"{row.crossbars:,}", f"{100 * row.cells_in_use:.3g} %",
        f"{1e3 * row.latency_s:.3g} ms", f"{1e3 * row.energy_J:.3g} mJ, {1e3 * row.on_chip_energy_J:.3g} mJ",
        f"{100 * row.relative_error:.2g} %", f"{100 * row.top1_agreement:.3g} %",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def table(rows: dict[str, Row]) -> str:
    """The table of the page, a line a network."""
    return "\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *(_line(rows[name]) for name in NETWORKS if name in rows)])


def table_of(page: str, columns: Sequence[str] = COLUMNS) -> str:
    """The table with these columns that a page holds."""
    lines = page.splitlines()
    first = lines.index(f"| {' | '.join(columns)} |")
    return "\n".join(takewhile(lambda line: line.startswith("|"), lines[first:]))


def main(names: list[str]) -> None:
    """Measure the networks that are named, or else those that have no row, each in a process of its own, and write the table."""
    unknown = sorted(set(names) - set(NETWORKS))
    if unknown:
        sys.exit(f"no networks {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    if len(names) == 1:
        warnings.simplefilter("ignore")  # of untrained networks: inputs beyond those calibrated with
        row = measured(names[0])
        write(rows_of() | {row.network: row})
        print(row, flush=True)
    else:
        failed = []
        for name in names or [name for name in NETWORKS if name not in rows_of()]:
            if subprocess.run([sys.executable, __file__, name], check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"}).returncode:
                failed.append(name)
        if failed:
            sys.exit(f"not measured: {', '.join(failed)}")
    if PAGE.exists():
        page = PAGE.read_text("utf-8")
        PAGE.write_text(page.replace(table_of(page), table(rows_of())), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
