"""The command line as users meet it: what it prints, where it writes, how it fails."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from xbar.hw import preset_names
from xbar.workloads import commands
from xbar.workloads.cli import _parser, main
from xbar.workloads.recommender.run import RecommenderStudy
from xbar.workloads.study.evaluate import OnChip
from xbar.workloads.study.run import Study
from xbar.workloads.workload import shipped_weights

QUICK = ["--instances", "2", "--images", "30", "--requests", "4", "--study", "quick"]


@pytest.fixture(autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBAR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("XBAR_DATA", raising=False)


def test_run_leaves_a_report_and_prints_its_headlines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "deep" / "folder"
    assert main(["run", "digits", "--chip", "isaac", "--set", "component.adc.bits=7", "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "Accuracy on chip" in printed
    assert "changed: component.adc.bits = 7" in printed
    assert str(out / "report.pdf") in printed
    assert (out / "report.pdf").stat().st_size > 10_000
    meta = json.loads((out / "run.json").read_text())
    assert meta["chip"]["overrides"] == {"component.adc.bits": 7}
    assert meta["chip"]["adc_bits"] == 7
    (out / "report.pdf").unlink()
    capsys.readouterr()
    request.getfixturevalue("sketched")
    assert main(["report", str(out)]) == 0
    assert (out / "report.pdf").is_file()
    assert re.search(r"drawing the report: 1\d pages and those of tables and constants", capsys.readouterr().err)


def test_quick_studies_have_the_sizes_that_were_asked_for() -> None:
    def quick(study: Any, *words: str) -> Any:
        return commands._quick(study, _parser().parse_args(["run", "digits", "--out", "x", "--study", "quick", *words]))

    assert quick(Study(instances=10)).instances == 3
    assert quick(Study(instances=8), "--instances", "8").instances == 8
    asked = quick(RecommenderStudy(seeds=4, requests=400), "--seeds", "4", "--requests", "400")
    assert (asked.seeds, asked.requests, asked.instances) == (4, 400, 3)


def test_help_says_that_files_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "compress", "sweep", "pin"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "Files of Python are run" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("undrawn")
def test_same_seed_same_tables(tmp_path: Path) -> None:
    weights = str(shipped_weights("digits"))  # with another seed they would be trained
    for name in ("one", "other"):
        out = str(tmp_path / name)
        assert main(["run", "digits", "--chip", "edge", "--out", out, "--seed", "3", "--weights", weights, *QUICK]) == 0
    for path in (tmp_path / "one").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part of a study, with a few values in each, on cells that drift; interrupted twice."""
    monkeypatch.setattr(commands, "Study", partial(
        Study, multiples=(0.0, 1.0, 3.0), adc_bits=(6, 8), stuck_rates=(0.0, 0.01), wire_resistances=(0.0, 1.0), times=(1.0, 3600.0),
    ))  # fmt: skip
    arguments = ["run", "digits", "--chip", "edge", "--device", "pcm", *QUICK[:-2], "--images", "10", "--out"]
    judged: list[int] = []
    judge = OnChip.scores

    def counted(on_chip: OnChip, seeds: list[int], *given: Any) -> Iterator[dict[int, float]]:
        for found in judge(on_chip, seeds, *given):
            if stops and len(judged) >= stops[0]:
                del stops[0]
                raise KeyboardInterrupt
            judged.extend(found)
            yield found

    monkeypatch.setattr(OnChip, "scores", counted)
    stops: list[int] = []
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    points = len(judged)
    judged.clear()
    stops += [points // 3, 2 * points // 3]
    codes = []
    while not (tmp_path / "resumed" / "run.json").exists():
        codes.append(main([*arguments, str(tmp_path / "resumed")]))
        assert (tmp_path / "resumed" / "points.json").is_file() == (codes[-1] == 130)
    assert codes == [130, 130, 0]
    assert len(judged) == points  # each once
    names = sorted(path.name for path in (tmp_path / "whole").glob("*.csv"))
    for name in ("sensitivity.csv", "layer_sensitivity.csv", "yields.csv", "drift.csv", "layer_quality.csv"):
        assert name in names
    for name in (*names, "run.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes(), name


@pytest.mark.usefixtures("undrawn")
def test_a_quick_study_leaves_parts_out(tmp_path: Path) -> None:
    assert main(["run", "digits", "--chip", "edge", "--out", str(tmp_path), *QUICK]) == 0
    assert not (tmp_path / "sensitivity.csv").exists()
    assert not (tmp_path / "yield.png").exists()
    assert (tmp_path / "layers.png").is_file()
    assert main(["report", str(tmp_path)]) == 0


def test_chips_lists_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chips"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in preset_names())
    (row,) = [line for line in printed.splitlines() if line.startswith("isaac ")]
    assert row.split()[-10:-6] == ["65.808", "85.425", "41.288", "0.627"]
    assert row.split()[-6:] == ["53.3", "to", "97.1", "68", "to", "116"]  # bands of power and area; tests/hw/test_bands.py has the rule


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "digits", "--chip", "isac", "--out", "x"], "no such preset; presets: edge, generic, isaac"),
        (["run", "digits", "--set", "device.level=4", "--out", "x"], "did you mean device.levels"),
        (["run", "digits", "--set", "weights.cell_bits=4", "--out", "x"], "more than the device has levels for"),
        (["run", "lenet5", "--data", "/nonexistent", "--out", "x"], "no train-images-idx3-ubyte"),
        (["run", "resnet20", "--out", "x"], "resnet20 needs trained weights"),
        (["run", "digits", "--weights", "/nonexistent", "--out", "x"], "no such file of trained weights"),
        (["run", "resnet20", "--train", "--out", "x"], "resnet20 is not trained here: its weights are read from a file"),
        (["run", "fairea", "--train", "--out", "x"], "--train is of no use to fairea"),
        (["run", "fairea", "--sharing", "cores", "--out", "x"], "--sharing is of no use to fairea"),
        (["report", "/nonexistent"], "no run.json, "),
        (["run", "recommender", "--requests", "9", "--out", "x"], "requests must be 10 or more"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("xbar: error: ")
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["run"], ["run", "no-such"], ["run", "digits"], ["run", "digits", "--out", "x", "--set", "nonsense"],
        ["run", "digits", "--out", "x", "--images", "0"], ["run", "digits", "--out", "x", "--seed", "-1"],
        ["run", "digits", "--out", "x", "--train", "--weights", "digits.pt"],
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: xbar" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["run", "--help"], 0), (["run", "digits"], 2)])
def test_help_and_wrong_usage_do_not_wait_for_what_computes(arguments: list[str], code: int) -> None:
    script = (
        "import sys\nfrom workloads.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop:\n"
        "    heavy = {'torch', 'numpy', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "    sys.exit(f'loaded: {heavy}' if heavy else stop.code)"
    )
    assert subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=60).returncode == code


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["run", "digits", "--chip", "edge", "--out", str(tmp_path / "file"), *QUICK]) == 1
    assert "xbar: error: " in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_network_too_large_says_by_how_many_crossbars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The digits network on a chip of two cores of one crossbar each."""
    settings = [f"structure.{key}=1" for key in ("tiles", "cores_per_tile", "crossbars_per_core")]
    flags = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", "digits", "--chip", "edge", *flags, "--out", str(tmp_path / "out"), *QUICK]) == 1
    assert "too small by 2 crossbars" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kept", "command"),
    [
        ("fairea.json", ["run", "digits"]),
        ("run.json", ["run", "recommender"]),
        ("run.json", ["compress", "digits", "--target", "area=0.5"]),
    ],
)
def test_results_of_another_kind_are_not_written_over(
    kept: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / kept).write_text("{}")
    assert main([*command, "--out", str(tmp_path)]) == 1
    assert f"error: {tmp_path} holds the results of xbar run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [kept]


def test_a_file_for_a_folder_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["run", "digits", "--out", str(tmp_path / "taken")]) == 1
    assert "is a file; give a folder" in capsys.readouterr().err
