"""Fair assignment on a chip: tables, one JSON file, and pages drawn from them."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, PercentFormatter

from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import load_sheet, save_sheet, write_text
from xbar.reports.style import (
    ACCENT,
    GREY,
    INK,
    PAPER,
    SECOND,
    SOFT,
    WARNING,
    Column,
    cut,
    draw_table,
    human,
    page,
    percent,
    plain_decimals,
    plot,
    sections,
    significant,
    write,
)

FILE = "fairea.json"
GREEN = "#2f9e77"
CLASSES = (
    (ACCENT, "o"),
    (SECOND, "s"),
    (GREEN, "^"),
    ("#7a5195", "D"),
    (WARNING, "v"),
    ("#6ab7d6", "P"),
    ("#f0c987", "X"),
    (GREY, "h"),
)
METHODS = {  # marker and colour on the front
    "actual holders": ("*", INK),
    "FairEA": ("D", SECOND),
    "FairEA, isolation 2": ("d", SECOND),
    "FairEA, neighbours of other classes": ("P", SECOND),
    "improved": ("o", ACCENT),
    "weighted Hungarian": ("s", GREEN),
    "0/1 programme": ("^", "#7a5195"),
    "largest fitness": (">", WARNING),
    "smallest fitness": ("<", WARNING),
}
GROUPS = {"minority": (SECOND, "s"), "majority": (ACCENT, "o")}
SOURCES = {
    "chip": "chip",
    "own variance": "random errors,\nown variance",
    "one variance": "random errors,\none variance",
}
GAPS = {"shift_gap": "displacement [ranks]", "lost_gap": "ranks lost", "dropped_gap": "share dropped"}
OPTIONAL = ("pools",)


@dataclass(frozen=True)
class FaireaSheet:
    """One run.

    meta: settings and headline numbers. nodes: position, x, y, open, and the class before, by FairEA, by the improved
    front, and of the actual holders ("" unfilled); edges: source, target, numbers of nodes; methods: measures of each;
    points: of the fronts and random matchings; noise, instances, costs, openings, pools: as `xbar.workloads.fairea.on_chip`
    makes them.
    """

    meta: dict[str, Any]
    nodes: pd.DataFrame
    edges: pd.DataFrame
    methods: pd.DataFrame
    points: pd.DataFrame
    noise: pd.DataFrame
    instances: pd.DataFrame
    costs: pd.DataFrame
    openings: pd.DataFrame
    pools: pd.DataFrame

    def save(self, directory: Path) -> None:
        """Write each table as CSV and fairea.json last."""
        save_sheet(directory, FILE, self.meta, {name: getattr(self, name) for name in _tables()})

    @classmethod
    def load_from(cls, directory: Path) -> "FaireaSheet":
        """Read what `save` wrote; raises ResultsError naming what is missing or unreadable."""
        may_miss = {name: name in OPTIONAL for name in _tables()}
        meta, tables = load_sheet(directory, FILE, "run of fair assignment", may_miss, _read)
        return cls(meta, **tables)


def _read(path: Path, name: str) -> pd.DataFrame:
    if name == "nodes":  # a class may be called "NA"
        words = dict.fromkeys(("position", "before", "fairea", "improved", "actual"), str)
        return pd.read_csv(path, dtype=words, keep_default_na=False)
    return pd.read_csv(path)


def _tables() -> list[str]:
    return [field.name for field in fields(FaireaSheet) if field.name != "meta"]


def draw_fairea(sheet: FaireaSheet, directory: Path) -> list[Path]:
    """Write report.pdf, a PNG a page and summary.txt; the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {
        "report": summary(sheet),
        "report_network": network(sheet),
        "report_front": front(sheet),
        "report_noise": noise(sheet),
        "report_sweeps": sweeps(sheet),
        "report_repairs": repairs(sheet),
        "report_method": method(sheet),
    }
    m = sheet.meta
    footer = f"xbar {m['version']}  ·  fair assignment  ·  {m['network']}, {m['attribute']}  ·  chip {m['chip']}"
    document = Document(
        _title(sheet), verdict(sheet), drawn, footer, tables={name: getattr(sheet, name) for name in _tables()},
        record=Record.load(directory),
    )  # fmt: skip
    paths = save_document(document, directory / "report.pdf")
    write_text(directory / "summary.txt", summary_text(sheet))
    return [*paths, directory / "summary.txt"]


def _title(sheet: FaireaSheet) -> str:
    return f"{sheet.meta['title']} on {sheet.meta['chip_title']}"


# ---- in words


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


