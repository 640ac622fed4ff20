"""A recommender's chip over months: tables, one JSON file, and a page drawn from them."""

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xbar.reports.pages import Document, save_document
from xbar.reports.results import load_sheet, save_sheet, write_text
from xbar.reports.style import ACCENT, INK, SECOND, SOFT, WARNING, Column, draw_table, human, page, plot, write

FILE = "living.json"
PLACES = {"buffers": "in buffers", "hfox": "on HfOx", "pcm": "on PCM"}
GREEN = "#2f9e77"
LOOKS = (("-", ACCENT), ("--", SECOND), (":", WARNING), ("-.", GREEN), ((0, (5, 1)), INK), ((0, (1, 1)), SOFT))  # of policies in order


@dataclass(frozen=True)
class LivingSheet:
    """meta: the life, the policies, the best of each place. lives: one row a place of embeddings and a policy; windows: each of them over
    time, as `xbar.workloads.recommender.living` tells."""

    meta: dict[str, Any]
    lives: pd.DataFrame
    windows: pd.DataFrame

    def save(self, directory: Path) -> None:
        """Write both tables as CSV and living.json last."""
        save_sheet(directory, FILE, self.meta, {"lives": self.lives, "windows": self.windows})

    @classmethod
    def load_from(cls, directory: Path) -> "LivingSheet":
        """Read what `save` wrote; raises ResultsError naming what is missing or unreadable."""
        meta, tables = load_sheet(directory, FILE, "life of a recommender's chip", {"lives": False, "windows": False})
        return cls(meta, **tables)


