"""Every measure by method on a network, and what the verdict makes of it."""

import pandas as pd

from xbar.reports.fairea_sheet import BEFORE, HOLDERS, RANDOM
from xbar.reports.fairea_verdict import MEASURES, SELECTION
from xbar.workloads.fairea.all_networks import one
from xbar.workloads.fairea.harmless import FOUR_FIFTHS
from xbar.workloads.fairea.networks import embedded


def test_the_verdict_agrees_with_the_table() -> None:
    graph, attribute = embedded("florentine")
    table, told = one(graph, attribute, "florentine", 0.3, 2)
    rows = table.set_index("method")
    references = [name for name in (BEFORE, HOLDERS, RANDOM) if name in rows.index]
    for method in set(rows.index) - {*references, "smallest fitness"}:
        named = {name for name in rows.loc[method, "worse"].split("; ") if name}
        worse = {each.column for each in MEASURES if each is not SELECTION
                 and any(each.worse(rows.loc[method, each.column], rows.loc[other, each.column]) for other in references)}  # fmt: skip
        worse |= {SELECTION.column} if rows.loc[method, SELECTION.column] < FOUR_FIFTHS - 1e-9 else set()
        assert named == worse
    assert told["verdict"].startswith("FairEA as published makes")
    assert ("no measure" in told["verdict"]) == (rows.loc["FairEA", "worse"] == "")
    assert told["four_fifths"] in ("met", "proved infeasible")
    assert pd.isna(rows.loc[BEFORE, "fitness_normalised"])
