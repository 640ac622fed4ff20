"""What repairs the errors of chips, and at what energy."""

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.fairea_words import band, chip_text, noise_row, share_band, wrap
from xbar.reports.style import ACCENT, INK, SOFT, Column, draw_table, human, page, percent, plain_decimals, plot, write


def bettered_text(sheet: FaireaSheet) -> str:
    """Which repairs another one betters at no more energy, its intervals apart; "" where none does."""
    costs = sheet.costs.set_index("label")
    energy = costs["energy_J"] + costs["writing_J"]
    changed = {label: noise_row(sheet, "changed", "chip", "judged" if label == "as judged" else "repair", label) for label in costs.index}
    by: dict[str, list[str]] = {}
    for label in costs.index:
        better = [other for other in costs.index if energy[other] <= energy[label] and changed[other]["high"] < changed[label]["low"]]
        if better:
            by.setdefault(min(better, key=lambda other: (changed[other]["mean"], energy[other])), []).append(label)
    told = [f"{best} ({human(energy[best], 'J')}) than {', '.join(others)}" for best, others in by.items()]
    first = "Of all pairs of this opening and of writing, at no more energy, fewer positions change, intervals apart, with "
    return f"{first}{'; with '.join(told)}." if told else ""


def repairs(sheet: FaireaSheet) -> Figure:
    """What helps, and what it takes."""
    m, costs = sheet.meta, sheet.costs
    figure = page("What repairs it, and at what energy", f"{chip_text(sheet)}; FairEA; 95 % intervals over chips")
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
                share_band(found["changed"]),
                band(found["shift_gap"], sign=True),
                band(found["selection_ratio"]),
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
    note = "\n".join([wrap(note, 180), *([wrap(bettered, 180)] if (bettered := bettered_text(sheet)) else [])])
    write(figure, 0.05, end - 0.025, note, size=8, colour=SOFT, vertical="top")
    height = end - 0.265
    panels = ((0.200, 2, "Positions with another candidate"), (0.465, 3, "Error of logits"), (0.730, 1, "Energy of a filled position"))
    for left, number, title in panels:
        axes = plot(figure, (left, 0.11, 0.220, height), title, "x")
        for place, entry in enumerate(shown):
            look = {"color": INK if place == 0 else ACCENT, "marker": "D" if place == 0 else "o", "markersize": 5, "linewidth": 0}
            if number == 1:
                axes.plot([entry[1] * 1e9], [place], **look)
            else:
                row = entry[number]
                ends = [100 * row["low"], 100 * row["high"]]
                axes.plot(ends, [place, place], color=look["color"], linewidth=1.2, marker="|", markersize=5)
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
