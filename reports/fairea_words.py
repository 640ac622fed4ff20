"""A run of fair assignment in words: the problem, the methods, who is passed over on chips, what it takes."""

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from xbar.reports.fairea_sheet import HOLDERS, FaireaSheet
from xbar.reports.style import ACCENT, SECOND, human, percent

GROUPS = {"minority": (SECOND, "s"), "majority": (ACCENT, "o")}


def noise_row(
    sheet: FaireaSheet,
    measure: str,
    source: str = "chip",
    series: str = "judged",
    label: str | None = None,
    assigner: str = "FairEA",
) -> pd.Series:
    """That row of the table of noise: mean, low, high, instances."""
    table = sheet.noise
    chosen = table[(table["measure"] == measure) & (table["source"] == source) & (table["series"] == series)]
    chosen = chosen[(chosen["assigner"] == assigner) & ((label is None) | (chosen["label"] == label))]
    return chosen.iloc[0]


def band(row: pd.Series, digits: int = 2, sign: bool = False, times: float = 1.0) -> str:
    """Mean and interval; a dash for what is not known."""
    form = f"{{:{'+' if sign else ''}.{digits}f}}"
    mean, low, high = (
        form.format(round(times * row[name], digits) + 0.0) for name in ("mean", "low", "high")
    )  # no -0.00
    if pd.isna(row["mean"]):
        return "–"
    return mean if pd.isna(row["low"]) else f"{mean} ({low} to {high})"


def share_band(row: pd.Series) -> str:
    """The same of a share, in percent, within 0 and 1."""
    mean, low, high = (percent(float(np.clip(row[name], 0, 1)), 0) for name in ("mean", "low", "high"))
    if pd.isna(row["mean"]):
        return "–"
    return mean if pd.isna(row["low"]) else f"{mean} ({low} to {high})"


def method_row(sheet: FaireaSheet, name: str) -> pd.Series:
    """That row of the table of methods."""
    return sheet.methods[sheet.methods["method"] == name].iloc[0]


def wider_row(sheet: FaireaSheet, measure: str, source: str) -> pd.Series:
    """That row of the table of many openings."""
    table = sheet.openings
    return table[(table["measure"] == measure) & (table["source"] == source)].iloc[0]


def points_band(row: pd.Series) -> str:
    """A band of a share in percentage points."""
    return band(row, 0, True, 100).replace(" (", " points (", 1)


def title(sheet: FaireaSheet) -> str:
    """Of the report."""
    return f"{sheet.meta['title']} on {sheet.meta['chip_title']}" if sheet.on_chip else f"{sheet.meta['title']}: {sheet.meta['network']}"


def opening_text(sheet: FaireaSheet) -> str:
    """The problem in words, and what was made of it unasked."""
    m = sheet.meta
    candidates = ", ".join(f"{name} {count}" for name, count in m["candidates"].items())
    mixed = m["r_filled"] if m["r_full"] is None else m["r_full"]
    told = (
        f"{m['network']}: {m['positions']:,} positions, {m['edges']:,} ties, people classed by {m['attribute']}"
        f"{'' if mixed is None else f' (assortativity {mixed:.3f})'}. {m['open']} positions are open; candidates: {candidates}; "
        f"{m['pairs']:,} pairs qualify."
    )
    if "world" in m:
        told += " Open positions, candidates and fitness are made up: no hiring can rest on them."
    if not m["attribute_named"]:
        told += f" Nobody named an attribute: {m['attribute']} is the first that is known of everybody, with few classes."
    return told


def subtitle(sheet: FaireaSheet) -> str:
    """Of pages: the network and the candidates."""
    m = sheet.meta
    candidates = ", ".join(f"{name} {count}" for name, count in m["candidates"].items())
    return f"{m['network']}: {m['positions']:,} positions, {m['open']} of them open; candidates by {m['attribute']}: {candidates}"


def methods_text(sheet: FaireaSheet) -> str:
    """What the methods reach, and where the actual assignment lies."""
    m = sheet.meta
    mine, better = (method_row(sheet, name) for name in ("FairEA", "improved"))
    text = (
        f"FairEA as published fills the positions with fitness {mine['fitness']:.2f} at |r| "
        f"{mine['abs_assortativity']:.3f}; the improved front has at least that fitness ({better['fitness']:.2f}) at "
        f"{better['abs_assortativity']:.3f}."
    )
    if HOLDERS in m["placed"]:
        actual, placed = method_row(sheet, HOLDERS), m["placed"][HOLDERS]
        text += f" Those who really held the positions have {actual['fitness']:.2f} at {actual['abs_assortativity']:.3f}"
        if placed["dominated_by"]:
            text += (
                f": {placed['dominated_by']} of {placed['front']} matchings of the front are better in one and no worse "
                f"in the other; at no less fitness |r| could be {placed['least_distance']:.3f}, at no larger |r| fitness "
                f"{placed['most_fitness']:.2f}."
            )
        else:
            text += ", which nothing found is better than in one and no worse in the other."
    if m["exact"]:
        text += (
            f" Against the exact front ({m['patterns']:,} class patterns) the improved one misses "
            f"{percent(m['gap'], 2)} of the hypervolume, FairEA's one matching {percent(m['gap_fairea'])}."
        )
    return text


