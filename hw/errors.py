"""Errors that the simulated hardware raises at its public doors; each names what came and what is allowed."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: what it may be of the known ones; empty where nothing is near.

    A dotted name whose last parts these are comes before one that is spelt alike, a section's name gives some of its keys, and
    one that is clearly nearest stands alone.
    """
    known, written = list(known), name.lower()
    inside = [each for each in known if each.startswith(f"{written}.")]
    if inside:
        return f"; it is a section: name one of its keys, as {', '.join(inside[:3])}"
    near = [each for each in known if each.lower() == written or each.endswith(f".{written}") or written.startswith(f"{each}.")]
    if not near:
        near = difflib.get_close_matches(written, known, n=3, cutoff=0.5)
        alike = [difflib.SequenceMatcher(None, written, each).ratio() for each in near]
        near = [each for each, ratio in zip(near, alike, strict=True) if ratio > max(alike) - 0.05]
    near = near[:4]
    return f"; did you mean {', '.join(near[:-1])}{' or ' if near[1:] else ''}{near[-1]}?" if near else ""


class HardwareError(ValueError):
    """Base of every error that `hw` raises on purpose."""


class ParameterError(HardwareError):
    """A single argument or field is outside what it may be."""


class LawRangeError(ParameterError):
    """A cost law was asked for what lies outside the range of its source.

    Attributes: `law`, `parameter`, `value` (SI) and `allowed`, the lowest and the highest value (SI).
    """

    def __init__(
        self, law: str, parameter: str, value: float, allowed: tuple[float, float], unit: str = "", factor: float = 1.0
    ):
        """`unit` is what people write the parameter in, and `factor` what its SI value is divided by to be in that unit."""
        self.law, self.parameter, self.value, self.allowed = law, parameter, value, allowed
        written, low, high = (f"{number / factor:.6g}{f' {unit}' if unit else ''}" for number in (value, *allowed))
        super().__init__(
            f"law {law}: {parameter} = {written} is outside {low} to {high}, the range of its source; choose a value inside it, "
            "name another law, or state the component's own power or energy and area with [component.NAME.stated_at]"
        )


class ConfigurationError(HardwareError):
    """A chip file or an override is wrong; the message names file, key, value and what is allowed."""

    def __init__(self, file: str, problems: list[tuple[str, str, str]]):
        """`problems` lists (dotted key, value as written, what is allowed)."""
        self.file = file
        self.problems = problems
        lines = [f"{file}: {key} = {value}: {allowed}" for key, value, allowed in problems]
        super().__init__("\n".join(lines))


class UnknownLayerError(ParameterError):
    """A chip has settings for layers that the network does not have on it; the message lists those that it has."""


class MappingError(HardwareError):
    """A weight matrix cannot be put on the crossbars as asked."""


class TraceError(HardwareError):
    """A torch model has a part that the chip has no way to run."""


class CapacityError(HardwareError):
    """The network needs more crossbars than the chip has.

    Attributes: `needed`, `available` and `missing`, all in crossbars.
    """

    def __init__(self, message: str, needed: int = 0, available: int = 0):
        self.needed = needed
        self.available = available
        self.missing = needed - available
        super().__init__(message)


class MissingComponentError(HardwareError):
    """Layers of the network need a digital unit that the chip's tiles lack.

    Attribute: `missing`, (layer, component, how much of it per sample) of each.
    """

    def __init__(self, chip: str, missing: list[tuple[str, str, str]]):
        self.missing = missing
        units = list(dict.fromkeys(component for _, component, _ in missing))
        add = " and ".join(f"[component.{component}]" for component in units)
        needed = "; ".join(f"layer {layer} needs {component} for {what} a sample" for layer, component, what in missing)
        super().__init__(
            f"chip {chip} has no {' and no '.join(units)} in its tiles: {needed}. Add {add} with units to "
            "the chip file (`extends` another where that is to stay as it is), or take a preset that has them, as isaac-vector"
        )


class BufferCapacityError(HardwareError):
    """Values wait for each other because a tile's buffer is too small.

    Attributes: `tile`, and `needed` and `available`, in bits; `enough`, with which no values wait for each other without end: what a
    whole sample puts on a tile, on the one that gets most; `chip`, its number where there are several, else None.
    """

    def __init__(self, tile: int, needed: float, available: int, enough: float, chip: int | None = None):
        super().__init__(tile, needed, available, enough, chip)  # of which a process that waits, or another computer, makes it again
        self.tile, self.needed, self.available, self.enough, self.chip = tile, needed, available, enough, chip

    def __str__(self) -> str:
        return (
            f"the buffer of tile {self.tile}{'' if self.chip is None else f' of chip {self.chip}'} is too small: it needs room for "
            f"{self.needed:,.0f} bits at once, and timing.buffer_size is {self.available:,} bits ({self.available / 8192:g} KB); take "
            f"larger buffers (with {self.enough:,.0f} bits, a whole sample's on the tile that gets most, none wait without end), or more "
            "copies of the layer that lies there, which divide its inputs among tiles"
        )


class ConvergenceError(HardwareError):
    """An iterative solution was not found to the tolerance asked; nothing approximate is returned instead."""


class RangeWarning(UserWarning):
    """Values are beyond the range that was calibrated for; the message says where, and which share."""
