"""Every measure by method on a network, and what the verdict makes of it."""

from pathlib import Path

import pandas as pd
import pytest

from xbar.reports.fairea_sheet import BEFORE, HOLDERS, RANDOM
from xbar.reports.fairea_verdict import MEASURES, SELECTION
from xbar.workloads.fairea.all_networks import KEY, known_of, one
from xbar.workloads.fairea.harmless import FOUR_FIFTHS
from xbar.workloads.fairea.networks import embedded


def test_what_other_code_measured_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "networks.csv", tmp_path / "verdicts.csv"
    assert all(table.empty for table in known_of(*files))
    monkeypatch.setattr("xbar.workloads.fairea.all_networks.code_version", lambda: "a" * 64)
    rows = [dict(zip(KEY, (name, "club", 0.3, pool), strict=True)) for name, pool in (("one", 1), ("one", 2), ("two", 1))]
    pd.DataFrame([row | {"method": method} for row in rows for method in ("FairEA", "random")]).to_csv(files[0], index=False)
    verdicts = pd.DataFrame(rows)
    verdicts.assign(code=["a" * 16, "b" * 16, "a" * 16]).to_csv(files[1], index=False)
    networks, known = known_of(*files)
    assert known[["network", "pool"]].to_numpy().tolist() == [["one", 1], ["two", 1]]
    assert networks[["network", "pool"]].to_numpy().tolist() == [["one", 1]] * 2 + [["two", 1]] * 2
    verdicts.to_csv(files[1], index=False)  # of code that did not say which it was
    assert all(table.empty for table in known_of(*files))


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