def draw_living(sheet: LivingSheet, directory: Path) -> list[Path]:
    """Write living.pdf, its page as PNG and HTML, and summary.txt; the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    footer = f"xbar {sheet.meta['version']}  ·  a recommender's chip over {sheet.meta['life']['days']} days  ·  chip {sheet.meta['chip']}"
    title = "A recommender's chip, lived through"
    tables = {"lives": sheet.lives, "windows": sheet.windows}
    document = Document(title, verdict(sheet), {"living": life_page(sheet)}, footer, tables=tables)
    paths = save_document(document, directory / "living.pdf")
    write_text(directory / "summary.txt", summary_text(sheet))
    return [*paths, directory / "summary.txt"]


def _life(sheet: LivingSheet, place: str, policy: str) -> pd.Series:
    lives = sheet.lives
    return lives[(lives["place"] == place) & (lives["policy"] == policy)].iloc[0]


def verdict(sheet: LivingSheet) -> str:
    """Which policy is best in each place, and why, in a few sentences."""
    m, said = sheet.meta, []
    for place, policy in m["best"].items():
        row = _life(sheet, place, policy)
        never = _life(sheet, place, "never") if "never" in set(sheet.lives["policy"]) else row
        wear = "nothing wears" if math.isinf(row["years"]) else f"{_years(row['years'])} to the endurance of the most written row"
        said.append(
            f"{PLACES.get(place, place)}: {policy}, AUC {row['auc']:.4f} ({row['auc'] - never['auc']:+.4f} against never), "
            f"{human(row['refresh_J'], 'J')} a year for refreshes beside {human(row['serving_J'], 'J')} for serving; {wear}"
        )
    return (
        f"Of the policies that lose at most {m['most_lost']} of AUC against the best and last {m['least_years']:g} years, the one whose "
        f"refreshes take least energy: {'; '.join(said)}."
    )


def summary_text(sheet: LivingSheet) -> str:
    """The table of lives as plain text."""
    lines = [*textwrap.wrap(verdict(sheet), 130), "", f"{'embeddings in, policy':46}{'AUC':>8}{'last quarter':>14}{'error':>8}{'p99':>10}"
             f"{'while written':>15}{'refresh a year':>16}{'serving a year':>16}{'lasts':>18}"]  # fmt: skip
    for _, row in sheet.lives.iterrows():
        writing = "-" if pd.isna(row["p99_writing_s"]) else human(row["p99_writing_s"], "s")
        lines.append(
            f"{row['place'] + ', ' + row['policy']:46}{row['auc']:8.4f}{row['auc_last']:14.4f}{100 * row['error']:7.2f}%"
            f"{human(row['p99_s'], 's'):>10}{writing:>15}{human(row['refresh_J'], 'J'):>16}{human(row['serving_J'], 'J'):>16}"
            f"{_years(row['years']):>18}"
        )
    return "\n".join(lines).replace("\u00a0", " ") + "\n"


def _years(years: float) -> str:
    if math.isinf(years):
        return "no wear"
    return f"{float(f'{years:.3g}'):,.0f} years" if years >= 1 else f"{365 * years:.1f} days"


def life_page(sheet: LivingSheet) -> Figure:
    """AUC, error in cells, and waiting over time, energy and years by policy."""
    m, life = sheet.meta, sheet.meta["life"]
    told = (
        f"{m['chip_title']}  ·  {life['a_chip']:,} members a chip, of which {life['members']} with {m['interactions']:,} synthetic "
        f"interactions are simulated  ·  load {100 * life['load']:.0f} %"
    )
    figure = page("A recommender's chip, lived through", told)
    write(figure, 0.05, 0.885, "\n".join(textwrap.wrap(verdict(sheet), 150)), size=9, vertical="top")
    policies = list(dict.fromkeys(sheet.lives["policy"]))
    boxes = ((0.06, 0.495, 0.26, 0.215), (0.385, 0.495, 0.26, 0.215), (0.71, 0.495, 0.26, 0.215))
    places = list(dict.fromkeys(sheet.lives["place"]))
    for box, place in zip(boxes, places, strict=False):
        axes = plot(figure, box, f"AUC, embeddings {PLACES.get(place, place)}")
        _over_time(axes, sheet, place, policies, "auc")
        if place == places[0]:
            looks = {"fontsize": 8, "frameon": False, "loc": "upper left", "ncols": 6, "bbox_to_anchor": (0.045, 0.795)}
            figure.legend(*axes.get_legend_handles_labels(), **looks)
    columns: tuple[Column, ...] = (
        ("embeddings", 0.05, "left"), ("policy", 0.155, "left"), ("AUC", 0.38, "right"), ("error", 0.45, "right"),
        ("p99", 0.53, "right"), ("while written", 0.63, "right"), ("refreshes, a year", 0.75, "right"), ("serving, a year", 0.86, "right"),
        ("lasts", 0.95, "right"),
    )  # fmt: skip
    rows = [
        [PLACES.get(row["place"], row["place"]), row["policy"], f"{row['auc']:.4f}", f"{100 * row['error']:.2f} %",
         human(row["p99_s"], "s"), "–" if pd.isna(row["p99_writing_s"]) else human(row["p99_writing_s"], "s"), human(row["refresh_J"], "J"),
         human(row["serving_J"], "J"), _years(row["years"])]
        for _, row in sheet.lives.iterrows()
    ]  # fmt: skip
    end = draw_table(figure, 0.425, columns, rows, 0.0205)
    note = (
        "Cells change between checks by their closed laws; requests are served one by one around each write. Error: of embeddings in "
        "their cells, of the range of numbers, at the end. Lasts: until the most written row has had as many pulses as its device endures; "
        "pulses and error left are of the same write-verify draws, and a device that states no endurance, energy or time of a pulse has "
        "the assumed ones of other reports. Read noise, converters and wires are not in these AUCs."
    )
    write(figure, 0.05, end - 0.015, "\n".join(textwrap.wrap(note, 165)), size=8, colour=SOFT, vertical="top")
    return figure


def _over_time(axes: Axes, sheet: LivingSheet, place: str, policies: list[str], column: str) -> None:
    part = sheet.windows[sheet.windows["place"] == place]
    for number, policy in enumerate(policies):
        mine = part[part["policy"] == policy]
        style, colour = LOOKS[number % len(LOOKS)]
        axes.plot(mine["day"], mine[column], linestyle=style, color=colour, label=policy, linewidth=1.3)
    axes.set_xlabel("day")
