"""Single changes of a chip that may help a network on it: converters, arrays, cells, bits, copies, links, buffers, digital units, sharing,
write-verify. Which of them can be, the chip's own description says when it is changed; which help, `xbar.workloads.study.advise` finds out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import device_names
from xbar.hw.chip.placement import Placement
from xbar.workloads.study.sweep import Value

SHARING, COPIES = "mapping.sharing", "mapping.copies"  # beside the names of points: how layers are placed
WHOLE_BITS = 8  # bits of weights and inputs that a chip of more is tried with; others are tried with one less and one more
TOLERANCE, PULSES = 0.02, 20  # of write-verify, where writes are not verified: of g_max - g_min, and at most so many pulses a cell
NOT_TRIED = {
    "pruning single layers": "needs the network to be made smaller first: xbar compress",
    "retraining with the chip's noise": "needs training: compression/ and docs/in-python.md",
    "other settings of single layers": 'any of these may be set for one layer: --set \'layer."NAME".component.adc.bits=6\'',
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """values: by names of points (`--set` keys, device.name), numbers with their unit; mapping: `place`'s sharing, and copies ("one").
    scores: whether it changes what the chip computes, and so its accuracy."""

    name: str
    values: Mapping[str, Value]
    scores: bool = False
    mapping: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The keys with their values, as --set takes those of the chip."""
        return "; ".join(f"{name}={value}" for name, value in {**self.values, **self.mapping}.items())

    @property
    def keys(self) -> frozenset[str]:
        """What it sets; two changes that set the same are no pair. Numbers of arrays go with their sizes."""
        return frozenset({*self.values, *self.mapping})

    def __and__(self, other: "Change") -> "Change":
        """Both."""
        return Change(
            f"{self.name} + {other.name}", {**self.values, **other.values}, self.scores or other.scores, {**self.mapping, **other.mapping}
        )


def single_changes(placement: Placement, device: str | None = None) -> list[Change]:
    """Every single change that is tried of a chip with a network placed on it. device: the name of its cells, where they are a
    preset's."""
    chip = placement.chip
    return [
        *_converters(chip), *_arrays(chip), *_cells(chip, device), *_bits(chip), *_copies(placement), *_moves(chip),
        *_units(placement), *_writing(chip),
    ]  # fmt: skip


