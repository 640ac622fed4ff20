"""Converted networks on another torch device than the processor: the same numbers, no tensors of both, no waits but one at the end.

Here on a device that is none (`tests/pretend.py`); on CUDA `tests/hw/test_cuda.py`.
"""

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.pretend import NAME, MixedDevicesError, pretend
from xbar.hw import convert, load_chip
from xbar.hw.analog import analog_layers, compensate_drift, layer_quality, program, recalibrate, set_time
from xbar.hw.checks import Judge, check, together
from xbar.hw.errors import ParameterError, RangeWarning

ROOT = Path(__file__).parents[2]
IMAGES = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
ROWS = torch.randint(0, 20, (4, 5), generator=torch.Generator().manual_seed(0))
ONE_WAIT = {"_to_copy": 1}  # of what the layers check, together


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3, groups=3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5))


class Recurrent(nn.Module):
    """A table, a recurrence whose first state is made anew, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.lstm, self.out = nn.Embedding(20, 6), nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.lstm(self.table(x))[0][:, -1])
        return out


@dataclass(frozen=True)
class Case:
    chip: str
    changes: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    instances: int = 1
    recurrent: bool = False


CASES = {
    "ideal": Case("isaac"),
    "programming error, converters of few bits": Case("edge"),
    "read noise, errors of ADCs": Case(
        "edge", {"device": {"read_noise_sigma": 0.03}, "component": {"adc": {"offset_sigma": 0.3, "gain_sigma": 0.01, "inl_sigma": 0.2}}},
        instances=2,
    ),
    "drift and its compensation": Case("edge", device="pcm", instances=2),
    "range from a lower end up": Case("edge", {"component": {"adc": {"range": "calibrated", "lower_percentile": 0.01}}}),
    "voltages sensed, columns fitted": Case("neurram"),
    "a table and a recurrence": Case("edge", {"device": {"read_noise_sigma": 0.03}}, recurrent=True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_same_bits_with_one_wait_a_forward(case: Case) -> None:
    chip = load_chip(case.chip, {}, case.device).with_changes(**case.changes)
    x = ROWS if case.recurrent else IMAGES
    model = convert(Recurrent() if case.recurrent else convolutional(), chip, x, seed=1)
    seeds, both = range(case.instances), x.repeat(case.instances, *[1] * (x.dim() - 1))

    def computed(inputs: Tensor) -> list[Tensor]:
        program(model, seeds)
        if chip.component.adc.range == "calibrated":
            recalibrate(model)
        found = [model(inputs)]
        if chip.device.drifts:
            set_time(model, 1e5)
            compensate_drift(model)
            found.append(model(inputs))
        return found

    with torch.no_grad(), pretend() as waits:
        expected = computed(both)
        model.to(NAME)
        there = both.to(NAME)
        found = computed(there)
        assert [torch.equal(mine.cpu(), theirs) for mine, theirs in zip(found, expected, strict=True)] == [True] * len(found)
        waits.clear()
        model(there)
        assert waits == ONE_WAIT


def test_the_quality_of_layers_is_the_same() -> None:
    model = convert(convolutional(), load_chip("edge"), IMAGES, seed=1)
    expected = layer_quality(model, IMAGES)
    program(model, 1)
    with pretend():
        model.to(NAME)
        found = layer_quality(model, IMAGES.to(NAME))
    assert found == expected


def test_inputs_are_checked_at_the_end() -> None:
    """Counts, warning and errors of single layers are as on the processor; rows that no table has harm nothing meanwhile."""
    chip, wide = load_chip("edge"), 3 * IMAGES
    model, tables = convert(convolutional(), chip, IMAGES, seed=1), convert(Recurrent(), chip, ROWS, seed=1)
    first = next(iter(analog_layers(model).values()))
    with torch.no_grad(), pretend():
        model.to(NAME), tables.to(NAME)
        before = first.matrix.counts.clipped_inputs
        with pytest.warns(RangeWarning, match=r"layer 0: \d+\.\d% of the inputs are beyond the calibrated"):
            model(wide.to(NAME))
        assert first.matrix.counts.clipped_inputs - before == int((wide > IMAGES.max() * (1 + 0.5 / first.matrix.high)).sum())
        with pytest.raises(ParameterError, match=r"layer 0: inputs must be finite, got .* to inf"):
            model(torch.full_like(IMAGES, torch.inf).to(NAME))
        with pytest.raises(ParameterError, match="layer table: rows must be from 0 to 19, got 0 to 20"):
            tables(torch.tensor([[0, 20, 3, 4, 5]]).to(NAME))
        model(IMAGES.to(NAME))  # nothing waits from before


def broken(numbers: Tensor, judge: Judge) -> None:
    with together():
        check(numbers, judge)
        raise ZeroDivisionError


def test_checks_wait_for_the_end_of_their_block() -> None:
    told: list[Any] = []
    with pretend():
        there = torch.tensor([1.0, 2.0]).to(NAME)
        check(there, told.append)
        with together():
            check(there + 1, told.append)
            check(torch.tensor([7]), told.append)  # at hand
            check(there[:1] + 2, told.append)
            assert told == [[1.0, 2.0], [7]]
        assert told[2:] == [[2.0, 3.0], [3.0]]
        with pytest.raises(ZeroDivisionError):
            broken(there, told.append)
        assert len(told) == 4
        with pytest.raises(MixedDevicesError):
            there + torch.ones(2)


def test_training_on_the_chips_model_and_under_mismatch_is_the_same() -> None:
    """In a process of its own: torch settles at the first gradient which devices have them."""
    run = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    same, waits, mismatch_waits = eval(run.stdout.splitlines()[-1])
    assert same == [True, True, True]
    variances = Counter(_local_scalar_dense=3)  # whether the cells of a column have one, layer by layer
    assert Counter(waits) == Counter(ONE_WAIT) + variances
    assert Counter(mismatch_waits) == {"_to_copy": 1 + 2 * 2}  # also which rows and columns of an ungrouped layer are zeros


TRAINING = """
import sys; sys.path.insert(0, ".")
import torch
from torch import nn
from tests.pretend import NAME, pretend
from tests.hw.test_other_device import IMAGES, convolutional
from xbar.compression.constraints import Levels
from xbar.compression.quantise import folded, hold_levels, inject_mismatch, learn_input_steps
from xbar.hw import convert, load_chip
from xbar.hw.checks import together

