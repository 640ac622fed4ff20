"""Bits a layer: sums against the simulator, combinations against enumeration, and the digits network against all of its combinations."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import load_chip
from xbar.hw.errors import ParameterError
from xbar.hw.footprint import footprint
from xbar.hw.graph.trace import trace
from xbar.workloads.study import layer_precision as module
from xbar.workloads.study.layer_precision import (
    Choice,
    _Judge,
    all_combinations,
    at_bits,
    best_combinations,
    choices,
    find_precision,
)
from xbar.workloads.workload import Workload, load_workload

OFFERED = {"inputs.bits": [2, 4], "component.adc.bits": [5]}
SAMPLES = 150


@pytest.fixture(scope="module")
def workload() -> Workload:
    return load_workload("digits")


@pytest.fixture(scope="module")
def chip() -> Chip:
    return load_chip("edge", {"component.adc.law": "sar"})


numbers = st.integers(-3, 12).map(float)  # few, so that many are alike
layers = st.lists(st.lists(st.builds(Choice, st.just({}), numbers, numbers), min_size=1, max_size=5), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(layers=layers)
def test_the_best_combinations_are_those_of_enumeration(layers: list[list[Choice]]) -> None:
    every = all_combinations(layers)
    best = best_combinations(layers)
    for each in best:
        assert (each.saved, each.harm) == (sum(layer[pick].saved for layer, pick in zip(layers, each.picks, strict=True)),
                                           sum(layer[pick].harm for layer, pick in zip(layers, each.picks, strict=True)))  # fmt: skip
    unbeaten = {(one.saved, one.harm) for one in every if not any(
        other.saved >= one.saved and other.harm <= one.harm and (other.saved, other.harm) != (one.saved, one.harm) for other in every
    )}  # fmt: skip
    assert {(each.saved, each.harm) for each in best} == unbeaten
    assert len(best) == len(unbeaten)


@pytest.mark.parametrize("cost", ["power", "area"])
def test_what_layers_save_adds_up(cost: str, workload: Workload, chip: Chip) -> None:
    """To the last digits, of combinations of bits of all layers, on a chip whose weights need several of its narrow crossbars."""
    chip = chip.with_changes(weights={"bits": 8}, device={"levels": 4}, structure={"bitlines": 32}, component={"adc": {"columns": 128}})
    network = trace(workload.model, workload.calibration_inputs[:2], pack=True)
    offered = {"weights.bits": [3, 5], "inputs.bits": [4]}
    found = choices(workload.model, workload.data, chip, offered, cost=cost, rate=1000.0, harm=lambda _: 0.0)
    before = getattr(footprint(network, chip, 1000.0), cost)
    rng = np.random.default_rng(0)
    for _ in range(10):
        taken = {layer: each[int(rng.integers(len(each)))] for layer, each in found.items()}
        bits = {layer: choice.bits for layer, choice in taken.items() if choice.bits}
        saved = before - getattr(footprint(network, at_bits(chip, bits), 1000.0), cost)
        assert saved == pytest.approx(sum(choice.saved for choice in taken.values()), rel=1e-9, abs=1e-12 * before)
    assert max(choice.saved for each in found.values() for choice in each) > 0.02 * before


def test_the_digits_network_gets_the_bits_that_enumeration_finds(workload: Workload, chip: Chip) -> None:
    """All combinations of input bits of three layers, each judged as a whole on the samples that the pass judges by."""
    offered = {"inputs.bits": [2, 3]}
    network = trace(workload.model, workload.calibration_inputs[:2], pack=True)
    judge = _Judge(workload.model, workload.data, chip, SAMPLES, 0, 0)
    every = []
    for counts in itertools.product([8, 3, 2], repeat=3):
        bits = {layer: {"inputs.bits": count} for layer, count in zip(("conv1", "conv2", "fc"), counts, strict=True) if count < 8}
        at = at_bits(chip, bits)
        every.append((footprint(network, at, 1000.0).power, judge.lost(at)))
    limits = (0.0, 0.02, 0.06)
    found = [find_precision(workload.model, workload.data, chip, offered, limit, samples=SAMPLES) for limit in limits]
    for limit, each in zip(limits, found, strict=True):
        assert each.cost == pytest.approx(min(cost for cost, lost in every if lost <= limit), rel=1e-12)
        assert each.lost <= limit
        assert each.chip.layer_chips[next(iter(each.bits))].inputs.bits < 8
    assert len({each.cost for each in found}) > 1  # limits matter


def test_a_larger_space_is_searched_along_the_best_combinations(workload: Workload, chip: Chip) -> None:
    found = find_precision(workload.model, workload.data, chip, OFFERED, 0.04, samples=SAMPLES, instances=2, cost="power")
    assert found.lost <= 0.04
    assert found.cost < 0.9 * found.before
    assert found.front["saved"].is_monotonic_increasing
    assert found.front["harm"].is_monotonic_increasing
    assert 0 < found.front["lost"].notna().sum() < len(found.front)
    assert found.table.groupby("layer")["taken"].sum().eq(1).all()
    network = trace(workload.model, workload.calibration_inputs[:2], pack=True)
    again = load_chip("edge", {"component.adc.law": "sar", **{name: str(count) for name, count in found.settings().items()}})
    assert footprint(network, again, 1000.0).power == pytest.approx(found.cost, rel=1e-12)


def test_the_chip_as_it_is_stays_where_fewer_bits_harm_no_loss_and_lose_too_much(
    workload: Workload, chip: Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss on some samples falls with 2-bit inputs, so that no front has the chip as it is; the metric on others does not hold."""
    own, fewer = Choice({}, 0.0, 0.0), Choice({"inputs.bits": 2}, 1.0, -0.1)
    monkeypatch.setattr(module, "choices", lambda *_, **__: {name: [own, fewer] for name in ("conv1", "conv2", "fc")})
    monkeypatch.setattr(module, "MOST_JUDGED", 1)
    found = find_precision(workload.model, workload.data, chip, {"inputs.bits": [2]}, 0.01, samples=SAMPLES)
    assert found.bits == {}
    assert found.lost == 0.0
    assert found.front["lost"].max() > 0.01  # of the only combination on the front
    assert found.table["taken"].tolist() == [True, False] * 3


@pytest.mark.parametrize(
    ("offered", "options", "said"),
    [
        ({}, {}, "offered: none"), ({"device.bits": [2]}, {}, "no bits 'device.bits'"), ({"inputs.bits": []}, {}, "must be whole numbers"),
        (OFFERED, {"cost": "time"}, "cost must be power or area"), (OFFERED, {"most_lost": -1.0}, "most lost must be 0 or more"),
        (OFFERED, {"samples": 10_000}, "samples must be 1 to"), (OFFERED, {"instances": -1}, "instances must be 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(offered: dict, options: dict, said: str, workload: Workload, chip: Chip) -> None:
    with pytest.raises(ParameterError, match=said):
        find_precision(workload.model, workload.data, chip, offered, **({"most_lost": 0.1} | options))
