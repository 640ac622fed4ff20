"""An organisation's own files: as people have them, wrong ones named by file, line, column and value; the answer to its question."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from xbar.hw import load_chip
from xbar.reports.fairea import draw_fairea, summary_text
from xbar.workloads.cli import main
from xbar.workloads.fairea.answer import answer, groups, measures, placements
from xbar.workloads.fairea.networks import read_graphml, read_organisation
from xbar.workloads.fairea.own import Case, OwnFiles, read_case
from xbar.workloads.fairea.problem import FaireaError
from xbar.workloads.fairea.run import FaireaStudy, run_fairea
from xbar.workloads.fairea.tables import read_table
from xbar.workloads.fairea.templates import write_templates

NODES = "id,gender,site,salary\na,woman,north,91001\nb,man,north,91002\nc,man,south,91003\nd,,,91004\ne,woman,south,91005\nf,,,91006\n"
EDGES = "source,target\na,b\nb,c\nc,d\nd,e\ne,a\nf,a\nf,b\n"
PEOPLE = "id,gender,site,age\nx,woman,north,88001\ny,man,south,88002\nz,man,north,88003\n"
FITNESS = "position,candidate,fitness\nd,x,0.9\nd,y,0.7\nf,x,0.6\nf,z,0.5\n"


def folder(at: Path, **texts: str) -> Path:
    files = {"nodes": NODES, "edges": EDGES, "candidates": PEOPLE, "fitness": FITNESS} | texts
    for name, text in files.items():
        if text:
            (at / f"{name}.csv").write_text(text, "utf-8")
    return at


def with_outcomes(at: Path) -> list[str]:
    """A folder whose fitness is learned; the rows of its outcomes."""
    rng = np.random.default_rng(1)
    skill, hard = rng.normal(size=(2, 200))
    rows = [f"{s:.3f},{h:.3f},{int(s > h)},{rng.integers(2)}" for s, h in zip(skill, hard, strict=True)]
    people = "id,gender,skill\n" + "".join(f"{who},{sex},{s}\n" for who, sex, s in (("x", "woman", 2), ("y", "man", 0), ("z", "man", -2)))
    folder(at, fitness="", candidates=people, outcomes="\n".join(["skill,hardness,outcome,gender", *rows]),
           positions="position,hardness\nd,0\nf,1\n")  # fmt: skip
    return rows


def case(at: Path, *attributes: str, **given: object) -> Case:
    return read_case(OwnFiles(at, **given), attributes or ("gender",))  # type: ignore[arg-type]


def test_vacancies_are_filled_by_the_given_candidates(tmp_path: Path) -> None:
    found = case(folder(tmp_path))
    assert found.problem.open_positions == ("d", "f")
    assert found.problem.candidates == {"x": "woman", "y": "man", "z": "man"}
    np.testing.assert_array_equal(found.problem.weights, [[0.9, 0.7, np.nan], [0.6, np.nan, 0.5]])
    told = answer(found.problem)
    assert "actual holders" not in told.found
    assert told.found["largest fitness"].pairs == {"d": "x", "f": "z"}
    assert "2 positions have no gender, and are taken for open ones" in found.told


def test_files_as_people_have_them(tmp_path: Path) -> None:
    """A mark at the beginning, semicolons, decimal commas, spaces, empty lines and columns, Gephi's headings."""
    folder(tmp_path)
    (tmp_path / "nodes.csv").write_bytes(b"\xef\xbb\xbf" + NODES.replace(",", ";").replace("id;", "Id;").encode())
    (tmp_path / "edges.csv").write_text("Source,Target,Type,Id,Weight,\n" + "".join(
        f"{line},Undirected,{n},1.0,\n" for n, line in enumerate(EDGES.split()[1:])) + ",,,,,\n", "utf-8")  # fmt: skip
    (tmp_path / "fitness.csv").write_text("candidate; d ;f\r\nx;0,9;0,6\r\n\r\ny; 0,7;\r\nz;;0,5\r\n", "utf-8")
    np.testing.assert_array_equal(case(tmp_path).problem.weights, [[0.9, 0.7, np.nan], [0.6, np.nan, 0.5]])


@pytest.mark.parametrize("form", ["position,x,y,z\nd,0.9,0.7,\nf,0.6,,0.5\n", "candidate\td\tf\nx\t0.9\t0.6\ny\t0.7\t\nz\t\t0.5\n"])
def test_fitness_may_be_a_matrix(form: str, tmp_path: Path) -> None:
    weights = case(folder(tmp_path, fitness=form)).problem.weights
    np.testing.assert_array_equal(weights, [[0.9, 0.7, np.nan], [0.6, np.nan, 0.5]])