def share_of_range(sheet: FaireaSheet) -> Callable[[Any], Any]:
    """Fitness as a share of its range."""
    low, high = (method_row(sheet, f"{end} fitness")["fitness"] for end in ("smallest", "largest"))
    return lambda fitness: (fitness - low) / (high - low) if high > low else 0 * fitness + 1.0


LIMITS = {
    "distance": ("|r|", "at most", "{:.3f}"), "selection": ("ratio of selection rates", "at least", "{:.2f}"),
    "isolated": ("members alone", "at most", "{:.3g}"), "degree": ("ratio of mean ties", "at least", "{:.2f}"),
    "core": ("ratio of mean core numbers", "at least", "{:.2f}"),
    "community": ("share of the rarest class in communities", "at least", "{:.3f}"),
}  # fmt: skip


def limits_text(sheet: FaireaSheet) -> str:
    """Within which limits the answer is the fittest, what it costs, and which limits cannot be kept."""
    m, limits = sheet.meta, sheet.meta["limits"]
    if limits is None:
        return ""
    row, top = method_row(sheet, sheet.meta["answer"]), method_row(sheet, "largest fitness")
    kept = "; ".join(_limit(name, value) for name, value in limits["kept"].items())
    holders = ", with the actual holders" if HOLDERS in m["placed"] else ""
    why = "as asked for" if limits["asked"] else f"so that nothing is worse than before{holders} or by chance"
    cost = 100 * (top["fitness_normalised"] - row["fitness_normalised"])
    text = f"The answer is the fittest matching within limits, {why}: {kept or 'none is left'}. "
    text += f"It costs {cost:.1f} points of fitness's range"
    gap = "" if limits["gap"] is None else f", at most {limits['gap']:.3g} of fitness below the best"
    by = "HiGHS" if limits.get("how") == "HiGHS" else "exchange"
    text += "; proved by HiGHS to be the fittest." if limits["exact"] else f"; found by {by}{gap}."
    for name, how in limits["dropped"]:
        label = _limit(name, limits["wanted"][name])
        text += f" {label[0].upper()}{label[1:]}: {'proved to be out of reach besides' if how == 'proved' else 'none found that keeps it'}."
    if limits.get("by_clock"):
        text += " The clock stopped a programme on the way: another run may answer otherwise."
    return text


def _limit(name: str, value: float) -> str:
    label, way, form = LIMITS[name]
    return f"{label} {way} {form.format(value)}"


def noise_text(sheet: FaireaSheet) -> str:
    """Who is passed over, with intervals."""
    m = sheet.meta
    shift = {group: noise_row(sheet, f"shift_{group}")["mean"] for group in GROUPS}
    gap, control, net = (
        noise_row(sheet, "shift_gap", source) for source in ("chip", "own variance", "chip less own variance")
    )
    dropped = {group: noise_row(sheet, f"dropped_{group}") for group in GROUPS}
    dropped_net = noise_row(sheet, "dropped_gap", "chip less own variance")
    ratio = "" if m["float_ratio"] is None else f", {m['float_ratio']:.2f} in float"
    return (
        f"On {m['study']['instances']} chips {share_band(noise_row(sheet, 'changed'))} of positions get another "
        f"candidate than in float. Candidates of the minority ({m['minority']}) move {shift['minority']:.2f} ranks, "
        f"others {shift['majority']:.2f}, a gap of {band(gap, sign=True)}; independent random errors of the same "
        f"variance give {band(control, sign=True)}{_explained(gap, net)}. {_direction(noise_row(sheet, 'lost_gap'))} Of "
        f"those chosen in float, {share_band(dropped['minority'])} of the minority and "
        f"{share_band(dropped['majority'])} of the others lose any position; the gap is {points_band(dropped_net)} "
        f"from that of random errors. {_lost_text(sheet)} Ratio of selection rates "
        f"{band(noise_row(sheet, 'selection_ratio'))}{ratio}."
    )


