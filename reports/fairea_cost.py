"""What it costs in fitness to be fairer, by how much: a curve a measure, with the answer and FairEA on it."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.fairea_words import limits_text, method_row, share_of_range, wrap
from xbar.reports.style import ACCENT, INK, PAPER, SECOND, SOFT, WARNING, page, plot, write

MEASURES = {
    "distance": ("abs_assortativity", "|r|", "at most"),
    "selection": ("selection_ratio", "ratio of selection rates", "at least"),
    "isolated": ("isolated_members", "members alone", "at most"),
}


def cost(sheet: FaireaSheet) -> Figure:
    """Largest fitness against a limit on one measure, the others free."""
    figure = page("What fairness costs", "the largest fitness within a limit on one measure, the others free")
    share = share_of_range(sheet)
    told = []
    for left, (name, (column, label, way)) in zip((0.085, 0.395, 0.705), MEASURES.items(), strict=True):
        part = sheet.curve[sheet.curve["measure"] == name]
        axes = plot(figure, (left, 0.40, 0.245, 0.42), label[0].upper() + label[1:], "both")
        known = part.dropna(subset=["fitness"])
        axes.step(known["limit"], share(known["fitness"]), "-", where="post", color=ACCENT, linewidth=1.8, zorder=2)
        for exact, face in ((True, ACCENT), (False, PAPER)):
            some = known[known["exact"] == exact]
            axes.plot(some["limit"], share(some["fitness"]), "o", color=ACCENT, markerfacecolor=face, markersize=6, zorder=3,
                      label="largest" if exact else "found, not proved largest")  # fmt: skip
        for method, colour, marker, size in (("FairEA", SECOND, "D", 8), (sheet.meta["answer"], INK, "*", 15)):
            row = method_row(sheet, method)
            axes.plot(row[column], row["fitness_normalised"], marker, color=colour, markersize=size, markeredgecolor=PAPER, zorder=5,
                      label=method if method == "FairEA" else f"the answer: {method}")  # fmt: skip
        for _, row in part[part["fitness"].isna()].iterrows():
            axes.axvline(row["limit"], color=WARNING, linewidth=1, linestyle=":")
            told.append(f"{label} {way} {row['limit']:.3g}: {'proved to be out of reach' if row['exact'] else 'none found'}")
        first, last = axes.get_xlim()
        room = max(0.0, 0.5 - (last - first) / 2) if name == "isolated" else 0.0
        axes.set_xlim(*((first, last) if name == "selection" else (last + room, first - room)))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=name == "isolated"))
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, 1, symbol="\u00a0%"))
        axes.set_xlabel(f"{way} (fairer to the right)", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(-0.75, -0.16), ncols=4)
    write(figure, 0.05, 0.26, wrap(limits_text(sheet), 160), size=9.5, vertical="top")
    beyond = "; ".join(told)
    note = (
        "Fitness as a share of its range over matchings that fill as many positions. Filled marks: the largest there is, by HiGHS or the "
        f"exact front; between them no more than the line. Dotted: a limit that nothing keeps. {beyond}{'.' if told else ''}"
    )
    write(figure, 0.05, 0.11, wrap(note, 180), size=8, colour=SOFT, vertical="top")
    return figure

