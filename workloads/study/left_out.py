"""What a calibrated chip was fitted by, and how far each published number is off when the fit is made without it.

A published time or energy is a sum of terms, one a component, or one a constant of its own that the component's law tells apart
(`Cost.energy_parts`, `time_parts`). A fit moves some of them, each by a factor: least squares of relative errors. A number that is
arithmetic on others is no row of a fit. What the rows do not determine stays as it is, so that a number is only told without
itself where the others determine it: where its row lies in the span of theirs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xbar.hw import Chip

OUTSIDE = 1e-6  # of a row that is not in the span of others: what is left of it after projection, over its own length


@dataclass(frozen=True)
class Row:
    """A published number as a fit sees it.

    terms: what adds up to the model's value of it, in any unit; moved: those that the fit moves; needed: what they should add up to;
    sources: places of the rows that it is arithmetic on.
    """

    terms: Mapping[str, float]
    moved: frozenset[str]
    needed: float
    sources: tuple[int, ...] = ()

    def shares(self, names: Sequence[str]) -> np.ndarray:
        """By how much of the needed value each of these moved terms contributes."""
        return np.array([self.terms[name] / self.needed if name in self.moved and name in self.terms else 0.0 for name in names])


def fitted_components(chip: Chip) -> list[str]:
    """Components whose energy was fitted on the chip's own points."""
    return [
        name for name in chip.component.names
        for leaf in ("energy", "power")
        if (quantity := chip.provenance.get(f"component.{name}.{leaf}")) is not None and quantity.kind == "fitted"
    ]  # fmt: skip


def energy_row(chip: Chip, energy: Mapping[str, float], needed: float, sources: tuple[int, ...]) -> Row:
    """The row of an energy that these components' energies add up to [J]. A converter that integrates has its constants from the
    chip's points, and they move though its preset states nothing."""
    fitted = {*fitted_components(chip), *(["adc"] if chip.component.adc.integrates else [])}
    terms = {key: part for name, value in energy.items() for key, part in _split(name, value, chip.costs[name].energy_parts).items()}
    return Row(terms, frozenset(key for key in terms if key.partition(" ")[0] in fitted), needed, sources)


def time_row(chip: Chip, time: float, needed: float, sources: tuple[int, ...]) -> Row:
    """The row of a vector's time [s], where the converters' law tells the pace."""
    terms = _split("time", time, chip.costs["adc"].time_parts)
    return Row(terms, frozenset(terms), needed, sources)


def _split(name: str, value: float, parts: Mapping[str, float]) -> dict[str, float]:
    """A value in proportion to a law's parts of it; whole where there are none."""
    return {f"{name} {part}": value * share / sum(parts.values()) for part, share in parts.items()} or {name: value}


def refitted(rows: Sequence[Row | None], without: Collection[int] = ()) -> dict[str, float]:
    """By what share each moved term changes when it is fitted to the rows, but for those `without`."""
    kept = [row for place, row in enumerate(rows) if row is not None and not row.sources and place not in without]
    names = sorted({name for row in kept for name in row.moved})
    if not names:
        return {}
    matrix = np.array([row.shares(names) for row in kept])
    short = np.array([1 - sum(row.terms.values()) / row.needed for row in kept])
    return dict(zip(names, np.linalg.lstsq(matrix, short, rcond=1e-9)[0].tolist(), strict=True))


def determined(row: Row, others: Sequence[Row]) -> bool:
    """Whether the others determine what the row's moved terms add up to: whether it lies in the span of theirs."""
    names = sorted(row.moved | {name for other in others for name in other.moved})
    mine, span = row.shares(names), np.array([other.shares(names) for other in others])
    if not len(others):
        return False
    left = mine - span.T @ np.linalg.lstsq(span.T, mine, rcond=1e-9)[0]
    return bool(np.linalg.norm(left) <= OUTSIDE * np.linalg.norm(mine))


def left_out(rows: Sequence[Row | None]) -> list[float]:
    """Model over needed value of each row when the fit is made without it, or of a row that is arithmetic on others without these; nan
    where nothing of it is fitted, or where the others do not determine it."""
    found = []
    for place, row in enumerate(rows):
        ratio = float("nan")
        if row is not None and row.moved:
            without = row.sources or (place,)
            others = [each for k, each in enumerate(rows) if each is not None and not each.sources and k not in without]
            if determined(row, others):
                change = refitted(rows, without)
                ratio = sum(part * (1 + change.get(name, 0.0)) for name, part in row.terms.items()) / row.needed
        found.append(ratio)
    return found
