"""Fair assignment end to end: networks from anywhere, every method, the chip, all pages."""

import json
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest

from xbar.hw import load_chip
from xbar.reports.fairea import draw_fairea
from xbar.reports.fairea_sheet import BEFORE, FaireaSheet
from xbar.workloads.fairea.networks import embedded
from xbar.workloads.fairea.problem import FaireaError
from xbar.workloads.fairea.run import FaireaStudy, load_network, run_fairea

TINY = FaireaStudy(
    share=0.2, instances=2, openings=4, pairs=400, epochs=1, sigmas=(0.1,), adc_bits=(6,), times=(3600.0,), reads=(2,),
    minority_shares=(0.3,),
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaireaSheet, Path]:
    out = tmp_path_factory.mktemp("fairea")
    steps: list[str] = []
    sheet = run_fairea(None, load_chip("edge"), out, TINY, steps.append)
    assert any("write-verify" in step for step in steps)
    sheet.save(out)
    return sheet, out


def test_a_run_leaves_every_page_and_table(done: tuple[FaireaSheet, Path]) -> None:
    _, out = done
    draw_fairea(FaireaSheet.load_from(out), out)
    for name in ("", "_network", "_front", "_placements_1", "_chip", "_noise", "_sweeps", "_repairs", "_method"):
        assert (out / f"report{name}.png").stat().st_size > 20_000
    assert (out / "report.pdf").stat().st_size > 20_000
    assert "Fair assignment on Edge" in (out / "summary.txt").read_text("utf-8")
    assert json.loads((out / "fairea.json").read_text("utf-8"))["network"] == "karate"
    assert not list(out.glob("*.part"))


def test_methods_agree_with_each_other(done: tuple[FaireaSheet, Path]) -> None:
    sheet, out = done
    methods = sheet.methods.set_index("method").drop(index=BEFORE)
    assert (methods["fitness"] <= methods.loc["largest fitness", "fitness"] + 1e-9).all()
    assert (methods["fitness"] >= methods.loc["smallest fitness", "fitness"] - 1e-9).all()
    assert methods.loc["improved", "fitness"] >= methods.loc["FairEA", "fitness"] - 1e-9
    assert methods.loc["improved", "abs_assortativity"] <= methods.loc["FairEA", "abs_assortativity"] + 1e-9
    assert (methods["unfilled"] == 0).all()
    # those who really held the positions give the network's own assortativity back
    graph, attribute = embedded("karate")
    own = nx.attribute_assortativity_coefficient(graph, attribute)
    assert methods.loc["actual holders", "assortativity"] == pytest.approx(own)
    assert sheet.meta["r_full"] == pytest.approx(own)
    assert sheet.meta["gap"] == pytest.approx(0.0, abs=0.01)
    assert 0 <= sheet.meta["gap_fairea"] <= 1
    given = pd.read_csv(out / "assignments.csv")
    totals = given.groupby("method")["fitness"].sum()
    assert totals["FairEA"] == pytest.approx(methods.loc["FairEA", "fitness"])
    assert not given.duplicated(["method", "candidate"]).any()


def test_the_drawing_shows_who_holds_what(done: tuple[FaireaSheet, Path]) -> None:
    sheet, _ = done
    nodes, open_ones = sheet.nodes, sheet.nodes["open"]
    assert open_ones.sum() == sheet.meta["open"] == int(0.2 * 34)
    assert (nodes.loc[open_ones, "before"] == "").all()
    assert (nodes.loc[~open_ones, "before"] == nodes.loc[~open_ones, "fairea"]).all()
    graph, attribute = embedded("karate")
    assert list(nodes["actual"]) == [graph.nodes[u][attribute] for u in graph]
    assert len(sheet.edges) == graph.number_of_edges()


def test_costs_name_every_repair(done: tuple[FaireaSheet, Path]) -> None:
    costs = done[0].costs.set_index("label")
    assert costs.loc["mean of 2 reads", "energy_J"] == pytest.approx(2 * costs.loc["as judged", "energy_J"])
    assert costs.loc["write-verify", "writing_J"] > costs.loc["as judged", "writing_J"]
    assert costs.loc["1 bit a cell", "energy_J"] > costs.loc["as judged", "energy_J"]


def test_the_same_seed_gives_the_same_numbers(done: tuple[FaireaSheet, Path], tmp_path: Path) -> None:
    sheet, _ = done
    again = run_fairea("karate", load_chip("edge"), tmp_path, TINY)
    for name in ("methods", "noise", "costs", "openings", "pools", "nodes"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(sheet, name))
    assert {**again.meta, "seconds": 0} == {**sheet.meta, "seconds": 0}


def organisation(folder: Path) -> Path:
    graph, _ = embedded("karate")
    pd.DataFrame(graph.edges(), columns=["source", "target"]).to_csv(folder / "edges.csv", index=False)
    rows = [{"id": u, "age": 20 + u, "club": club, "gender": "female" if u % 3 else "male"} for u, club in graph.nodes("club")]
    pd.DataFrame(rows).to_csv(folder / "nodes.csv", index=False)
    return folder


def test_networks_come_from_names_folders_and_graphml(tmp_path: Path) -> None:
    assert load_network(None)[1:] == ("club", "karate")
    assert load_network("florentine")[1:] == ("wealth", "florentine")
    graph, attribute, name = load_network(organisation(tmp_path))
    assert (attribute, name, len(graph)) == ("gender", tmp_path.name, 34)
    assert load_network(tmp_path, "club")[1] == "club"
    graph.graph.clear()
    for u in graph:
        del graph.nodes[u]["gender"]
    nx.write_graphml(graph, tmp_path / "club.graphml")
    assert load_network(tmp_path / "club.graphml")[1:] == ("club", "club")  # age has too many values


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FaireaError, match="must be a folder, a GraphML file"):
        load_network(tmp_path / "nothing")
    with pytest.raises(FaireaError, match="attribute"):
        load_network(organisation(tmp_path), "region")
    for wrong in ({"share": 1.0}, {"instances": 1}, {"reads": (1,)}, {"sigmas": (float("nan"),)}, {"minority_shares": (0.7,)}):
        with pytest.raises(FaireaError, match=next(iter(wrong))):
            FaireaStudy(**wrong)  # type: ignore[arg-type]
    quick = FaireaStudy().quick()
    assert quick.instances < FaireaStudy().instances
    assert not quick.minority_shares
