"""Pages of a compression: each layer before and after, and how its ratio was chosen."""

import textwrap

from matplotlib.figure import Figure

from xbar.reports.compression_sheet import CompressionSheet, given_back_text, tries_text
from xbar.reports.style import ROW_HEIGHT, SOFT, Column, cut, draw_table, human, page, percent, write

LAYERS_PER_PAGE = 24


def layer_tables(sheet: CompressionSheet) -> list[Figure]:
    """One row a layer, before and after, and how the ratios were chosen, where that has room."""
    return layer_pages(sheet)[0]


def layer_pages(sheet: CompressionSheet) -> tuple[list[Figure], float]:
    """The pages of layers, and where the last one's tables end."""
    columns: tuple[Column, ...] = (
        ("layer", 0.05, "left"),
        ("rows kept", 0.265, "right"),
        ("columns kept", 0.385, "right"),
        ("weights", 0.525, "right"),
        ("bits", 0.595, "right"),
        ("arrays", 0.685, "right"),
        ("pruned only", 0.765, "right"),
        ("energy", 0.95, "right"),
    )
    rows = [
        [
            cut(str(name), 24),
            f"{int(r['outputs_after'])} of {int(r['outputs_before'])}",
            f"{int(r['inputs_after'])} of {int(r['inputs_before'])}",
            f"{int(r['weights_before']):,} → {int(r['weights_after']):,}",
            f"{int(r['bits_before'])} → {int(r['bits_after'])}",
            f"{int(r['arrays_before'])} → {int(r['arrays_after'])}",
            f"{int(r['arrays_pruned'])}",
            f"{human(r['energy_before_J'], 'J')} → {human(r['energy_after_J'], 'J')}",
        ]
        for name, r in sheet.layers.iterrows()
    ]
    totals = sheet.layers.sum()
    rows.append(
        [
            "all",
            "",
            "",
            f"{int(totals['weights_before']):,} → {int(totals['weights_after']):,}",
            "",
            f"{int(totals['arrays_before'])} → {int(totals['arrays_after'])}",
            f"{int(totals['arrays_pruned'])}",
            f"{human(totals['energy_before_J'], 'J')} → {human(totals['energy_after_J'], 'J')}",
        ]
    )
    subtitle = (
        "rows: outputs; columns: inputs; pruned only: arrays at the bits before; energy: dynamic, of an inference; "
        "damage: the loss's change, squared"
    )
    figures = []
    for first in range(0, len(rows), LAYERS_PER_PAGE):
        figure = page("Layers before and after", subtitle)
        end = draw_table(figure, 0.845, columns, rows[first : first + LAYERS_PER_PAGE])
        figures.append(figure)
    steps = sheet.steps
    room = int((end - 0.16) / ROW_HEIGHT)
    if len(steps) and room > 3:
        targets = [name for name in ("area", "power", "weights") if name in steps]
        columns = (
            ("how the ratios were chosen: round", 0.05, "left"),
            ("layer", 0.31, "left"),
            ("filters", 0.47, "right"),
            ("inputs", 0.55, "right"),
            ("damage", 0.67, "right"),
            *((f"{t} left", 0.77 + 0.09 * i, "right") for i, t in enumerate(targets)),
        )
        cells = [
            [
                str(int(r["round"])) if r.get("step", "cut") in ("cut", "bits") else str(r["step"]),
                cut(str(r["layer"]), 18),
                *((str(int(r["filters"])), str(int(r["inputs"]))) if r["filters"] else ("", "")),  # bits have neither
                f"{r['damage']:.1e}",
                *(percent(r[t]) for t in targets),
            ]
            for _, r in steps.iterrows()
        ]
        if len(cells) > room:
            half = room // 2
            left_out = f"{len(cells) - room + 1} rows more in steps.csv"
            cells = [*cells[:half], ["…", left_out, *[""] * (len(columns) - 2)], *cells[len(cells) - room + half + 1 :]]
        end = draw_table(figures[-1], end - 0.07, columns, cells)
    if used := given_back_text(sheet.meta):
        used = f"{used} Damage below 0: what came back is estimated to gain so much. {tries_text(sheet.meta)}"
        used = "\n".join(textwrap.wrap(used, 190))
        write(figures[-1], 0.05, end - 0.016, used, size=7.5, colour=SOFT, vertical="top")
        end -= 0.016 * (used.count("\n") + 1)
    return figures, end
