"""What costs how much of a network's score on a chip, how many chips are good, and what time does: tables for the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from xbar.hw.analog import layer_quality
from xbar.hw.cells.device import Device
from xbar.hw.chip.description import Chip
from xbar.hw.chip.layers import without
from xbar.reports.times import time_text
from xbar.workloads.study import effects as chips
from xbar.workloads.study.effects import Assumed, Effect
from xbar.workloads.study.evaluate import Condition, OnChip, mean_band, wilson_band
from xbar.workloads.task import Metric

# Scores of as many chip instances as differ, of a chip in a condition; the text says what is going on.
Judge = Callable[[Chip, Condition, str], list[float]]
QUALITY_SAMPLES, QUALITY_TOKENS, LEAST_WINDOWS = 32, 1024, 8  # samples; of windows of tokens those of so many tokens, but a few
QUALITY_INSTANCES = 3
CORRECTIONS = ("none", "compensated", "recalibrated")


def sensitivity(chip: Chip, of_float: float, assumed: Assumed, later: float, judge: Judge, metric: Metric) -> pd.DataFrame:
    """One row a non-ideality alone, then all together: effect, value, given (by the chip, assumed, or ideal in it),
    against, reference, instances, score (mean) with its band low, high, and loss, above 0 where it is worse [the metric's unit]."""
    digital = judge(chips.analog_ideal(chip), Condition(), "analog parts ideal")[0]
    references = {"float": of_float, "digital": digital}

    def row(effect: Effect) -> dict[str, object]:
        found = judge(effect.chip, effect.condition, f"{effect.name} alone" if effect.against == "digital" else effect.name)
        labels: dict[str, object] = {"effect": effect.name, "value": effect.value, "given": effect.given, "against": effect.against}
        return labels | _loss(found, references[effect.against], metric)

    return pd.DataFrame([row(effect) for effect in chips.effects(chip, assumed, later, time_text(later))])


def layer_sensitivity(chip: Chip, layers: Sequence[str], assumed: Assumed, judge: Judge, metric: Metric) -> pd.DataFrame:
    """Cells of one layer as described (or with the assumed write error, where they are ideal), of all others ideal:
    layer, cells, reference (all ideal), instances, score, low, high, loss."""
    device, cells = chips.noisy_device(chip.device, assumed)
    reference = judge(chip, Condition(layers=()), "cells of all layers ideal")[0]
    rows = []
    for name in layers:
        found = judge(chip, Condition(device, layers=(name,)), f"errors in the cells of {name} only")
        labels: dict[str, object] = {"layer": name, "cells": cells}
        rows.append(labels | _loss(found, reference, metric))
    return pd.DataFrame(rows)


def _loss(found: Sequence[float], reference: float, metric: Metric) -> dict[str, object]:
    mean = sum(found) / len(found)
    low, high = mean_band(found)
    return {"reference": reference, "instances": len(found), "score": mean, "low": low, "high": high,
            "loss": metric.lost(reference, mean)}  # fmt: skip


@dataclass(frozen=True)
class AdcWay:
    """A chip with ADCs of other bits, and what becomes of the width of a code: "made for the bits", or "kept" as it is on the
    chip itself, in which case codes end earlier. keep_steps_of: the chip whose ranges give it, where `chip` does not say it."""

    width: str
    chip: Chip
    keep_steps_of: Chip | None = None


def adc_ways(chip: Chip, bits: int) -> list[AdcWay]:
    """The chip with ADCs of so many bits in all layers, with the width of a code made for them and kept."""
    adc = chip.component.adc
    plain = chip.with_changes(layer=without(chip.layer, "component"))
    made = plain.with_changes(component={"adc": {"bits": bits, "range": "level" if adc.range == "level_fixed" else adc.range}})
    if adc.range == "ideal":
        return [AdcWay("made for the bits", made)]
    if adc.range == "level_fixed":
        kept = AdcWay("kept", made.with_changes(component={"adc": {"range": "level_fixed"}}))
    elif bits == adc.bits:
        kept = AdcWay("kept", made)
    elif adc.full_scale is not None:
        codes = [each.component.adc.code_range(chip.signed_current(False))[1] for each in (made, chip)]
        begins = adc.lower or 0.0
        full_scale = begins + (adc.full_scale - begins) * codes[0] / codes[1]
        kept = AdcWay("kept", made.with_changes(component={"adc": {"full_scale": full_scale}}))
    else:
        kept = AdcWay("kept", made, plain)
    return [AdcWay("made for the bits", made), kept]


def yield_points(
    chip: Chip, amounts: Sequence[float], stuck_rates: Sequence[float], resistances: Sequence[float], assumed: Assumed,
    judge: Judge,
) -> pd.DataFrame:  # fmt: skip
    """Accuracy of chip instances at each programming error, share of stuck cells and wire resistance, all else as the
    chip describes it: parameter, value, cells, alike (nothing is drawn, all chips are one), instance, score."""
    noisy, cells = chips.noisy_device(chip.device, assumed)
    own = "as the chip describes them"
    points: list[tuple[str, float, str, Chip, Device]] = [
        *(("programming", x, own, chip, chips.with_write_error(chip.device, x)) for x in amounts),
        *(("stuck", x, own, chip, chips.with_stuck_cells(chip.device, x)) for x in stuck_rates),
        *(("wires", x, cells, chips.with_wires(chip, x), noisy) for x in (resistances if chip.wires_are_modelled else ())),
    ]
    what = {"programming": "programming error {:g}", "stuck": "share of stuck cells {:g}", "wires": "wires of {:g} ohm"}
    rows = [
        {
            "parameter": parameter, "value": value, "cells": named,
            "alike": not changed.differs(device), "instance": instance, "score": score,
        }
        for parameter, value, named, changed, device in points
        for instance, score in enumerate(judge(changed, Condition(device), what[parameter].format(value)))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["parameter", "value", "cells", "alike", "instance", "score"])


def yields(points: pd.DataFrame, threshold: float, metric: Metric) -> pd.DataFrame:
    """Share of chip instances with a score of `threshold` or better, with its Wilson band (none where
    all are alike), from `yield_points`: parameter, value, cells, alike, instances, above, share, low, high, mean, threshold."""
    rows = []
    for (parameter, value, cells, alike), group in points.groupby(["parameter", "value", "cells", "alike"], sort=False):
        above = int((metric.lost(threshold, group["score"]) <= 1e-12).sum())
        low, high = (float(above), float(above)) if alike else wilson_band(above, len(group))
        rows.append({
            "parameter": parameter, "value": value, "cells": cells, "alike": alike, "instances": len(group), "above": above,
            "share": above / len(group), "low": low, "high": high, "mean": group["score"].mean(),
            "threshold": threshold,
        })  # fmt: skip
    columns = ["parameter", "value", "cells", "alike", "instances", "above", "share", "low", "high", "mean", "threshold"]
    return pd.DataFrame(rows, columns=columns)


def drift(chip: Chip, times: Sequence[float], judge: Judge) -> pd.DataFrame:
    """Scores of chip instances at each time [s] after programming under each correction that the chip can have:
    time_s, correction, instance, score; no rows where cells do not drift."""
    kinds = CORRECTIONS if chip.component.adc.range == "calibrated" else CORRECTIONS[:2]
    rows = [
        {"time_s": time, "correction": kind, "instance": instance, "score": score}
        for kind in kinds
        for time in (times if chip.device.drifts else ())
        for instance, score in enumerate(
            judge(chip, Condition(seconds=time, correction=kind), f"{time_text(time)} after programming, {kind}")  # type: ignore[arg-type]
        )
    ]
    return pd.DataFrame(rows, columns=["time_s", "correction", "instance", "score"])


def quality_samples(tokens: int | None) -> int:
    """Samples that the layers' quality is told from, at most; tokens: of a sample, where it is a window of tokens."""
    return min(QUALITY_SAMPLES, max(LEAST_WINDOWS, QUALITY_TOKENS // tokens)) if tokens else QUALITY_SAMPLES


def quality(on_chip: OnChip, seeds: Sequence[int], inputs: Tensor) -> pd.DataFrame:
    """How well each layer computes on what reaches it, over a few chip instances and these samples: layer, outputs, inputs,
    saturated_share and clipped_input_share [1], snr_dB: power of the exact product over power of the deviation from it,
    infinite where the product is exact."""
    on_chip.prepare(list(seeds)[: QUALITY_INSTANCES if on_chip.varies() else 1], Condition())
    rows = []
    for name, found in layer_quality(on_chip.model, inputs.to(on_chip.on)).items():
        g = on_chip.layers[name].matrix.geometry
        rows.append({
            "layer": name, "outputs": g.outputs * g.groups, "inputs": g.inputs, "saturated_share": found.saturated_share,
            "clipped_input_share": found.clipped_input_share, "snr_dB": found.signal_to_noise_dB,
        })  # fmt: skip
    return pd.DataFrame(rows)