chip, labels = load_chip("edge").with_changes(device={"read_noise_sigma": 0.03}), torch.arange(4)
def trained(model, device, waits):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, foreach=False)
    model.train()
    for _ in range(2):
        waits.clear()
        with together():
            scores = model(IMAGES.to(device))
        told = dict(waits)
        optimiser.zero_grad()
        nn.functional.cross_entropy(scores, labels.to(device)).backward()
        optimiser.step()
    return [each.detach().cpu() for each in model.parameters()], told

with pretend() as waits:
    found, told = {}, {}
    for device in ("cpu", NAME):
        whole = convert(convolutional(), chip, IMAGES, seed=1).to(device)
        found[device, "chip"], told["chip"] = trained(whole, device, waits)
        with torch.no_grad():
            found[device, "after"] = [whole.eval()(IMAGES.to(device)).cpu()]
        model = folded(convolutional(), IMAGES).to(device)
        hold_levels(model, Levels.of(chip), learned=True)
        learn_input_steps(model, chip, IMAGES.to(device))
        inject_mismatch(model, chip, 3)
        found[device, "mismatch"], told["mismatch"] = trained(model.to(device), device, waits)
same = [all(map(torch.equal, found["cpu", what], found[NAME, what])) for what in ("chip", "after", "mismatch")]
print((same, told["chip"], told["mismatch"]))
"""
