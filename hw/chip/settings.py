"""Settings of a chip file that would be taken without a word and do nothing, or not what they seem to say."""

import warnings
from typing import TYPE_CHECKING

from xbar.hw.errors import ConfigurationError

if TYPE_CHECKING:
    from xbar.hw.chip.description import Chip

BEYOND = 10.0  # times what a column can settle at, from which a full scale in volts is taken for a mistake


class UnusedRangeWarning(UserWarning):
    """A converter's range reaches so far beyond what its columns can give that few of its codes are used."""


def check_settings(chip: "Chip", label: str) -> None:
    """Raise ConfigurationError for settings without the effect that they seem to have, each with the key to set instead; warn of a full
    scale that no column comes near."""
    s, adc, inputs, weights = chip.structure, chip.component.adc, chip.inputs, chip.weights
    columns, design, error = s.bitlines * s.crossbars_per_core, chip.array_design, chip.component.crossbar.cell_error
    fitting = s.wordlines // (2 if weights.shared_bitline else 1) - weights.bias_rows
    problems = []
    if adc.columns > columns:
        problems.append((
            "component.adc.columns", str(adc.columns), f"more than a core has: structure.bitlines = {s.bitlines} x "
            f"structure.crossbars_per_core = {s.crossbars_per_core} are {columns}; set component.adc.columns, how many bitlines an ADC "
            "converts in turn, to that or less",
        ))  # fmt: skip
    if inputs.phase_bits is not None and inputs.phase_bits > inputs.bits:
        problems.append((
            "inputs.phase_bits", str(inputs.phase_bits), f"more than inputs.bits = {inputs.bits}; set inputs.phase_bits to that or "
            "less, or leave it out for one phase",
        ))  # fmt: skip
    if weights.segment is not None and weights.segment > fitting:
        problems.append((
            "weights.segment", str(weights.segment), f"more than the {fitting} inputs that a crossbar of structure.wordlines = "
            f"{s.wordlines} holds; set weights.segment to that or less, or leave it out to fill crossbars in order",
        ))  # fmt: skip
    if "model" in error.model_fields_set and "sigma" not in error.model_fields_set:
        problems.append((
            "component.crossbar.cell_error.model", error.model, "without effect: set component.crossbar.cell_error.sigma, how large the "
            "error is",
        ))  # fmt: skip
    if problems:
        raise ConfigurationError(label, problems)
    if adc.full_scale_voltage is not None and chip.device.read_voltage is not None:
        largest = chip.device.read_voltage * max(design.reads_per_conversion)
        if adc.full_scale_voltage > BEYOND * largest:
            warnings.warn(
                f"{label}: component.adc.full_scale_voltage = {adc.full_scale_voltage:g} V is {adc.full_scale_voltage / largest:,.0f} "
                f"times what a column settles at at most, {largest:g} V (device.read_voltage x reads of a conversion): most codes are "
                "never used",
                UnusedRangeWarning, stacklevel=3,
            )  # fmt: skip
