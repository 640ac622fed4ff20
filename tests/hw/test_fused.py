"""The product in one pass gives the bits of torch's way, read by read, whatever the blocks, threads and instructions."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from torch import nn

from xbar.hw import Chip, convert, load_chip
from xbar.hw.analog import program
from xbar.hw.array import fused, product
from xbar.hw.array.crossbar import CrossbarMatrix

NOISE = {"read_noise_sigma": 0.05, "programming_sigma": 0.03}


def edge(dac: int = 8, **changes: object) -> Chip:
    """Differential pairs of 16 levels in arrays of 32 wordlines, 8-bit inputs."""
    chip = load_chip("edge").with_changes(structure={"wordlines": 32}, device=NOISE, component={"dac": {"bits": dac}})
    return chip.with_changes(**changes)


def adc(**changes: object) -> dict[str, object]:
    return {"component": {"adc": changes}}


CASES: dict[str, tuple[Chip, bool]] = {
    "one slice": (edge(), False),
    "one slice, two passes": (edge(), True),
    "one slice, no noise": (edge(device={"read_noise_sigma": 0.0}), True),
    "a DAC that bends": (edge(component={"dac": {"bow": 2.0}}), False),
    "bits": (edge(1), False),
    "bits, two passes": (edge(1), True),
    "bits, no noise": (edge(1, device={"read_noise_sigma": 0.0}), True),
    "two bits a slice": (edge(2), True),
    "noise of all cells the same": (edge(1, device={"read_noise_model": "independent", "read_noise_above_zero": False}), False),
    "the same, one slice": (edge(device={"read_noise_model": "independent", "read_noise_above_zero": False}), True),
    "thermal noise": (edge(1, device={"temperature": 300.0, "read_bandwidth": 1e9}), False),
    "errors of ADCs": (edge(1, **adc(offset_sigma=1.0, gain_sigma=0.02)), True),
    "codes at half-whole places": (edge(1, **adc(codes="all")), False),
    "a range a crossbar": (edge(**adc(range_per="crossbar")), False),
    "accumulated": (edge(1, device={"read_noise_sigma": 0.0}, **adc(conversion="after_accumulation")), True),
    "two's complement, flipped columns, references": (load_chip("isaac").with_changes(device=NOISE), True),
    "the same without noise": (load_chip("isaac").with_changes(device={"programming_sigma": 0.03}), True),
}


def matrix(chip: Chip, signed: bool, groups: int = 1, outputs: int = 12, inputs: int = 70) -> CrossbarMatrix:
    generator = torch.Generator().manual_seed(3)
    made = CrossbarMatrix(torch.randn(groups, outputs, inputs, generator=generator), chip, signed)
    made.calibrate(torch.randint(made.low, made.high + 1, (groups, 30, inputs), generator=generator).float())
    return made


def vectors(of: CrossbarMatrix, count: int, instances: int = 1) -> torch.Tensor:
    groups, _, inputs = of.geometry.of_layer.shape
    shape = (groups, count, inputs) if instances == 1 else (instances, groups, count, inputs)
    return torch.randint(of.low, of.high + 1, shape, generator=torch.Generator().manual_seed(4)).float()


def both(of: CrossbarMatrix, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products in one pass, which must be taken, and torch's way."""
    unit, taken, reads = torch.tensor(0.5, dtype=torch.float64), [], of.reads

    def totals(*given: object) -> torch.Tensor | None:
        taken.append(fused.totals(*given))  # type: ignore[arg-type]
        return taken[-1]

    with torch.no_grad():
        with patch.object(product, "totals", totals):
            ours = of(x, unit)
        assert taken
        assert all(each is not None for each in taken)
        counts, of.reads, of.counts = of.counts, reads, type(of.counts)()
        with patch.object(product, "totals", lambda *_: None):
            theirs = of(x, unit)
    assert of.counts == counts, "what was done is counted alike"
    of.counts = type(of.counts)()
    return ours, theirs


