"""ADCs of other bits with the width of a code made for them and kept: what the study of ADC bits tries."""

import pytest
import torch

from tests.hw.networks import small_convolutional
from xbar.hw import Chip, ParameterError, convert, load_chip, trace
from xbar.hw.analog import analog_layers, keep_steps, saturated_shares
from xbar.workloads.study.run import Bench, Points, Study, _vary_adc
from xbar.workloads.study.studies import adc_ways
from xbar.workloads.workload import load_workload

ISAAC, EDGE = load_chip("isaac"), load_chip("edge")
CHIPS = {
    "level": ISAAC, "level fixed": ISAAC.with_changes(component={"adc": {"range": "level_fixed"}}), "calibrated": EDGE,
    "full scale": EDGE.with_changes(component={"adc": {"range": "full_scale"}}),
    "fixed": EDGE.with_changes(component={"adc": {"range": "fixed", "full_scale": 2e-4, "finest": "any"}}),
    "fixed, begins below": EDGE.with_changes(component={"adc": {"range": "fixed", "full_scale": 2e-4, "lower": -1e-4, "finest": "any"}}),
    "calibrated, begins anywhere": EDGE.with_changes(component={"adc": {"lower_percentile": 0.001, "finest": "any"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_widths_are_kept_and_made(name: str, bits: int) -> None:
    """Kept: the chip's own width of a code in every layer, from where its codes begin. Made: codes reach as far as the chip's
    own do, where those are not one level already, and fewer conversions saturate."""
    chip, (model, example) = CHIPS[name], small_convolutional()
    own = analog_layers(convert(model, chip, example, seed=0))
    made, kept = adc_ways(chip, bits)
    assert (made.width, kept.width) == ("made for the bits", "kept")
    converted = convert(model, kept.chip, example, seed=0)
    if kept.keep_steps_of is not None:
        keep_steps(converted, convert(model, kept.keep_steps_of, example, seed=0))
    for key, layer in analog_layers(converted).items():
        found, before = layer.matrix.channel.adc, own[key].matrix.channel.adc
        assert torch.allclose(found.step, before.step, rtol=1e-12)
        assert found.high == layer.matrix.design.adc.code_range(layer.matrix.channel.signed_current)[1]
        assert (found.origin is None) == (before.origin is None)
        if found.origin is not None and before.origin is not None:
            assert torch.allclose(found.origin, before.origin, rtol=1e-9, atol=1e-9)
    saturated = saturated_shares(converted)
    remade = convert(model, made.chip, example, seed=0)
    for key, layer in analog_layers(remade).items():
        assert saturated_shares(remade)[key] == layer.saturated_share <= saturated[key] + 1e-12
        now, before = layer.matrix.channel.adc, own[key].matrix.channel.adc
        if "level" not in name and bits < 8:
            assert bool((now.step * now.high >= before.step * before.high * (1 - 1e-5)).all() or (before.step == 1).all())


def test_widths_that_a_policy_fixes_cannot_be_kept() -> None:
    """5 bits of a fixed range have eight times the width of 8 bits."""
    (model, example), fixed = small_convolutional(), CHIPS["fixed"]
    fewer = fixed.with_changes(component={"adc": {"bits": 5}})
    of_fixed, of_fewer = (convert(model, chip, example, seed=0) for chip in (fixed, fewer))
    keep_steps(of_fixed, of_fixed)
    with pytest.raises(ParameterError, match=r"layer 0: with component\.adc\.range = fixed codes have a width of their own"):
        keep_steps(of_fewer, of_fixed)


def test_an_ideal_adc_has_one_way() -> None:
    assert [way.width for way in adc_ways(EDGE.with_changes(component={"adc": {"range": "ideal"}}), 5)] == ["made for the bits"]


def test_layers_with_bits_of_their_own_take_the_studys() -> None:
    chip = ISAAC.with_changes(layer={"conv1": {"component": {"adc": {"bits": 7}}, "weights": {"bits": 8}}})
    for way in adc_ways(chip, 6):
        assert way.chip.for_layer("conv1").component.adc.bits == 6
        assert way.chip.for_layer("conv1").weights.bits == 8


def test_the_study_on_isaac() -> None:
    """From 6 bits to 5, the kept level clips most conversions and loses the network; a code made for 5 bits does not."""
    workload = load_workload("digits")
    images, labels = workload.data.test_inputs[:200], workload.data.test_targets[:200]

    def rows(chip: Chip) -> list[dict[str, object]]:
        study = Study(instances=1, adc_bits=(8, 6, 5), images=200)
        bench = Bench(workload, study, images, labels, Points(None, ""), lambda _: None)
        return list(_vary_adc(chip, study, bench, trace(workload.model, workload.calibration_inputs, pack=True)))

    found = {(row["bits"], row["width"]): (row["score"], row["saturated_share"]) for row in rows(ISAAC)}
    assert found[8, "kept"] == found[8, "made for the bits"]
    assert found[8, "kept"][1] == found[5, "made for the bits"][1] == 0
    assert found[6, "kept"][0] > 0.95 < found[6, "made for the bits"][0]
    assert found[5, "kept"][0] < 0.2
    assert found[5, "kept"][1] > 0.01 > found[6, "kept"][1]
    assert found[5, "made for the bits"][0] > 0.8
