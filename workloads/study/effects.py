"""A chip with one non-ideality alone, none, or all: what each costs is the accuracy between them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from xbar.hw.cells.device import Device, ideal_of
from xbar.hw.chip.description import Chip
from xbar.hw.chip.layers import without
from xbar.workloads.study.evaluate import Condition

Origin = Literal["chip", "assumed", "ideal"]

_WRITING = ("programming_model", "programming_sigma", "programming_s0", "programming_s1", "programming_s2",
            "programming_s3", "programming_table", "limit_to_range", "write_verify_tolerance", "write_verify_most",
            "write_verify_floor", "relaxation_sigma", "relaxation_table")  # fmt: skip
_READING = ("read_noise_model", "read_noise_sigma", "read_noise_q0", "read_noise_q1", "read_noise_q_max", "read_noise_time",
            "read_correlation_time", "read_noise_drawn", "read_noise_above_zero", "read_bandwidth",
            "temperature", "reference_time")  # fmt: skip
_DRIFT = ("reference_time", "drift_exponent", "drift_exponent_slope", "drift_exponent_low", "drift_exponent_high",
          "drift_exponent_sigma", "drift_exponent_sigma_slope", "drift_exponent_sigma_low", "drift_exponent_sigma_high")  # fmt: skip
_STUCK = ("stuck_on_rate", "stuck_off_rate")
_TELEGRAPH = ("telegraph_share", "telegraph_amplitude", "telegraph_dwell_time")
_HEAT = ("temperature", "activation_energy", "reference_temperature")
_LAW = ("iv", "iv_v0", "iv_c2", "iv_c3")
_NO_RANGE = {"range": "ideal", "full_scale": None, "lower": None, "lower_percentile": None, "current_limit": None,
             "full_scale_voltage": None}  # fmt: skip
_NO_ADC_ERRORS = {"offset_sigma": 0.0, "gain_sigma": 0.0, "inl_sigma": 0.0}
_FINE_BITS = 8  # of weights and inputs that are not rounded: only their range matters
BITS = 8  # of weights and inputs of the chips that the recommender and fair assignment are judged on
# What no device preset knows of writing: used where a chip's cells are silent, and said so in reports.
ASSUMED_WRITES = {
    "write_energy": (0.606e-12, "J a pulse", "write of one cell, RRAM array of 128 x 128 at 32 nm, NeuroSim 1.3 through hwcomponents"),
    "write_time": (100e-9, "s a pulse", "assumed: as long as that array's read, which the same source gives"),
    "endurance": (1e8, "pulses", "assumed: a middle value of oxide cells; scales lifetimes in proportion"),
}
SCALED = ("polynomial", "table")  # laws of a write error without a sigma: their own error is scaled


@dataclass(frozen=True)
class Assumed:
    """Values that a study takes where a chip is ideal, to show what they would cost; 0 leaves the chip ideal there.

    programming_sigma, device_to_device_sigma, read_noise_sigma: as the device's own fields [1]; stuck_rate: share of
    cells, half at g_max and half at g_min [1]; wire_resistance: of each segment of both lines [ohm].
    """

    programming_sigma: float = 0.03
    device_to_device_sigma: float = 0.03
    read_noise_sigma: float = 0.01
    stuck_rate: float = 0.001
    wire_resistance: float = 1.0


NOTHING = Assumed(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Effect:
    """One row of a study: a chip in which only this is not ideal (or all), the condition of its cells, and against
    what its loss counts: "float", the network in float, or "digital", the same chip with all analog parts ideal."""

    name: str
    value: str
    given: Origin
    against: Literal["float", "digital"]
    chip: Chip
    condition: Condition = field(default_factory=Condition)


def ideal_device(device: Device) -> Device:
    """The cells of `device` without any error and with currents linear in voltage."""
    return ideal_of(device).model_copy(update={name: Device.model_fields[name].default for name in _LAW})


def analog_ideal(chip: Chip) -> Chip:
    """The chip with ideal cells, wires, drivers and ADCs: weights and inputs as it holds them, and nothing else lost."""
    return chip.with_changes(
        device=ideal_device(chip.device).model_dump(),
        wires=dict.fromkeys(("wordline", "bitline", "driver", "sense", "access"), 0.0),
        layer=without(chip.layer, "component"),
        component={"adc": _NO_RANGE | _NO_ADC_ERRORS, "dac": {"bow": 0.0}, "crossbar": {"cell_error": {"sigma": 0.0}}},
    )


def with_unrounded_inputs(chip: Chip) -> Chip:
    """An analog-ideal chip whose drivers give the input itself."""
    inputs = {"bits": _FINE_BITS, "signed": "two_pass", "quantise": False, "pulses": "one", "phase_bits": None}
    return chip.with_changes(layer=without(chip.layer, "inputs"), inputs=inputs, component={"dac": {"bits": _FINE_BITS}})


def with_unrounded_weights(chip: Chip) -> Chip:
    """An analog-ideal chip whose cells hold a weight between levels."""
    bits = _FINE_BITS if chip.weights.scheme == "offset" else _FINE_BITS + 1
    weights = {"bits": bits, "cell_bits": None, "quantise": False, "flipped_columns": False}
    return chip.with_changes(layer=without(chip.layer, "weights"), weights=weights, device={"levels": 2**_FINE_BITS})


def with_write_error(device: Device, amount: float) -> Device:
    """The device with that programming sigma; where its law has none, with its own write error times `amount`."""
    if device.programming_model == "polynomial":
        names = ("programming_s0", "programming_s1", "programming_s2", "programming_s3")
        return device.model_copy(update={name: getattr(device, name) * amount for name in names})
    if device.programming_model == "table":
        table = tuple((target, sigma * amount) for target, sigma in device.programming_table or ())
        return device.model_copy(update={"programming_table": table})
    return device.model_copy(update={"programming_sigma": amount})


def own_write_error(device: Device) -> float:
    """The amount with which `with_write_error` gives the device itself."""
    return 1.0 if device.programming_model in SCALED else device.programming_sigma


def missing_writes(device: Device) -> dict[str, float]:
    """Those of ASSUMED_WRITES that the device has no number of its own for."""
    return {name: value for name, (value, _, _) in ASSUMED_WRITES.items() if getattr(device, name) is None}


def fewer_bits(chip: Chip, most: int = BITS) -> dict[str, dict[str, int]]:
    """Changes of the chip that leave at most so many bits of weights and inputs."""
    return {"weights": {"bits": min(most, chip.weights.bits)}, "inputs": {"bits": min(most, chip.inputs.bits)}}


def with_stuck_cells(device: Device, rate: float) -> Device:
    """The device with that share of stuck cells, half at g_max and half at g_min."""
    return device.model_copy(update=dict.fromkeys(_STUCK, rate / 2))


def with_wires(chip: Chip, resistance: float) -> Chip:
    """The chip with that resistance [ohm] of each segment of both lines; ends and access as they are."""
    return chip.with_changes(wires={"wordline": resistance, "bitline": resistance})


def noisy_device(device: Device, assumed: Assumed) -> tuple[Device, str]:
    """Cells that differ between instances: the device's own, or with the assumed write error where it is ideal, and
    what to call them."""
    if device.draws:
        return device, "as the chip describes them"
    noisy = with_write_error(_with_a_sigma(device), assumed.programming_sigma)
    return noisy, f"programming sigma {_percent(assumed.programming_sigma)}, assumed: the chip's cells are ideal"


def effects(chip: Chip, assumed: Assumed, later: float, later_name: str) -> list[Effect]:
    """Every non-ideality that the chip or the assumptions have, alone, then all together; `later` [s] is the time after
    programming at which drift is judged."""
    base = analog_ideal(chip)
    rows = [
        _row("weights in levels", f"{chip.weights.bits} bit", chip.weights.quantise, "float", with_unrounded_inputs(base)),
        _row("inputs in levels", f"{chip.inputs.bits} bit", chip.inputs.quantise, "float", with_unrounded_weights(base)),
        Effect("weights and inputs", "both in levels", "chip", "float", base),
        *_of_cells(chip, base, assumed, later, later_name), *_of_circuits(chip, base, assumed),
        Effect("all of the chip's own", "as described", "chip", "float", chip),
    ]  # fmt: skip
    if chip.device.drifts:
        rows.append(Effect(f"all, after {later_name}", "as described", "chip", "float", chip, Condition(seconds=later)))
    if any(row.given == "assumed" for row in rows):
        worse = with_wires(chip, assumed.wire_resistance) if chip.wires.ideal and chip.wires_are_modelled else chip
        device = _with_assumed(chip.device, assumed)
        rows.append(Effect("all, assumed ones too", "together", "assumed", "float", worse, Condition(device)))
    return rows


def _row(name: str, value: str, own: bool, against: Literal["float", "digital"], chip: Chip) -> Effect:
    return Effect(name, value if own else "not rounded", "chip" if own else "ideal", against, chip)


def _of_cells(chip: Chip, base: Chip, assumed: Assumed, later: float, later_name: str) -> Iterator[Effect]:
    """Rows of the cells: each field group of the device alone on ideal cells."""
    device, ideal = chip.device, base.device

    def alone(names: tuple[str, ...], **changes: Any) -> Condition:
        return Condition(ideal.model_copy(update={name: getattr(device, name) for name in names} | changes))

    def either(name: str, own: str, taken: str, amount: float, given: Condition, instead: Condition) -> Effect:
        if own:
            return Effect(name, own, "chip", "digital", base, given)
        if amount:
            return Effect(name, taken, "assumed", "digital", base, instead)
        return Effect(name, "none", "ideal", "digital", base)

    writing = "" if own_device_is_exact(device) else _write_error(device)
    sigma = assumed.programming_sigma
    law = device.programming_model if device.programming_model not in SCALED else "proportional"
    yield either("programming error", writing, f"sigma {_percent(sigma)} {_of[law]}", sigma, alone(_WRITING),
                 Condition(ideal.model_copy(update={"programming_model": law, "programming_sigma": sigma})))  # fmt: skip
    spread = assumed.device_to_device_sigma
    own = f"sigma {_percent(device.device_to_device_sigma)} of G" if device.device_to_device_sigma else ""
    yield either("device to device", own, f"sigma {_percent(spread)} of G", spread, alone(("device_to_device_sigma",)),
                 Condition(ideal.model_copy(update={"device_to_device_sigma": spread})))  # fmt: skip
    stuck = device.stuck_on_rate + device.stuck_off_rate
    yield either("stuck cells", f"{_percent(stuck)} of cells" if stuck else "", f"{_percent(assumed.stuck_rate)} of cells",
                 assumed.stuck_rate, alone(_STUCK), Condition(with_stuck_cells(ideal, assumed.stuck_rate)))  # fmt: skip
    noise = assumed.read_noise_sigma
    yield either("read noise", _read_noise(device) if device.has_read_noise else "", f"sigma {_percent(noise)} of G", noise,
                 alone(_READING), Condition(ideal.model_copy(update={"read_noise_sigma": noise})))  # fmt: skip
    if device.has_telegraph_noise:
        yield Effect("telegraph noise", f"in {_percent(device.telegraph_share)} of cells", "chip", "digital", base, alone(_TELEGRAPH))
    if device.temperature_factor != 1:
        yield Effect("temperature", f"G times {device.temperature_factor:.3g}", "chip", "digital", base, alone(_HEAT))
    if device.iv != "linear":
        yield Effect("non-linear cells", device.iv, "chip", "digital", base, alone(_LAW))
    if device.drifts:
        yield Effect("drift", later_name, "chip", "digital", base, Condition(alone(_DRIFT).device, seconds=later))
    else:
        yield Effect("drift", "none", "ideal", "digital", base)


def _of_circuits(chip: Chip, base: Chip, assumed: Assumed) -> Iterator[Effect]:
    """Rows of wires and converters."""
    wires, adc, dac = chip.wires, chip.component.adc, chip.component.dac
    ohm = assumed.wire_resistance
    if not wires.ideal:
        value = f"{wires.wordline:g}, {wires.bitline:g} ohm a segment" if wires.wordline or wires.bitline else "ends, access"
        yield Effect("wire resistance", value, "chip", "digital", base.with_changes(wires=wires.model_dump()))
    elif not chip.wires_are_modelled:
        yield Effect("wire resistance", "not modelled", "ideal", "digital", base)
    elif ohm:
        yield Effect("wire resistance", f"{ohm:g} ohm a segment", "assumed", "digital", with_wires(base, ohm))
    else:
        yield Effect("wire resistance", "none", "ideal", "digital", base)
    error = chip.component.crossbar.cell_error
    if error.sigma:
        wrong = base.with_changes(component={"crossbar": {"cell_error": error.model_dump()}})
        grows = {"independent": "", "square_root": ", as √G", "proportional": ", as G"}
        yield Effect("cells in products", f"{_percent(error.sigma)} of g_max{grows[error.model]}", "chip", "digital", wrong)
    if dac.bow:
        bowed = base.with_changes(component={"dac": {"bow": dac.bow}})
        yield Effect("bow of drivers", f"{dac.bow:g} steps", "chip", "digital", bowed)
    if adc.range == "ideal":
        yield Effect("ADC", "neither rounds nor clips", "ideal", "digital", base)
        return
    own = without(chip.layer)
    real = base.with_changes(layer=own, component={"adc": adc.model_dump() | _NO_ADC_ERRORS})
    yield Effect("ADC range and bits", f"{adc.bits} bit, {adc.range.replace('_', ' ')}", "chip", "digital", real)
    if adc.has_errors:
        wrong = base.with_changes(layer=own, component={"adc": adc.model_dump()})
        yield Effect("ADC with its errors", "offset, gain, linearity", "chip", "digital", wrong)


def own_device_is_exact(device: Device) -> bool:
    """True where writes alone leave every cell at its target."""
    ideal = ideal_device(device)
    return ideal.model_copy(update={name: getattr(device, name) for name in _WRITING}).is_ideal


def _with_assumed(device: Device, assumed: Assumed) -> Device:
    """The device with assumed values wherever it has none of its own."""
    taken: dict[str, Any] = {}
    if own_device_is_exact(device):
        device = _with_a_sigma(device)
        taken["programming_sigma"] = assumed.programming_sigma
    if not device.device_to_device_sigma:
        taken["device_to_device_sigma"] = assumed.device_to_device_sigma
    if not device.has_read_noise:
        taken |= {"read_noise_model": "proportional", "read_noise_sigma": assumed.read_noise_sigma}
    if not (device.stuck_on_rate or device.stuck_off_rate):
        taken |= dict.fromkeys(_STUCK, assumed.stuck_rate / 2)
    return device.model_copy(update=taken)


def _with_a_sigma(device: Device) -> Device:
    """The device, its write error by a law that has a sigma."""
    if device.programming_model not in SCALED:
        return device
    return device.model_copy(update={"programming_model": "proportional", "programming_table": None})


_of = {"independent": "of the range", "proportional": "of G", "lognormal": "of ln G"}


def _write_error(device: Device) -> str:
    if device.programming_model in SCALED:
        return f"the device's {device.programming_model}"
    told = f"sigma {_percent(device.programming_sigma)} {_of[device.programming_model]}"
    return f"{told}, relaxed" if device.relaxes else told


def _read_noise(device: Device) -> str:
    if device.read_noise_sigma:
        return f"sigma {_percent(device.read_noise_sigma)} {_of[device.read_noise_model]}"
    return "1/f" if device.read_noise_model == "flicker" else "thermal"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}\u00a0%"