def test_thresholds_and_named_positions(tmp_path: Path) -> None:
    nodes = NODES.replace("d,,", "d,man,south").replace("f,,", "f,woman,north")
    folder(tmp_path, nodes=nodes, positions="position\nf\nd\n", edges=EDGES.replace("\n", ",1\n").replace("target,1", "target,weight"))
    found = case(tmp_path, least_fitness=0.6, least_weight=1)
    assert found.problem.open_positions == ("f", "d")
    np.testing.assert_array_equal(found.problem.weights, [[0.6, np.nan, np.nan], [0.9, 0.7, np.nan]])
    assert any("1 of 3 candidates qualify for no position" in text for text in found.told)
    with pytest.raises(FaireaError, match="nobody qualifies"):
        case(tmp_path, least_fitness=2)


def test_intersections_are_classes_and_each_attribute_is_told(tmp_path: Path) -> None:
    found = case(folder(tmp_path), "gender", "site")
    assert found.attribute == "gender & site"
    assert found.problem.classes == {"a": "woman & north", "b": "man & north", "c": "man & south", "e": "woman & south"}
    table = groups(answer(found.problem), found.by_attribute)
    assert set(table["attribute"]) == {"gender", "site", "gender & site"}
    fit = table[(table["method"] == "largest fitness") & (table["attribute"] == "gender")].set_index("group")
    assert fit.loc["man", ["candidates", "chosen", "rate"]].tolist() == [2, 1, 0.5]


def test_one_class_may_hire_another(tmp_path: Path) -> None:
    found = case(folder(tmp_path, nodes=NODES.replace("woman", "man")))
    table = measures(answer(found.problem)).set_index("method")
    assert np.isnan(table.loc["filled positions before", "assortativity"])  # one class alone
    assert np.isfinite(table.loc["FairEA", "assortativity"])


WRONG = [
    ({"fitness": FITNESS + "d,q,0.5\n"}, r"fitness\.csv, line 6, candidate = 'q': must be an id of the candidates"),
    ({"fitness": FITNESS + "a,x,0.5\n"}, r"fitness\.csv, line 6, position = 'a': must be an open position"),
    ({"fitness": FITNESS + "d,x,0.5\n"}, r"fitness\.csv, line 6, candidate = 'x': position d .* must not be given twice"),
    ({"fitness": FITNESS + "f,y,high\n"}, r"fitness\.csv, line 6, fitness = 'high': must be a finite number"),
    ({"fitness": "who,what\nd,x\n"}, r"fitness\.csv, header .*must be position, candidate, fitness, or a matrix"),
    ({"fitness": "position,x,x\nd,1,2\n"}, r"fitness\.csv, header = 'x': a heading must not be given twice"),
    ({"candidates": PEOPLE + "x,man,south,1\n"}, r"candidates\.csv, line 5, id = 'x': must not be given twice"),
    ({"candidates": PEOPLE + "w,,south,1\n"}, r"candidates\.csv, line 5, gender = '': must not be empty"),
    ({"candidates": PEOPLE + "w,Woman,south,1\n"}, r"candidates\.csv, line 5, gender = 'Woman': .* 'woman' elsewhere"),
    ({"candidates": "id,sex\nx,f\n"}, r"candidates\.csv, header .*needs a column 'gender'"),
    ({"candidates": ""}, r"candidates\.csv .*is needed"),
    ({"fitness": ""}, "fitness.csv .*is needed"),
    ({"nodes": NODES.replace("c,man", "c,")}, r"nodes\.csv, line 4, gender = '': a filled position needs a class.*id c"),
    ({"nodes": NODES.replace("salary", "gender")}, r"nodes\.csv, header = 'gender': a heading must not be given twice"),
    ({"nodes": NODES.replace("d,,", "d,man,south").replace("f,,", "f,man,south")}, "no position is open"),
    ({"positions": "position\nq\n"}, r"positions\.csv, line 2, position = 'q': must be a position of the network"),
]