def _band(row: pd.Series, digits: int = 2, sign: bool = False, times: float = 1.0) -> str:
    """Mean and interval; a dash for what is not known."""
    form = f"{{:{'+' if sign else ''}.{digits}f}}"
    mean, low, high = (
        form.format(round(times * row[name], digits) + 0.0) for name in ("mean", "low", "high")
    )  # no -0.00
    if pd.isna(row["mean"]):
        return "–"
    return mean if pd.isna(row["low"]) else f"{mean} ({low} to {high})"


def _share_band(row: pd.Series) -> str:
    """The same of a share, in percent, within 0 and 1."""
    mean, low, high = (percent(float(np.clip(row[name], 0, 1)), 0) for name in ("mean", "low", "high"))
    if pd.isna(row["mean"]):
        return "–"
    return mean if pd.isna(row["low"]) else f"{mean} ({low} to {high})"


def _method(sheet: FaireaSheet, name: str) -> pd.Series:
    return sheet.methods[sheet.methods["method"] == name].iloc[0]


def opening_text(sheet: FaireaSheet) -> str:
    """The problem in words."""
    m = sheet.meta
    candidates = ", ".join(f"{name} {count}" for name, count in m["candidates"].items())
    return (
        f"{m['network']}: {m['positions']:,} positions, {m['edges']:,} edges, attribute {m['attribute']} "
        f"(assortativity {m['r_full']:.3f}). {m['open']} positions are open; candidates: {candidates}; {m['pairs']} "
        "pairs qualify."
    )


def _subtitle(sheet: FaireaSheet) -> str:
    m = sheet.meta
    candidates = ", ".join(f"{name} {count}" for name, count in m["candidates"].items())
    return f"{m['network']}: {m['positions']:,} positions, {m['open']} of them open; candidates by {m['attribute']}: {candidates}"


def methods_text(sheet: FaireaSheet) -> str:
    """What the methods reach, and where the actual assignment lies."""
    m = sheet.meta
    mine, better, actual = (_method(sheet, name) for name in ("FairEA", "improved", "actual holders"))
    placed = m["placed"]["actual holders"]
    text = (
        f"FairEA as published fills the positions with fitness {mine['fitness']:.2f} at |r| "
        f"{mine['abs_assortativity']:.3f}; the improved front has at least that fitness ({better['fitness']:.2f}) at "
        f"{better['abs_assortativity']:.3f}. Those who really held the positions have {actual['fitness']:.2f} at "
        f"{actual['abs_assortativity']:.3f}"
    )
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
        f"On {m['study']['instances']} chips {_share_band(noise_row(sheet, 'changed'))} of positions get another "
        f"candidate than in float. Candidates of the minority ({m['minority']}) move {shift['minority']:.2f} ranks, "
        f"others {shift['majority']:.2f}, a gap of {_band(gap, sign=True)}; independent random errors of the same "
        f"variance give {_band(control, sign=True)}{_explained(gap, net)}. {_direction(noise_row(sheet, 'lost_gap'))} Of "
        f"those chosen in float, {_share_band(dropped['minority'])} of the minority and "
        f"{_share_band(dropped['majority'])} of the others lose any position; the gap is {_points_band(dropped_net)} "
        f"from that of random errors. {_lost_text(sheet)} Ratio of selection rates "
        f"{_band(noise_row(sheet, 'selection_ratio'))}{ratio}."
    )


def _lost_text(sheet: FaireaSheet) -> str:
    """Regret in fitness and in diversity."""
    fitness, truth, distance = (noise_row(sheet, name) for name in ("regret", "regret_truth", "distance"))
    return (
        f"Fitness lost: {_band(fitness, 1, True, 100)} % of its range by float scores, {_band(truth, 1, True, 100)} % by the "
        f"truth; |r| changes by {_band(distance, 3, True)}."
    )


def _explained(gap: pd.Series, net: pd.Series) -> str:
    """What the gap, and the chip's less the control's, say."""
    told = _band(net, sign=True)
    if net["low"] > 0 or net["high"] < 0:
        return f", so the chip {'adds' if net['low'] > 0 else 'takes'} {told}"
    if gap["low"] > 0 or gap["high"] < 0:
        return f": the gap is what any errors of that size would make (difference {told})"
    return f": no gap is seen (difference {told})"


def _points_band(row: pd.Series) -> str:
    return _band(row, 0, True, 100).replace(" (", " points (", 1)


def _direction(lost: pd.Series) -> str:
    """Which way the minority's ranks go."""
    if lost["low"] > 0 or lost["high"] < 0:
        way = "down" if lost["low"] > 0 else "up"
        return f"The minority's ranks go {way} against the others' ({_band(lost, sign=True)} ranks lost)."
    return f"Neither group is pushed down against the other ({_band(lost, sign=True)} ranks lost)."


