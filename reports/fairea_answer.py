"""First pages of fair assignment: the verdict with every measure by method, and who goes where for what reason."""

import textwrap
from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from xbar.reports.fairea_sheet import BEFORE, RANDOM, FaireaSheet
from xbar.reports.fairea_verdict import MEASURES, harm_text, harms, selection_text, small_text
from xbar.reports.fairea_words import limits_text, methods_text, opening_text, subtitle, title, wrap
from xbar.reports.style import SOFT, WARNING, Column, cut, draw_table, page, percent, write

WORSE = " ▼"
COLUMNS: tuple[tuple[str, str, float, Callable[[float], str]], ...] = (
    ("fitness", "fitness", 0.335, "{:.2f}".format),
    ("fitness_normalised", "range", 0.39, lambda share: percent(share, 0)),
    ("unfilled", "unfilled", 0.455, "{:.0f}".format),
    ("abs_assortativity", "|r|", 0.52, "{:.3f}".format),
    ("selection_ratio", "selection", 0.605, "{:.2f}".format),
    ("isolated_share", "min. alone", 0.69, lambda share: percent(share, 0)),
    ("isolated_members", "all alone", 0.765, "{:.0f}".format),
    ("community_minority_share", "rarest", 0.815, lambda share: percent(share, 0)),
    ("degree_ratio", "ties", 0.857, "{:.2f}".format),
    ("core_ratio", "cores", 0.899, "{:.2f}".format),
    ("cross_group_share", "across", 0.95, lambda share: percent(share, 0)),
)
ROWS, MOST_PAGES = 26, 3  # of the pages that tell who goes where


def verdict(sheet: FaireaSheet) -> list[str]:
    """What came of it, a paragraph each."""
    return [text for text in (opening_text(sheet), harm_text(sheet), selection_text(sheet), limits_text(sheet),
                             methods_text(sheet), small_text(sheet)) if text]


def summary(sheet: FaireaSheet) -> Figure:
    """Verdict, and every measure by method."""
    figure = page(title(sheet), subtitle(sheet))
    top = 0.885
    for number, text in enumerate(verdict(sheet)):
        lines = textwrap.wrap(text, 150 if number == 1 else 165)
        write(figure, 0.05, top, "\n".join(lines), size=9, vertical="top", weight="bold" if number == 1 else "normal")
        top -= 0.0205 * len(lines) + 0.010
    columns: tuple[Column, ...] = (("method", 0.05, "left"), *((label, x, "right") for _, label, x, _ in COLUMNS))
    rows = [_row(sheet, row) for _, row in sheet.methods.iterrows()]
    end = draw_table(figure, top - 0.015, columns, rows, 0.0235)
    note = (
        f"▼: worse than before, than with the actual holders, or than by chance (mean of {sheet.meta['random_draws']} random "
        "matchings); below four fifths for selection, the smallest over the largest share of a group's candidates who are "
        f"chosen. Range: of fitness; 0 is the smallest, 100 % the largest of matchings that fill as many. r: Newman's assortativity "
        f"of {sheet.meta['attribute']}, 0 is mixed. Alone: without a neighbour of their class; minority: the smallest class. Rarest: "
        "share of the rarest class in Louvain communities, mean. Ties, cores: smallest over largest mean of a class. Across: ties "
        "between classes."
    )
    write(figure, 0.05, end - 0.020, wrap(note, 190), size=7.5, colour=SOFT, vertical="top")
    return figure


def _row(sheet: FaireaSheet, row: pd.Series) -> list[str]:
    """Cells of a method; what it makes worse is marked."""
    name = str(row["method"])
    worse = set() if name in (BEFORE, RANDOM) else {harm.measure.column for harm in harms(sheet, name)}
    cells = [f"{name} (mean of {sheet.meta['random_draws']})" if name == RANDOM else name]
    for column, _, _, shown in COLUMNS:
        value = row.get(column, float("nan"))
        cells.append("–" if pd.isna(value) else shown(float(value)) + (WORSE if column in worse else ""))
    return cells


def measures_table(sheet: FaireaSheet) -> pd.DataFrame:
    """Every measure by method under headings in words, with what each makes worse."""
    names = {"method": "method", **{column: label for column, label, _, _ in COLUMNS}} | {each.column: each.label for each in MEASURES}
    table = sheet.methods[[name for name in names if name in sheet.methods]].rename(columns=names)
    table["makes worse"] = [
        "" if name in (BEFORE, RANDOM) else "; ".join(harm.measure.label for harm in harms(sheet, name)) for name in table["method"]
    ]
    return table


def answer_table(sheet: FaireaSheet) -> pd.DataFrame:
    """Who goes where by the method that answers, with the reason, under headings in words."""
    names = {"position": "position", "candidate": "candidate", "class": "class", "fitness": "fitness", "rank": "rank among the qualified",
             "qualified": "how many qualify", "runner_up": "runner-up", "reason": "why"}  # fmt: skip
    part = sheet.placements[sheet.placements["method"] == sheet.meta["answer"]]
    return part[list(names)].rename(columns=names)


def placement_pages(sheet: FaireaSheet) -> list[Figure]:
    """Who goes where and why, some pages of it; the rest is in the table."""
    table = answer_table(sheet)
    parts = [table.iloc[start : start + ROWS] for start in range(0, len(table), ROWS)]
    columns: tuple[Column, ...] = (
        ("position", 0.05, "left"), ("candidate", 0.16, "left"), ("class", 0.27, "left"), ("fitness", 0.42, "right"),
        ("why this candidate, and what the runner-up would change", 0.44, "left"),
    )  # fmt: skip
    figures = []
    for part in parts[:MOST_PAGES]:
        figure = page("Who goes where", f"by the method {sheet.meta['answer']}; {len(table)} positions")
        rows = [
            [cut(row["position"], 16), cut(row["candidate"] or "stays open", 16), cut(row["class"], 22),
             "–" if pd.isna(row["fitness"]) else f"{row['fitness']:.2f}", cut(row["why"], 100)]
            for _, row in part.iterrows()
        ]  # fmt: skip
        draw_table(figure, 0.865, columns, rows, 0.028)
        figures.append(figure)
    if len(parts) > MOST_PAGES:
        told = f"the other {len(table) - MOST_PAGES * ROWS} are in who_goes_where.csv"
        write(figures[-1], 0.95, 0.905, told, size=9, colour=WARNING, align="right")
    return figures