@pytest.mark.parametrize(("files", "told"), WRONG)
def test_what_is_wrong_is_named_and_nobodys_other_columns(files: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(FaireaError, match=told) as error:
        case(folder(tmp_path, **files), "gender", "site")
    assert not any(private in str(error.value) for private in ("9100", "8800"))


def test_attributes_may_have_any_name(tmp_path: Path) -> None:
    folder(tmp_path, nodes=NODES.replace("gender,site", "self,node_for_adding"))
    assert read_organisation(tmp_path).nodes["a"]["self"] == "woman"
    graph = nx.Graph([("a", "b")])
    graph.nodes["a"].update({"self": "woman", "node_for_adding": "north"})
    nx.write_graphml(graph, tmp_path / "any.graphml")
    assert read_graphml(tmp_path / "any.graphml").nodes["a"]["node_for_adding"] == "north"


def test_what_is_done_with_directions_and_weights_is_said(tmp_path: Path) -> None:
    folder(tmp_path, edges="source,target,weight\na,b,3\nb,a,1\nb,c,1\nb,c,2\n")
    assert read_organisation(tmp_path).graph["ties"] == (
        "4 rows of edges are 2 ties, each counted once and both ways; 1 of them were given in both directions; weights are of no effect"
    )
    assert set(map(frozenset, read_organisation(tmp_path, 2).edges())) == {frozenset("ab"), frozenset("bc")}
    with pytest.raises(FaireaError, match="needs a column 'weight'"):
        read_organisation(folder(tmp_path), 2)


def test_a_template_is_a_whole_question_and_is_not_written_over(tmp_path: Path) -> None:
    write_templates(tmp_path / "new")
    found = case(tmp_path / "new", "gender", "department")
    assert len(found.problem.open_positions) == 6
    assert "--data" in (tmp_path / "new/README.txt").read_text("utf-8")
    with pytest.raises(FaireaError, match=r"nodes\.csv.*already"):
        write_templates(tmp_path / "new")


def test_every_choice_has_its_reason(tmp_path: Path) -> None:
    found = case(folder(tmp_path))
    table = placements("largest fitness", answer(found.problem).found["largest fitness"]).set_index("position")
    assert table.loc["d", "reason"].startswith("fittest of 2 who qualify; with y fitness -0.20")
    assert table.loc["d", "selection_ratio_change"] == pytest.approx(-0.5)  # a half of the men and all women; all men, no woman
    assert table.loc["f", "runner_up"] == ""
    assert "nobody else can be put here" in table.loc["f", "reason"]


def test_fitness_is_learned_from_outcomes(tmp_path: Path) -> None:
    rows = with_outcomes(tmp_path)
    found = case(tmp_path)
    assert found.learned is not None
    assert found.learned.auc > 0.9
    assert (np.diff(found.problem.weights, axis=1) < 0).all()  # more skill, more fitness
    assert (np.diff(found.problem.weights, axis=0) < 0).all()  # harder, less
    assert found.learned.candidates.shape[1] == 1  # not the gender
    for broken, told in ((rows[:9], "needs 50 rows"), ([*rows, "0,0,7,1"], r"line 202, outcome = '7': must be from 0")):
        (tmp_path / "outcomes.csv").write_text("\n".join(["skill,hardness,outcome,gender", *broken]), "utf-8")
        with pytest.raises(FaireaError, match=told):
            case(tmp_path)


def test_broken_quotes_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('id\n"a\n', "utf-8")
    with pytest.raises(FaireaError, match="must be CSV"):
        read_table(tmp_path / "x.csv")


@pytest.mark.usefixtures("sketched")
def test_learned_fitness_is_put_on_chips(tmp_path: Path) -> None:
    with_outcomes(tmp_path)
    study = FaireaStudy(attributes=("gender",), instances=2, sigmas=(0.1,), adc_bits=(6,), times=(3600.0,), reads=(2,))
    sheet = run_fairea(tmp_path, load_chip("edge"), tmp_path / "out", study)
    assert sheet.on_chip
    assert sheet.openings.empty
    assert {"as judged", "write-verify", "mean of 2 reads"} <= set(sheet.costs["label"])
    pages = {path.stem for path in draw_fairea(sheet, tmp_path / "out")}
    assert {"report_chip", "report_noise", "report_repairs", "report_cost"} <= pages
    text = summary_text(sheet)
    assert "Fair assignment on Edge" in text
    assert "by the truth" not in text
    assert "fitness is learned from 160 past outcomes by skill, hardness" in text


def test_the_command_writes_a_template_and_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = str(tmp_path / "mine")
    assert main(["run", "fairea", "--template", mine]) == 0
    assert "nodes.csv" in capsys.readouterr().out
    wrong = [
        (["--data", mine], "name what people are classed by (--attribute)"),
        (["--data", mine, "--attribute", "gendre"], "attribute = 'gendre': must be one of ['department', 'gender']"),
        (["--data", mine, "--attribute", "gender", "--fitness", "/nonexistent.csv"], "/nonexistent.csv"),
        (["--fitness", "x.csv"], "want --data"),
        (["--data", mine, "--limit", "ties=2"], "degree = 2.0: must be from 0 to 1"),
        (["--data", mine, "--limit", "ties=0.1", "--limit", "ties=0.2"], "one --limit each of ties"),
    ]
    for words, told in wrong:
        assert main(["run", "fairea", *words, "--out", str(tmp_path / "out")]) == 1
        assert told in capsys.readouterr().err
    for words in ([], ["--limit", "tie=1", "--out", "x"], ["--limit", "ties=x", "--out", "x"]):
        with pytest.raises(SystemExit):
            main(["run", "fairea", *words])
    assert main(["run", "digits", "--limit", "ties=1", "--out", str(tmp_path / "out")]) == 1
    assert "--limit is of no use to digits" in capsys.readouterr().err


def test_a_question_too_large_for_tables_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xbar.workloads.fairea.own.MOST_PAIRS", 5)
    with pytest.raises(FaireaError, match=r"open positions times candidates = '2 x 3'.*5 at most.*fairea\.large"):
        case(folder(tmp_path))