def wider_text(sheet: FaireaSheet) -> str:
    """The same over many openings and many pools."""
    rows = {
        name: _wider(sheet, name, source)
        for name, source in (("shift_gap", "chip"), ("lost_gap", "chip"), ("dropped_gap", "chip"))
    }
    net = {name: _wider(sheet, name, "chip less one variance") for name in rows}
    return (
        f"Over {int(rows['shift_gap']['instances'])} chips with openings and candidates of their own, minority less "
        f"majority: displacement {_band(rows['shift_gap'], sign=True)} ranks, {_band(net['shift_gap'], sign=True)} "
        f"more than random errors give; ranks lost {_band(rows['lost_gap'], sign=True)}; dropped "
        f"{_points_band(rows['dropped_gap'])}, {_points_band(net['dropped_gap'])} more than random errors."
    )


def _wider(sheet: FaireaSheet, measure: str, source: str) -> pd.Series:
    table = sheet.openings
    return table[(table["measure"] == measure) & (table["source"] == source)].iloc[0]


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


def verdict(sheet: FaireaSheet) -> str:
    """What came of it, a paragraph each: the openings, the methods, the noise, wider effects, the cost."""
    return "\n".join((opening_text(sheet), methods_text(sheet), noise_text(sheet), wider_text(sheet), cost_text(sheet)))


def summary_text(sheet: FaireaSheet) -> str:
    """The headline numbers as plain text."""
    m = sheet.meta
    lines = [_title(sheet), "", *textwrap.wrap(opening_text(sheet), 110), ""]
    for text in (methods_text(sheet), noise_text(sheet), wider_text(sheet), cost_text(sheet)):
        lines += [*textwrap.wrap(text, 110), ""]
    lines.append(f"{'method':38}{'fitness':>9}{'true':>8}{'share':>8}{'|r|':>8}{'unfilled':>10}")
    for _, row in sheet.methods.iterrows():
        lines.append(
            f"{row['method']:38}{row['fitness']:9.3f}{row['true_fitness']:8.3f}{row['fitness_normalised']:8.3f}"
            f"{row['abs_assortativity']:8.3f}{row['unfilled']:10.0f}"
        )
    lines += ["", f"Scores and truth correlate by {m['test_correlation']:.3f} on pairs not learned from."]
    return "\n".join(lines).replace("\u00a0", " ") + "\n"


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))


# ---- pages


def summary(sheet: FaireaSheet) -> Figure:
    """Verdict and table of methods."""
    figure = page(_title(sheet), _subtitle(sheet))
    top = 0.885
    for text in verdict(sheet).split("\n"):
        lines = textwrap.wrap(text, 158)
        write(figure, 0.05, top, "\n".join(lines), size=9.5, vertical="top")
        top -= 0.0215 * len(lines) + 0.013
    columns: tuple[Column, ...] = (
        ("method", 0.05, "left"),
        ("fitness", 0.36, "right"),
        ("by the truth", 0.45, "right"),
        ("of its range", 0.54, "right"),
        ("|r|", 0.61, "right"),
        ("r", 0.67, "right"),
        ("edges across", 0.76, "right"),
        ("minority alone", 0.86, "right"),
        ("unfilled", 0.95, "right"),
    )
    rows = [
        [
            str(row["method"]) + (f" (mean of {sheet.meta['random_draws']})" if row["method"] == "random" else ""),
            f"{row['fitness']:.2f}",
            f"{row['true_fitness']:.2f}",
            percent(row["fitness_normalised"], 0),
            f"{row['abs_assortativity']:.3f}",
            f"{row['assortativity']:+.3f}",
            percent(row["cross_group_share"], 0),
            percent(row["isolated_share"], 0),
            f"{row['unfilled']:.0f}",
        ]
        for _, row in sheet.methods.iterrows()
    ]
    end = draw_table(figure, top - 0.015, columns, rows, 0.0245)
    note = (
        f"r: Newman's assortativity of {sheet.meta['attribute']}, 0 is mixed; {sheet.meta['r_filled']:+.3f} among "
        "filled positions before. Of its range: 0 is the smallest, 100 % the largest fitness of matchings that fill "
        "as many. Minority alone: members of the network's smallest class without a neighbour of it. Fitness is a "
        "score between 0 and 1 per position, of generated features (last page)."
    )
    write(figure, 0.05, end - 0.022, _wrap(note, 175), size=8, colour=SOFT, vertical="top")
    return figure


def _looks(sheet: FaireaSheet) -> dict[str, tuple[str, str]]:
    """Colour and marker of each class, the largest first; beyond eight they share the last."""
    names = list(sheet.meta["classes"])
    return {name: CLASSES[min(n, len(CLASSES) - 1)] for n, name in enumerate(names)}