def _lost_text(sheet: FaireaSheet) -> str:
    """Regret in fitness and in diversity."""
    fitness, truth, distance = (noise_row(sheet, name) for name in ("regret", "regret_truth", "distance"))
    by_truth = f", {band(truth, 1, True, 100)} % by the truth" if "world" in sheet.meta else ""
    return (
        f"Fitness lost: {band(fitness, 1, True, 100)} % of its range by float scores{by_truth}; "
        f"|r| changes by {band(distance, 3, True)}."
    )


def _explained(gap: pd.Series, net: pd.Series) -> str:
    """What the gap, and the chip's less the control's, say."""
    told = band(net, sign=True)
    if net["low"] > 0 or net["high"] < 0:
        return f", so the chip {'adds' if net['low'] > 0 else 'takes'} {told}"
    if gap["low"] > 0 or gap["high"] < 0:
        return f": the gap is what any errors of that size would make (difference {told})"
    return f": no gap is seen (difference {told})"


def _direction(lost: pd.Series) -> str:
    """Which way the minority's ranks go."""
    if lost["low"] > 0 or lost["high"] < 0:
        way = "down" if lost["low"] > 0 else "up"
        return f"The minority's ranks go {way} against the others' ({band(lost, sign=True)} ranks lost)."
    return f"Neither group is pushed down against the other ({band(lost, sign=True)} ranks lost)."


def wider_text(sheet: FaireaSheet) -> str:
    """The same over many openings and many pools; "" where they were not made up."""
    if sheet.openings.empty:
        return ""
    rows = {
        name: wider_row(sheet, name, source)
        for name, source in (("shift_gap", "chip"), ("lost_gap", "chip"), ("dropped_gap", "chip"))
    }
    net = {name: wider_row(sheet, name, "chip less one variance") for name in rows}
    return (
        f"Over {int(rows['shift_gap']['instances'])} chips with openings and candidates of their own, minority less "
        f"majority: displacement {band(rows['shift_gap'], sign=True)} ranks, {band(net['shift_gap'], sign=True)} "
        f"more than random errors give; ranks lost {band(rows['lost_gap'], sign=True)}; dropped "
        f"{points_band(rows['dropped_gap'])}, {points_band(net['dropped_gap'])} more than random errors."
    )


def pools_text(sheet: FaireaSheet) -> str:
    """What the minority's share changes; "" where it was not studied."""
    if sheet.pools.empty:
        return ""
    net = sheet.pools[(sheet.pools["source"] == "chip less one variance")]
    told = []
    for share in sorted(net["share"].unique()):
        rows = [net[(net["share"] == share) & (net["measure"] == name)].iloc[0] for name in ("shift_gap", "lost_gap")]
        told.append(f"{percent(share, 0)}: {band(rows[0], sign=True)} and {band(rows[1], sign=True)}")
    return (
        "With pools of 40 candidates for 5 positions, all qualified, the chip's gap less that of random errors, "
        f"displacement and ranks lost, by the minority's share: {'; '.join(told)}."
    )


def cost_text(sheet: FaireaSheet) -> str:
    """Energy and events of scoring."""
    c = sheet.costs.iloc[0]
    return (
        f"Scoring {int(c['pairs'])} pairs takes {c['actions']:,.0f} actions, {human(c['energy_J'], 'J')} and "
        f"{human(c['latency_s'], 's')}: {human(c['energy_per_pair_J'], 'J')} a pair, "
        f"{human(c['energy_per_position_J'], 'J')} a filled position, besides {human(c['static_J'], 'J')} static; "
        f"{human(c['towers_once_J'], 'J')} in all were each tower's output kept. Writing the network once takes "
        f"{human(c['writing_J'], 'J')}."
    )


def chip_text(sheet: FaireaSheet) -> str:
    """The chip as it is judged."""
    j = sheet.meta["judged"]
    error = (
        f"write error {percent(j['programming_sigma'], 0)} ({'own' if j['sigma_is_own'] else 'assumed'})"
        if j["programming_sigma"]
        else f"write error as its cells have it ({j['programming_model']})"
    )
    read = (
        f"read noise {percent(j['read_noise_sigma'], 1)} ({'own' if j['read_noise_is_own'] else 'assumed'})"
        if j["read_noise_sigma"]
        else "read noise as its cells have it"
    )
    return f"{sheet.meta['chip_title']}, {j['weight_bits']}-bit weights, {j['input_bits']}-bit inputs, {error}, {read}"


def wrap(text: str, width: int) -> str:
    """Text in lines of at most `width` letters."""
    return "\n".join(textwrap.wrap(text, width))
