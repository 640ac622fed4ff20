"""Fair assignment: its pages, drawn from the tables of a run."""

import textwrap
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from xbar.reports.fairea_answer import answer_table, measures_table, placement_pages, summary, verdict
from xbar.reports.fairea_cost import cost
from xbar.reports.fairea_front import front
from xbar.reports.fairea_method import method
from xbar.reports.fairea_network import network
from xbar.reports.fairea_noise import noise
from xbar.reports.fairea_repairs import repairs
from xbar.reports.fairea_sheet import FaireaSheet, table_names
from xbar.reports.fairea_sweeps import sweeps
from xbar.reports.fairea_verdict import harms
from xbar.reports.fairea_words import cost_text, method_row, noise_text, title, wider_text
from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import write_text
from xbar.reports.style import page, percent, sections


def chip(sheet: FaireaSheet) -> Figure:
    """What chips do to people, in words."""
    figure = page("On chips", "what the errors of chips do to people, and what scoring takes")
    told = {"Who": noise_text(sheet), "Openings": wider_text(sheet), "Energy": cost_text(sheet)}
    sections(figure, {name: text for name, text in told.items() if text})
    return figure


ON_CHIP: dict[str, Callable[[FaireaSheet], Figure]] = {"chip": chip, "noise": noise, "sweeps": sweeps, "repairs": repairs}


def draw_fairea(sheet: FaireaSheet, directory: Path) -> list[Path]:
    """Write report.pdf, report.html, a PNG a page, summary.txt, and who_goes_where.csv and measures.csv, with headings in words;
    their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {"report": summary(sheet)}
    drawn |= {f"report_placements_{number}": figure for number, figure in enumerate(placement_pages(sheet), 1)}
    drawn |= {"report_cost": cost(sheet)} if len(sheet.curve) else {}
    drawn |= {"report_front": front(sheet), "report_network": network(sheet)}
    drawn |= {f"report_{name}": draw(sheet) for name, draw in ON_CHIP.items()} if sheet.on_chip else {}
    drawn["report_method"] = method(sheet)
    m = sheet.meta
    chips = f"  ·  chip {m['chip']}" if sheet.on_chip else ""
    footer = f"xbar {m['version']}  ·  fair assignment  ·  {m['network']}, {m['attribute']}{chips}"
    told = {"who_goes_where": answer_table(sheet), "measures": measures_table(sheet)}
    document = Document(
        title(sheet), "\n".join(texts(sheet)), drawn, footer, headlines=headlines(sheet),
        tables=told | {name: getattr(sheet, name) for name in table_names()}, record=Record.load(directory),
    )  # fmt: skip
    paths = save_document(document, directory / "report.pdf")
    for name, table in told.items():
        write_text(directory / f"{name}.csv", table.to_csv(index=False))
    write_text(directory / "summary.txt", summary_text(sheet))
    return [*paths, *(directory / f"{name}.csv" for name in told), directory / "summary.txt"]


def texts(sheet: FaireaSheet) -> list[str]:
    """The verdict, a paragraph each, with what chips do where they were asked."""
    return verdict(sheet) + ([text for text in (noise_text(sheet), wider_text(sheet), cost_text(sheet)) if text] if sheet.on_chip else [])


def headlines(sheet: FaireaSheet) -> list[tuple[str, str, str]]:
    """The numbers that count most, of FairEA and of the method that answers."""
    found = []
    for name in dict.fromkeys((sheet.meta["answer"], "FairEA")):
        row = method_row(sheet, name)
        worse = len(harms(sheet, name))
        found += [
            (f"{name}: fitness", percent(row["fitness_normalised"], 0), "of its range"),
            (f"{name}: |r|", f"{row['abs_assortativity']:.3f}", f"selection ratio {row['selection_ratio']:.2f}"),
            (f"{name}: made worse", str(worse), "of the measures on the first page"),
        ]
    return found


def summary_text(sheet: FaireaSheet) -> str:
    """The headline numbers as plain text."""
    lines = [title(sheet), ""]
    for text in texts(sheet):
        lines += [*textwrap.wrap(text, 110), ""]
    head = ("fitness", "range", "|r|", "selection", "alone", "unfilled")
    lines.append(f"{'method':38}" + "".join(f"{name:>10}" for name in head))
    for _, row in sheet.methods.iterrows():
        cells = (
            f"{row['fitness']:.3f}", f"{row['fitness_normalised']:.3f}", f"{row['abs_assortativity']:.3f}", f"{row['selection_ratio']:.2f}",
            f"{row['isolated_members']:.0f}", f"{row['unfilled']:.0f}",
        )  # fmt: skip
        lines.append(f"{row['method']:38}" + "".join(f"{'' if cell == 'nan' else cell:>10}" for cell in cells))
    lines += ["", *(f"{text}." for text in sheet.meta["told"]), *(f"Left out: {text}." for text in sheet.meta["left_out"])]
    if "test_correlation" in sheet.meta:
        lines += ["", f"Scores and truth correlate by {sheet.meta['test_correlation']:.3f} on pairs not learned from."]
    return "\n".join(lines).replace("\u00a0", " ").rstrip() + "\n"