def network(sheet: FaireaSheet) -> Figure:
    """The network before, and after FairEA."""
    m = sheet.meta
    figure = page("The network before and after", _subtitle(sheet))
    mine = _method(sheet, "FairEA")
    panels = (
        (
            "before",
            f"Before: open positions outlined, r = {m['r_filled']:+.3f} of the filled",
            (0.05, 0.13, 0.44, 0.70),
        ),
        ("fairea", f"After FairEA: r = {mine['assortativity']:+.3f}", (0.52, 0.13, 0.43, 0.70)),
    )
    for column, title, box in panels:
        _draw_network(plot(figure, box, title, "none"), sheet, column)
    looks = _looks(sheet)
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=marker,
            color=colour,
            markersize=8,
            label=f"{cut(name, 24)} ({m['classes'][name]})",
        )
        for name, (colour, marker) in looks.items()
    ]
    handles.append(
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            markerfacecolor=PAPER,
            markeredgecolor=INK,
            markeredgewidth=1.8,
            markersize=8,
            label=f"open ({m['open']}); after: filled, same outline",
        )
    )
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.055),
        ncols=min(5, len(handles)),
        fontsize=9,
        frameon=False,
    )
    return figure


def _draw_network(axes: Axes, sheet: FaireaSheet, column: str) -> None:
    nodes, at = sheet.nodes, sheet.nodes[["x", "y"]].to_numpy()
    size = float(np.clip(5200 / len(nodes), 6, 150))
    larger, outline = max(1.4 * size, 40.0), 1.8 if size > 40 else 1.2
    ends = sheet.edges[["source", "target"]].to_numpy()
    many = len(ends) > 1500
    width, shade = (0.3, 0.15) if many else (0.7, 0.45)
    axes.add_collection(
        LineCollection(list(at[ends]), colors=SOFT, linewidths=width, alpha=shade, rasterized=many, zorder=1)
    )
    for name, (colour, marker) in _looks(sheet).items():
        holds = nodes[column] == name
        filled, hired = (at[(holds & mine).to_numpy()].T for mine in (~nodes["open"], nodes["open"]))
        axes.scatter(
            *filled, s=size, c=colour, marker=marker, zorder=2, edgecolors=PAPER, linewidths=0.0 if many else 0.5
        )
        axes.scatter(*hired, s=larger, c=colour, marker=marker, zorder=3, edgecolors=INK, linewidths=outline)
    empty = (nodes[column] == "").to_numpy()
    axes.scatter(*at[empty].T, s=larger, c=PAPER, marker="o", edgecolors=INK, linewidths=outline, zorder=3)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.05)


def front(sheet: FaireaSheet) -> Figure:
    """Fitness against |r|, of all methods, with the fronts."""
    m = sheet.meta
    figure = page("Fitness and diversity", "right and down is better: more fitness, classes more mixed")
    parts = {name: part for name, part in sheet.points.groupby("front")}
    near = parts["improved"] if "exact" not in parts else pd.concat([parts["improved"], parts["exact"]])
    for box, title in (((0.07, 0.36, 0.31, 0.48), "All methods"), ((0.45, 0.36, 0.31, 0.48), "Near the front")):
        axes = plot(figure, box, title, "both")
        axes.plot(
            parts["random"]["fitness"],
            parts["random"]["abs_assortativity"],
            ".",
            color=SOFT,
            alpha=0.6,
            label="random matchings",
        )
        if "exact" in parts:
            _staircase(axes, parts["exact"], INK, "--", "exact front", 1.0)
        _staircase(axes, parts["improved"], ACCENT, "-", "improved front", 2.2)
        for name, (marker, colour) in METHODS.items():
            if name != "improved":
                row = _method(sheet, name)
                axes.plot(
                    row["fitness"],
                    row["abs_assortativity"],
                    marker,
                    color=colour,
                    markersize=15 if marker == "*" else 8,
                    markeredgecolor=PAPER,
                    markeredgewidth=0.8,
                    linestyle="none",
                    label=name,
                    zorder=5,
                )
        axes.set_xlabel("fitness, sum over filled positions")
        axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])
        if title == "All methods":
            axes.set_ylabel("|assortativity|")
    low, high = near["fitness"].min(), near["fitness"].max()
    room = max(0.35 * (high - low), 0.02 * abs(high), 1e-6)
    axes.set_xlim(low - 2 * room, high + room)
    top = max(1.25 * near["abs_assortativity"].max(), 0.05)
    axes.set_ylim(-0.03 * top, top)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.02))
    write(figure, 0.05, 0.27, _wrap(methods_text(sheet), 160), size=9.5, vertical="top")
    why = "" if m["exact"] else "The exact front was not enumerated: too many open positions or class patterns. "
    note = (
        f"{why}Optimality gap: the share of the exact front's hypervolume that is missed, down to the smallest "
        "fitness and up to the largest |r|, moved out by 10 % of their ranges. The actual assignment's classes are "
        "the network's own; its fitness is of generated features."
    )
    write(figure, 0.05, 0.10, _wrap(note, 180), size=8, colour=SOFT, vertical="top")
    return figure