@pytest.fixture(autouse=True)
def _always() -> Iterator[None]:
    """Small products too, in small blocks."""
    least = patch.multiple(fused, LEAST_WITHOUT=0, LEAST_CONVERTED=0)
    with least, patch.object(fused, "BLOCK_VALUES", 2**12), patch.object(fused, "BLOCK_ROWS", 40):
        yield


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits(case: str) -> None:
    chip, signed = CASES[case]
    made = matrix(chip, signed)
    x = vectors(made, 101)
    ours, theirs = both(made, x)
    assert torch.equal(ours, theirs)
    assert ours.dtype == theirs.dtype
    assert float(ours.std()) > 0


@pytest.mark.parametrize("case", ["bits", "one slice", "bits, two passes", "noise of all cells the same"])
def test_whatever_the_blocks_threads_and_instructions(case: str) -> None:
    chip, signed = CASES[case]
    made = matrix(chip, signed)
    x = vectors(made, 300)
    before = torch.get_num_threads()

    def read() -> torch.Tensor:
        made.program((2,))
        with torch.no_grad():
            return made(x)

    expected = read()
    with patch.object(fused, "BLOCK_VALUES", 2**18), patch.object(fused, "BLOCK_ROWS", 256):
        assert torch.equal(read(), expected)
    with patch.object(fused, "whole_products", lambda: False):
        assert torch.equal(read(), expected), "products of int8 and of float32 are the same whole numbers"
    with patch.object(fused, "PART_VALUES", 64):
        try:
            torch.set_num_threads(3)
            assert torch.equal(read(), expected)
        finally:
            torch.set_num_threads(before)
    made.program((2,))
    with torch.no_grad():
        assert torch.equal(torch.cat([made(part) for part in x.split([7, 100, 193], dim=1)], dim=1), expected)


@pytest.mark.parametrize("case", ["bits", "one slice", "errors of ADCs", "noise of all cells the same"])
def test_groups_and_chip_instances(case: str) -> None:
    chip, signed = CASES[case]
    made = matrix(chip, signed, groups=3, outputs=40)
    made.program((5, 9))
    x = vectors(made, 60, instances=2)
    ours, theirs = both(made, x)
    assert torch.equal(ours, theirs)
    made.program((9,))
    alone, _ = both(made, x[1])
    assert torch.equal(alone, ours[1])


@pytest.mark.parametrize("change", [
    adc(inl_sigma=0.5), adc(range="ideal"), {"device": {"read_noise_drawn": "each_vector"}}, adc(current_limit=1e-5),
    adc(conversion="after_accumulation"),
])  # fmt: skip
def test_where_more_happens_it_is_not_taken(change: dict[str, object]) -> None:
    made = matrix(edge(1).with_changes(**change), False)
    reads = made._reads.at(0)
    assert fused.totals(reads, made.channel, vectors(made, 50), 0) is None


def test_gradients_take_torchs_way() -> None:
    made = matrix(CASES["bits"][0], False)
    x = vectors(made, 20).requires_grad_()
    assert fused.totals(made._reads.at(0), made.channel, x, 0) is None
    made(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


def test_inputs_become_codes_alike() -> None:
    """In one pass and in torch operations: codes, what is counted, and infinite inputs."""
    chip = edge()
    layers = []
    for loaded in (True, False):
        with patch("xbar.hw.analog.layers.kernels_are_loaded", lambda loaded=loaded: loaded):
            generator = torch.Generator().manual_seed(1)
            x = torch.randn(50, 64, generator=generator)
            linear = nn.Linear(64, 8)
            model = convert(nn.Sequential(linear), chip, x[:10], seed=0)
            program(model, 1)
            (layer,) = [each for each in model.modules() if isinstance(getattr(each, "matrix", None), CrossbarMatrix)]
            layer.warned = True
            layer.matrix.counts = type(layer.matrix.counts)()
            codes = layer.to_integers(3 * x)
            layers.append((codes, layer.matrix.counts))
            x[3, 5] = torch.inf
            with pytest.raises(ValueError, match=r"must be finite, got .* to inf"):
                layer.to_integers(x)
    assert torch.equal(layers[0][0], layers[1][0])
    assert layers[0][1] == layers[1][1]
    assert layers[0][1].clipped_inputs > 0
