"""What a chip's converters do and cost, for their page: transfer curves, errors of drawn units, cost by resolution."""

from typing import get_args

import pandas as pd
import torch

from xbar.hw import ParameterError
from xbar.hw.array.converter import Adc, AdcLaw, AdcRange
from xbar.hw.chip.costs import adc_rate
from xbar.hw.chip.description import Chip
from xbar.hw.cost.laws import LAWS
from xbar.reports.converters import ConverterSheet

UNITS = 5  # ADCs drawn where they differ
POINTS = 8001
ADC_LAWS = get_args(AdcLaw)


def converter_sheet(chip: Chip, seed: int = 0) -> ConverterSheet:
    """What the page of a chip's converters shows; the same seed draws the same ADCs."""
    adc, dac = chip.component.adc, chip.component.dac
    code = torch.arange(dac.largest + 1, dtype=torch.float64)
    voltage = dac.voltage(code)
    pairs, own = chip.signed_current(signed_input=True), chip.costs["adc"]
    return ConverterSheet(
        name=chip.name, title=f"Converters of {chip.title}",
        facts=(
            f"{dac.bits}-bit DAC  ·  {adc.bits}-bit ADC, range {adc.range}, "
            f"{'signed' if pairs else 'from 0 up'}, {adc.conversion.replace('_', ' ')}"
        ),
        dac=pd.DataFrame({"code": code.numpy(), "voltage_steps": voltage.numpy(), "deviation_steps": (voltage - code).numpy()}),
        adc=_transfer(adc, pairs, seed), cost=_cost(chip), bits=adc.bits, architecture=adc.law,
        own={"energy_J": own.energy_per_action, "area_m2": own.area / own.units, "rate_per_s": own.unit_rate},
    )  # fmt: skip


def _transfer(adc: Adc, signed: bool, seed: int) -> pd.DataFrame:
    """Codes of a ramp of current, in ADC steps, that begins and ends a tenth of the range outside, of some units."""
    low, high, center = adc.code_range(signed)
    ramp = torch.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), POINTS, dtype=torch.float64)
    transfer = AdcRange(torch.ones(1), low, high, center)
    parts = []
    for unit in range(UNITS if adc.has_errors else 1):
        gain, offset, inl = torch.randn(3, generator=torch.Generator().manual_seed(seed + unit), dtype=torch.float64)
        amplified = ramp * (1 + adc.gain_sigma * gain)
        seen = transfer.distorted(amplified, adc.offset_sigma * offset, adc.inl_sigma * inl)
        code = transfer.convert(seen.clone())
        parts.append(pd.DataFrame({"unit": unit, "current_steps": ramp.numpy(), "code": code.numpy()}))
    return pd.concat(parts, ignore_index=True)


def _cost(chip: Chip) -> pd.DataFrame:
    """Energy and area of a conversion by bits, as the law of each structure tells them that covers them at the ADC's rate and node;
    figures that the chip states have no part in them."""
    rows, adc = [], chip.component.adc
    known = {"rate": adc_rate(chip), "node": chip.technology.node, "voltage": chip.technology.supply}
    for name in ADC_LAWS:
        law = LAWS[name]
        for bits in range(max(1, adc.bits - 4), adc.bits + 5):
            try:
                cost = law(bits=bits, **{each: value for each, value in known.items() if each in law.law.parameters})
            except ParameterError:  # that structure has no such bits at that rate
                continue
            rows.append({"architecture": name, "bits": bits, "energy_J": cost.energy, "area_m2": cost.area})
    return pd.DataFrame(rows, columns=["architecture", "bits", "energy_J", "area_m2"])