def _staircase(axes: Axes, part: pd.DataFrame, colour: str, style: str, label: str, width: float) -> None:
    part = part.sort_values("fitness")
    axes.step(part["fitness"], part["abs_assortativity"], style, where="pre", color=colour, linewidth=width, zorder=2)
    marker, filled = ("o", colour) if style == "-" else ("o", PAPER)
    axes.plot(
        part["fitness"],
        part["abs_assortativity"],
        marker,
        color=colour,
        markerfacecolor=filled,
        markersize=4 if style == "-" else 7,
        linestyle=style,
        linewidth=0,
        label=label,
        zorder=4 if style == "-" else 3,
    )


def _interval(axes: Axes, x: float, row: pd.Series, colour: str, marker: str, label: str | None = None) -> None:
    errors = [[max(0.0, row["mean"] - row["low"])], [max(0.0, row["high"] - row["mean"])]]
    errors = [[0.0 if np.isnan(e[0]) else e[0]] for e in errors]
    axes.errorbar(x, row["mean"], yerr=errors, fmt=marker, color=colour, markersize=5.5, capsize=2.5, label=label)


def noise(sheet: FaireaSheet) -> Figure:
    """Who is passed over on the chip as judged: this opening, many openings, many pools."""
    m = sheet.meta
    figure = page(
        "Who is passed over", f"{_chip_text(sheet)}; {m['study']['instances']} chips, 95 % intervals over chips"
    )
    boxes = ((0.065, 0.585, 0.245, 0.26), (0.385, 0.585, 0.245, 0.26), (0.705, 0.585, 0.245, 0.26))
    told = (
        ("shift", "Rank displacement", "mean |change of rank|"),
        ("lost", "Ranks lost", "mean change of rank, up: worse"),
        ("dropped", "Chosen in float, then dropped", "share of a group's choices"),
    )
    for box, (what, title, label) in zip(boxes, told, strict=True):
        axes = plot(figure, box, title)
        for x, source in enumerate(SOURCES):
            for group, (colour, marker) in GROUPS.items():
                row = noise_row(sheet, f"{what}_{group}", source)
                _interval(
                    axes, x + (-0.1 if group == "minority" else 0.1), row, colour, marker, group if x == 0 else None
                )
        axes.set_xticks(range(len(SOURCES)), list(SOURCES.values()))
        axes.set_xlim(-0.5, len(SOURCES) - 0.5)
        axes.set_ylabel(label, fontsize=9)
        if what == "lost":
            axes.axhline(0, color=INK, linewidth=0.8)
        else:
            axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # so that a marker at 0 is seen whole
        if what == "dropped":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, symbol="\u00a0%"))
        _legend_above(axes, 2)
    wide = 0.565 if sheet.pools.empty else 0.245
    _openings(plot(figure, (0.065, 0.17, wide, 0.26), "Gap over many openings, FairEA"), sheet)
    if not sheet.pools.empty:
        _pools(plot(figure, (0.385, 0.17, 0.245, 0.26), "Gap by the minority's share"), sheet)
    text = f"{wider_text(sheet)}\n\n{_pools_text(sheet)}"
    write(figure, 0.68, 0.455, "\n\n".join(_wrap(part, 50) for part in text.split("\n\n")), size=8.5, vertical="top")
    note = (
        "Random errors: independent for every pair and chip, Gaussian, with the variance that each score has over "
        "chips, or one for all scores. Ranks are within a position among those who qualify. Lower row: chips, "
        "candidates and positions all drawn anew."
    )
    write(figure, 0.05, 0.085, _wrap(note, 180), size=8, colour=SOFT, vertical="top")
    return figure