def _converters(chip: Chip) -> Iterator[Change]:
    adc, columns = chip.component.adc, chip.structure.bitlines * chip.structure.crossbars_per_core
    for bits in (adc.bits - 1, adc.bits + 1):
        if bits >= 1:
            yield Change(f"ADCs of {bits} bit{'s' * (bits > 1)}", {"component.adc.bits": bits}, True)
    if adc.columns > 1:
        yield Change("half as many columns an ADC", {"component.adc.columns": adc.columns // 2})
    if 2 * adc.columns <= columns:
        yield Change("twice as many columns an ADC", {"component.adc.columns": 2 * adc.columns})
    if adc.rate is not None:
        yield Change("ADCs twice as fast", {"component.adc.rate": _per_second(2 * adc.rate)})
        yield Change("ADCs half as fast", {"component.adc.rate": _per_second(adc.rate / 2)})


def _arrays(chip: Chip) -> Iterator[Change]:
    """Of half or twice the size each way, with as many cells on the chip, rounded up to whole tiles."""
    s = chip.structure
    for lines, columns, tiles in (
        (s.wordlines // 2, s.bitlines // 2, 4 * s.tiles), (2 * s.wordlines, 2 * s.bitlines, -(-s.tiles // 4)),
    ):  # fmt: skip
        if min(lines, columns) >= 4 and tiles <= 4096:
            yield Change(
                f"arrays of {lines} × {columns}, as many cells",
                {"structure.wordlines": lines, "structure.bitlines": columns, "structure.tiles": tiles}, True,
            )  # fmt: skip


def _cells(chip: Chip, device: str | None) -> Iterator[Change]:
    for name in device_names():
        if name != device:
            yield Change(f"cells: {name}", {"device.name": name}, True)
    levels = chip.device.levels
    for other in (levels // 2, 2 * levels):
        if other >= 2 and not chip.component.crossbar.in_charge:
            bits = other.bit_length() - 1
            held = {} if chip.weights.cell_bits is None else {"weights.cell_bits": bits}
            yield Change(f"cells of {bits} bit{'s' * (bits > 1)}", {"device.levels": other, **held}, True)


def _bits(chip: Chip) -> Iterator[Change]:
    for section, what in (("weights", "weights"), ("inputs", "inputs")):
        bits = getattr(chip, section).bits
        for other in (WHOLE_BITS,) if bits > WHOLE_BITS else (bits - 1, bits + 1):
            if other >= 2:
                yield Change(f"{what} of {other} bits", {f"{section}.bits": other}, True)


def _copies(placement: Placement) -> Iterator[Change]:
    chip = placement.chip
    if any(len(copies) > 1 for copies in placement.copies.values()):
        yield Change("one copy of each layer", {}, mapping={COPIES: "one"})
    tiles = chip.structure.tiles
    if 2 * tiles <= 4096:
        yield Change("twice as many tiles, for copies", {"structure.tiles": 2 * tiles})
    if tiles > 1:
        yield Change("half as many tiles", {"structure.tiles": -(-tiles // 2)})
    for sharing in ("cores", "crossbars"):
        if placement.sharing != sharing and not (sharing == "crossbars" and not chip.wires.ideal):
            yield Change(f"layers share {sharing}", {}, mapping={SHARING: sharing})


def _moves(chip: Chip) -> Iterator[Change]:
    """Links, ports and buffers, wider or narrower."""
    t, link, router = chip.timing, chip.component.link, chip.component.router
    widths = {"flit_width": "mesh links", "bus_width": "buses", "buffer_width": "buffer ports"}
    for key, what in widths.items():
        yield Change(f"{what} twice as wide", {f"timing.{key}": f"{2 * getattr(t, key)} bit"})
        if getattr(t, key) >= 2:
            yield Change(f"{what} half as wide", {f"timing.{key}": f"{getattr(t, key) // 2} bit"})
    yield Change(
        "buses and buffer ports twice as wide", {f"timing.{key}": f"{2 * getattr(t, key)} bit" for key in ("bus_width", "buffer_width")}
    )
    yield Change("twice as many off-chip links", {"component.link.units": 2 * link.units})
    if link.units > 1:
        yield Change("half as many off-chip links", {"component.link.units": link.units // 2})
    shared = 2 * router.shared_by
    if shared <= chip.structure.tiles:
        yield Change(
            f"{shared} tiles share a router",
            {"component.router.shared_by": shared, "component.router.ports": router.ports + router.shared_by},
        )
    yield Change("tile buffers twice as large", {"timing.buffer_size": f"{2 * t.buffer_size} bit"})
    if t.buffer_size >= 2:
        yield Change("tile buffers half as large", {"timing.buffer_size": f"{t.buffer_size // 2} bit"})
    yield Change("tile clock twice as fast", {"timing.tile_clock": _per_second(2 * t.tile_clock)})
    yield Change("tile clock half as fast", {"timing.tile_clock": _per_second(t.tile_clock / 2)})


def _units(placement: Placement) -> Iterator[Change]:
    """Twice as many of the digital units that the network uses."""
    used = {"accumulator", *(name for layer in placement.network.layers for name, count in layer.digital.items() if count)}
    names = {"accumulator": "accumulators", "activation": "activation units", "pool": "pooling units", "multiplier": "multipliers",
             "product": "product units"}  # fmt: skip
    for name, what in names.items():
        component: Any = getattr(placement.chip.component, name)
        if name in used and component is not None:
            yield Change(f"twice as many {what}", {f"component.{name}.units": 2 * component.units})


def _writing(chip: Chip) -> Iterator[Change]:
    device = chip.device
    if not device.draws or chip.component.crossbar.in_charge:
        return
    if device.write_verify_tolerance is None:
        verified: dict[str, Value] = {"device.write_verify_tolerance": f"{100 * TOLERANCE:g} %", "device.write_verify_most": PULSES}
        yield Change(f"writes verified to {100 * TOLERANCE:g} % of the range", verified, True)
    else:
        half = device.write_verify_tolerance / 2
        yield Change(f"writes verified to {100 * half:g} % of the range", {"device.write_verify_tolerance": f"{100 * half:g} %"}, True)


def _per_second(rate: float) -> str:
    return f"{rate:.12g} 1/s"
