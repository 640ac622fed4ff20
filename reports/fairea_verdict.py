"""Whom an assignment harms: what each method makes worse, against what was before, the actual holders, and chance."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from xbar.reports.fairea_sheet import BEFORE, HOLDERS, RANDOM, FaireaSheet
from xbar.reports.fairea_words import method_row
from xbar.reports.style import percent

FEW = 5  # people of a class, below which its shares say little


@dataclass(frozen=True)
class Measure:
    """A column of methods that a method can make worse: what it is called, whether more is better, the least difference that is told
    of, and how it is written."""

    column: str
    label: str
    higher: bool
    least: float
    shown: Callable[[float], str]

    def worse(self, value: float, other: float) -> bool:
        """Whether `value` is worse than `other` by what is told of; not where one is unknown."""
        if math.isnan(value) or math.isnan(other):
            return False
        return (other - value if self.higher else value - other) >= self.least - 1e-9


SELECTION = Measure("selection_ratio", "ratio of selection rates", True, 0.005, "{:.2f}".format)
MEASURES = (
    Measure("abs_assortativity", "|r|", False, 0.005, "{:.3f}".format),
    SELECTION,
    Measure("isolated_share", "minority members with no neighbour of their class", False, 0.005, lambda share: percent(share, 0)),
    Measure("isolated_members", "members with no neighbour of their class", False, 0.5, "{:.3g}".format),
    Measure("community_minority_share", "share of the rarest class in communities", True, 0.01, percent),
    Measure("degree_ratio", "ratio of mean ties", True, 0.02, "{:.2f}".format),
    Measure("core_ratio", "ratio of mean core numbers", True, 0.02, "{:.2f}".format),
)


@dataclass(frozen=True)
class Harm:
    """A measure that a method makes worse: its value, and the better ones by what they are of."""

    measure: Measure
    value: float
    better: dict[str, float]


def harms(sheet: FaireaSheet, method: str) -> list[Harm]:
    """What a method makes worse than the filled positions before, the actual holders or the mean of random matchings; and a ratio
    of selection rates below four fifths."""
    rows = sheet.methods.set_index("method")
    row = rows.loc[method]
    found = []
    for measure in MEASURES:
        value = float(row[measure.column])
        if measure is SELECTION:
            better = {"four fifths": sheet.meta["four_fifths"]} if value < sheet.meta["four_fifths"] - 1e-9 else {}
        else:
            others = {name: float(rows.loc[name, measure.column]) for name in (BEFORE, HOLDERS, RANDOM) if name in rows.index}
            better = {name: other for name, other in others.items() if measure.worse(value, other)}
        if better:
            found.append(Harm(measure, value, better))
    return found


NAMED = {BEFORE: "before", HOLDERS: "with the actual holders", RANDOM: "by chance", "four fifths": "needed"}


def _told(harm: Harm) -> str:
    better = ", ".join(f"{harm.measure.shown(value)} {NAMED[name]}" for name, value in harm.better.items())
    return f"{harm.measure.label} {harm.measure.shown(harm.value)} ({better})"


def judged_methods(sheet: FaireaSheet) -> list[str]:
    """Those that one could take: no reference, and not the smallest fitness."""
    return [name for name in sheet.methods["method"] if name not in (BEFORE, HOLDERS, RANDOM, "smallest fitness")]


def harm_text(sheet: FaireaSheet) -> str:
    """What FairEA makes worse, and which methods do not."""
    mine = harms(sheet, "FairEA")
    if not mine:
        return ("FairEA as published makes no measure worse than it was before, than it is with the actual holders or by chance."
                if HOLDERS in set(sheet.methods["method"])
                else "FairEA as published makes no measure worse than it was before, or than it is by chance.")  # fmt: skip
    text = f"FairEA as published makes something worse: {'; '.join(map(_told, mine))}."
    others = {name: harms(sheet, name) for name in judged_methods(sheet) if name != "FairEA"}
    harmless = [name for name, found in others.items() if not found]
    if harmless:
        return f"{text} Nothing is made worse by: {_with_fitness(sheet, harmless)}."
    ours = {harm.measure.column for harm in mine}
    without = {name: found for name, found in others.items() if ours - {harm.measure.column for harm in found}}
    if not without:
        return f"{text} Every method makes these worse."
    fewest = min(without, key=lambda name: (len(without[name]), -method_row(sheet, name)["fitness"]))
    spared = [harm.measure.label for harm in mine if harm.measure.column not in {each.measure.column for each in without[fewest]}]
    return (
        f"{text} Every method makes something worse; the fewest by {_with_fitness(sheet, [fewest])}, which does not worsen "
        f"{' and '.join(spared)} but does: {'; '.join(map(_told, without[fewest]))}."
    )


def _with_fitness(sheet: FaireaSheet, names: list[str]) -> str:
    shares = {name: float(method_row(sheet, name)["fitness_normalised"]) for name in names}
    return ", ".join(f"{name} (fitness {percent(share, 0)} of its range)" for name, share in sorted(shares.items(), key=lambda x: -x[1]))


def selection_text(sheet: FaireaSheet, method: str = "FairEA") -> str:
    """Selection rates of each attribute by a method, with how likely chance makes as large a difference."""
    told = []
    table = sheet.groups[sheet.groups["method"] == method]
    for attribute, part in table[table["candidates"] > 0].groupby("attribute", sort=False):
        told.append(f"{attribute}: {_rates(part, sheet.meta['four_fifths'])}")
    return f"Chosen by {method}, of the candidates of {'; '.join(told)}."


def _rates(part: pd.DataFrame, floor: float) -> str:
    shown = part.sort_values("candidates", ascending=False).head(6)
    rates = ", ".join(f"{row['group']} {percent(row['rate'], 0)} of {row['candidates']}" for _, row in shown.iterrows())
    more = f" and {len(part) - len(shown)} more" if len(part) > len(shown) else ""
    if len(part) < 2:
        return f"{rates}, one group alone"
    ratio = float(part["rate"].min() / part["rate"].max()) if part["rate"].max() > 0 else 1.0
    p = float(part["p_value"].min())
    chance = "" if ratio >= floor else f" (Fisher's exact test: p = {p:.2f}{', which chance may well make' if p > 0.05 else ''})"
    return f"{rates}{more}, ratio {ratio:.2f}{', below four fifths' if ratio < floor else ''}{chance}"


def small_text(sheet: FaireaSheet) -> str:
    """A class of few people, whose shares say little; "" without one."""
    m = sheet.meta
    pools = {"candidates": m["candidates"], "members": m["classes"]}
    few = [f"{name} ({count} among {what})" for what, counts in pools.items() for name, count in counts.items() if 0 < count < FEW]
    more = " and more" if len(few) > 6 else ""
    return f"Few people make a class here: {', '.join(few[:6])}{more}; their shares say little." if few else ""