def _legend_above(axes: Axes, columns: int, size: float = 8, room: float = 0.2) -> None:
    """A legend in room of its own at the top of the axes."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + room * (high - low))
    axes.legend(
        fontsize=size,
        frameon=False,
        loc="upper left",
        ncols=columns,
        columnspacing=1.0,
        handletextpad=0.3,
        borderaxespad=0.1,
    )


def _openings(axes: Axes, sheet: FaireaSheet) -> None:
    for x, name in enumerate(GAPS):
        for offset, (source, label, colour, marker) in zip(
            (-0.2, 0.0, 0.2),
            (
                ("chip", "chip", ACCENT, "o"),
                ("one variance", "random errors", SOFT, "s"),
                ("chip less one variance", "difference", WARNING, "D"),
            ),
            strict=True,
        ):
            _interval(axes, x + offset, _wider(sheet, name, source), colour, marker, label if x == 0 else None)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(GAPS)), ["displace-\nment", "ranks\nlost", "share\ndropped"])
    axes.set_xlim(-0.5, len(GAPS) - 0.5)
    axes.set_ylabel("minority less majority", fontsize=9)
    _legend_above(axes, 3, 7.5)


def _pools(axes: Axes, sheet: FaireaSheet) -> None:
    shares = sorted(sheet.pools["share"].unique())
    looks = {
        ("shift_gap", "chip"): ("displacement, chip", ACCENT, "o"),
        ("shift_gap", "one variance"): ("displacement, random", SOFT, "s"),
        ("lost_gap", "chip"): ("ranks lost, chip", SECOND, "^"),
        ("lost_gap", "one variance"): ("ranks lost, random", "#c7b299", "v"),
    }
    for place, ((measure, source), (label, colour, marker)) in enumerate(looks.items()):
        for x, share in enumerate(shares):
            table = sheet.pools[
                (sheet.pools["share"] == share)
                & (sheet.pools["measure"] == measure)
                & (sheet.pools["source"] == source)
            ]
            _interval(axes, x + 0.16 * (place - 1.5), table.iloc[0], colour, marker, label if x == 0 else None)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(shares)), [percent(share, 0) for share in shares])
    axes.set_xlim(-0.5, len(shares) - 0.5)
    axes.set_xlabel("minority's share of candidates and training pairs", fontsize=9)
    axes.set_ylabel("minority less majority, ranks", fontsize=9)
    _legend_above(axes, 2, 7.2, 0.35)


def _pools_text(sheet: FaireaSheet) -> str:
    if sheet.pools.empty:
        return ""
    net = sheet.pools[(sheet.pools["source"] == "chip less one variance")]
    told = []
    for share in sorted(net["share"].unique()):
        rows = [net[(net["share"] == share) & (net["measure"] == name)].iloc[0] for name in ("shift_gap", "lost_gap")]
        told.append(f"{percent(share, 0)}: {_band(rows[0], sign=True)} and {_band(rows[1], sign=True)}")
    return (
        "With pools of 40 candidates for 5 positions, all qualified, the chip's gap less that of random errors, "
        f"displacement and ranks lost, by the minority's share: {'; '.join(told)}."
    )


def _chip_text(sheet: FaireaSheet) -> str:
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


SERIES = (("sigma", "write error"), ("adc", "ADC bits"), ("drift", "time after programming"))


def sweeps(sheet: FaireaSheet) -> Figure:
    """Positions changed, displacement by group and selection rates against write error, ADC bits and drift."""
    figure = page("Against write error, ADC bits and drift", f"{_chip_text(sheet)}; FairEA; 95 % intervals over chips")
    for column, (series, label) in enumerate(SERIES):
        left = 0.07 + 0.315 * column
        axes = [
            plot(figure, (left, bottom, 0.255, 0.195), title)
            for bottom, title in (
                (0.66, "Positions with another candidate"),
                (0.388, "Rank displacement"),
                (0.116, "Ratio of selection rates"),
            )
        ]
        part = sheet.noise[sheet.noise["series"] == series]
        values = sorted(part["value"].unique())
        axes[2].set_xlabel(
            label + (" (cells: pcm)" if series == "drift" and not sheet.meta["judged"]["drift_is_own"] else "")
        )
        kinds = (
            (("drift", "-", ""), ("drift, compensated", "--", ", compensated"))
            if series == "drift"
            else ((series, "-", ""),)
        )
        for name, style, suffix in kinds:
            _line(axes[0], sheet, name, values, "changed", "chip", INK, "o" + style, "chip" + suffix)
            if not suffix:
                _line(axes[0], sheet, name, values, "changed", "own variance", SOFT, "s:", "random errors")
            for group, (colour, marker) in GROUPS.items():
                _line(axes[1], sheet, name, values, f"shift_{group}", "chip", colour, marker + style, group + suffix)
            _line(axes[2], sheet, name, values, "selection_ratio", "chip", INK, "o" + style, "FairEA" + suffix)
            if not suffix:
                _line(
                    axes[2],
                    sheet,
                    name,
                    values,
                    "selection_ratio",
                    "chip",
                    GREEN,
                    "^:",
                    "largest fitness",
                    "largest fitness",
                )
        axes[2].axhline(sheet.meta["judged"]["four_fifths"], color=WARNING, linewidth=1, linestyle=":")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, 0, symbol="\u00a0%"))
        for each in axes:
            low, high = each.get_ylim()
            each.set_ylim(0, high + 0.40 * (high - min(low, 0)))
            each.set_xticks(range(len(values)), [_value(series, value) for value in values])
            each.set_xlim(-0.35, len(values) - 0.65)
            each.legend(fontsize=6.8, frameon=False, loc="upper left", ncols=2, columnspacing=1.0, handlelength=3.6)
        axes[0].set_yticks([tick for tick in axes[0].get_yticks() if 0 <= tick <= 1])  # above are legend and ends of intervals
        axes[1].set_ylabel("mean |change of rank|" if column == 0 else "")
        axes[0].set_ylabel("share of open positions" if column == 0 else "")
        axes[2].set_ylabel("minority / majority" if column == 0 else "")
    return figure


def _value(series: str, value: float) -> str:
    if series == "sigma":
        return percent(value, 0)
    if series == "adc":
        return f"{value:.0f}"
    for unit, seconds in (("year", 31557600.0), ("month", 2629800.0), ("day", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 0.999 * seconds:
            count = round(value / seconds)
            return f"{count} {unit}{'s' if count > 1 and unit not in ('h', 'min') else ''}"
    return f"{significant(value, 2).rstrip('0').rstrip('.')} s"


def _line(
    axes: Axes,
    sheet: FaireaSheet,
    series: str,
    values: Sequence[float],
    measure: str,
    source: str,
    colour: str,
    form: str,
    label: str,
    assigner: str = "FairEA",
) -> None:
    table = sheet.noise
    part = table[
        (table["series"] == series)
        & (table["measure"] == measure)
        & (table["source"] == source)
        & (table["assigner"] == assigner)
    ]
    part = part.dropna(subset=["mean"]).sort_values("value")
    x = np.array([values.index(value) for value in part["value"]])
    errors = np.nan_to_num(np.array([part["mean"] - part["low"], part["high"] - part["mean"]])).clip(min=0)
    face = PAPER if "--" in form else colour  # dashes and hollow marks: what is compensated
    axes.errorbar(
        x, part["mean"], yerr=errors, fmt=form, color=colour, markersize=4.5, capsize=2, linewidth=1.3, label=label, markerfacecolor=face
    )


def repairs(sheet: FaireaSheet) -> Figure:
    """What helps, and what it takes."""
    m, costs = sheet.meta, sheet.costs
    figure = page("What repairs it, and at what energy", f"{_chip_text(sheet)}; FairEA; 95 % intervals over chips")
    columns: tuple[Column, ...] = (
        ("repair", 0.05, "left"),
        ("error of logits", 0.33, "right"),
        ("positions changed", 0.465, "right"),
        ("gap in displacement", 0.61, "right"),
        ("selection ratio", 0.735, "right"),
        ("energy a position", 0.855, "right"),
        ("writing once", 0.95, "right"),
    )
    rows, shown = [], []
    for label in costs["label"]:
        cost = costs[costs["label"] == label].iloc[0]
        series = "judged" if label == "as judged" else "repair"
        found = {
            name: noise_row(sheet, name, "chip", series, label)
            for name in ("error", "changed", "shift_gap", "selection_ratio")
        }
        rows.append(
            [
                label,
                percent(found["error"]["mean"]),
                _share_band(found["changed"]),
                _band(found["shift_gap"], sign=True),
                _band(found["selection_ratio"]),
                human(cost["energy_per_position_J"], "J"),
                human(cost["writing_J"], "J"),
            ]
        )
        shown.append((label, cost["energy_per_position_J"], found["changed"], found["error"]))
    end = draw_table(figure, 0.865, columns, rows, 0.0265)
    note = (
        "Error: root mean square over the spread of float logits. Write-verify: pulses until within "
        f"{percent(m['judged']['tolerance'])} of the cells' range, {m['judged']['most_pulses']} at most; means of "
        "several reads take each pair that often, which lowers read noise alone: what was written wrong stays. "
        "Energy a position: of scoring all pairs, without static power and links; writing: all cells of the "
        "network, once. Noise-aware training makes another network, compared with its own float matching."
    )
    write(figure, 0.05, end - 0.025, _wrap(note, 180), size=8, colour=SOFT, vertical="top")
    height = end - 0.235
    panels = ((0.200, 2, "Positions with another candidate"), (0.465, 3, "Error of logits"), (0.730, 1, "Energy of a filled position"))
    for left, number, title in panels:
        axes = plot(figure, (left, 0.11, 0.220, height), title, "x")
        for place, entry in enumerate(shown):
            look = {"color": INK if place == 0 else ACCENT, "marker": "D" if place == 0 else "o", "markersize": 5, "linewidth": 0}
            if number == 1:
                axes.plot([entry[1] * 1e9], [place], **look)
            else:
                row = entry[number]
                band = [100 * row["low"], 100 * row["high"]]
                axes.plot(band, [place, place], color=look["color"], linewidth=1.2, marker="|", markersize=5)
                axes.plot([100 * row["mean"]], [place], **look)
        axes.set_yticks(range(len(shown)), [entry[0] for entry in shown] if number == 2 else [""] * len(shown))
        axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("nJ" if number == 1 else "%", fontsize=8.5)
        if number == 1:
            spent = [entry[1] * 1e9 for entry in shown]
            axes.set_xscale("log")
            axes.set_xlim(min(spent) / 1.4, max(spent) * 1.4)  # room for a label beyond the last point
            plain_decimals(axes.xaxis)
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        else:
            axes.set_xlim(left=-0.03 * axes.get_xlim()[1])  # so that a marker at 0 is seen whole
    return figure


def method(sheet: FaireaSheet) -> Figure:
    """How it was done, what is assumed, where numbers come from."""
    m, w, j = sheet.meta, sheet.meta["world"], sheet.meta["judged"]
    figure = page("Method, assumptions, sources", "what the numbers rest on")
    shares = ", ".join(f"{name} {percent(share, 0)}" for name, share in w["shares"].items())
    writes = "; ".join(
        f"{name.replace('_', ' ')} {human(each['value'], each['unit'].partition(' ')[0])} a pulse: "
        f"{'of the chip file' if each['own'] else each['why']}"
        for name, each in m["writes"].items()
    )
    pcm = f"phase-change cells in place of its own (preset pcm, {j['drift_levels']} levels, as many bits of them used)"
    drifting = "the chip's own cells" if j["drift_is_own"] else pcm
    texts = {
        "Problem": (
            "After Jalali, Kenthapadi and Soundarajan (CompleNet 2021, arXiv 2105.06929): candidates to open "
            "positions of a network, high fitness and Newman's assortativity r of one attribute near 0. FairEA "
            "follows the authors' released code with its defects mended. The network, the classes and who held what "
            f"are given; {m['open']} positions at random are opened; candidates are their holders and as many more "
            f"of each class as to have {m['study']['pool']} for each position. A candidate qualifies for the "
            f"position held and {w['more_positions']} random ones."
        ),
        "Truth": (
            f"Features and outcomes are generated. {w['skills']} skills s of a person, N(profile of the class, 1); "
            f"demands d of a position, uniform on the simplex, mean 1/2; fitness = logistic({w['steepness']:g} s·d / "
            f"√{w['skills']}); an outcome is 1 with that probability, its logit blurred by N(0, "
            f"{w['outcome_noise']:g}²). Profiles of classes differ by {w['profile_shift']:g} in each skill, up in "
            f"half and down in half. The network also sees {w['background']} numbers that tell the class and are no "
            "part of the truth: given the skills, true fitness does not depend on the class. A holder was the best "
            f"of {w['applicants']} applicants by the blurred truth."
        ),
        "Network": (
            f"Two towers of 32, a perceptron of 64 and 32; {m['study']['pairs']:,} generated pairs with the "
            f"network's classes ({shares}), {m['study']['epochs']} epochs; on pairs not seen its scores correlate "
            f"with the truth by {m['test_correlation']:.3f}, root mean square error {m['test_rmse']:.3f}. All "
            "qualified pairs are scored, each through the whole network, so that read noise is fresh for each pair."
        ),
        "Chip": (
            f"{_chip_text(sheet)}; {j['cell_bits']} bits a cell, {j['adc_bits']}-bit ADC. An instance is one chip "
            f"with cells drawn anew. Drift: of {drifting}, compensated by one digital factor a layer from a "
            "reference read, or not."
        ),
        "Measures": (
            "Changed: open positions whose candidate is another one. Dropped: chosen in float, and without any "
            "position on the chip. Ratio of selection rates: minority's over majority's share of candidates who are "
            f"chosen; below {j['four_fifths']:g} (dotted) United States practice sees adverse impact (four-fifths "
            "rule, 29 CFR 1607.4 D). Regret (tables): fitness lost against the float matching over the range of "
            "fitness, by float scores and by the truth; it may be below 0, since FairEA does not maximise fitness. "
            "FairEA sees fitness in tenths of the largest: errors matter where they cross a tenth."
        ),
        "Intervals": (
            "95 %, Student's t over chip instances, each a cluster: pairs on one chip share its errors. Ratios: "
            "linearised. Differences to the control: Welch, or paired where both saw the same openings. Intervals "
            "of one opening say nothing of other candidates; those of many openings and pools do, for one trained "
            "network each. Several gaps are told: one in twenty such intervals leaves 0 out by chance."
        ),
        "Energy": (
            f"Events of the simulation, one copy of each layer, links apart. Writing: {writes}. All scale in proportion."
        ),
    }
    sections(figure, texts)
    return figure
