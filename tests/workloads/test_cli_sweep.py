"""`xbar sweep` and `xbar pin` as users meet them."""

import contextlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from xbar.workloads.cli import main
from xbar.workloads.study.sweep import RESULTS

EDGE = Path(__file__).parents[2] / "hw/presets/edge.toml"


@pytest.fixture(autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBAR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("XBAR_DATA", raising=False)


SWEEP = '[fixed]\nchip.name = "edge"\nstudy.images = 20\n[axes]\ncomponent.adc.bits = %s\ndevice.levels = %s\n'


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of which half the points fail, and what the command said: exit.txt, out.txt, err.txt."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "bits.toml").write_text(SWEEP % ("[6, 8]", "[16, 3]"))
    with pytest.MonkeyPatch.context() as patch, (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        patch.setenv("XBAR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.delenv("XBAR_DATA", raising=False)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["sweep", str(folder / "bits.toml"), "--out", str(folder / "out"), "--workers", "1"])
    (folder / "exit.txt").write_text(str(code))
    return folder


def test_sweep_leaves_a_row_a_point_and_a_report(swept: Path) -> None:
    said, told = (swept / "out.txt").read_text(), (swept / "err.txt").read_text()
    assert (swept / "exit.txt").read_text() == "3"  # some failed
    assert "4 points, 0 known before, 2 with an error" in said
    assert "levels = 3 must be a power of two" in told
    assert pd.read_parquet(swept / "out" / RESULTS)["accuracy"].notna().tolist() == [True, False, True, False]
    names = {path.name for path in (swept / "out").iterdir()}
    assert names >= {"report.pdf", "report.html", "summary.txt", "sweep.png", "parallel.png", "tornado.csv", "heat.csv", "record.json"}
    assert "4 points over 2 axes, 2 failed." in said
    assert json.loads((swept / "out" / "record.json").read_text())["configuration"] == (swept / "bits.toml").read_text()


def test_progress_off_a_terminal_is_plain_lines(swept: Path) -> None:
    told = (swept / "err.txt").read_text()
    assert "\r" not in told
    lines = [line for line in told.splitlines() if line.startswith("sweep: ")]
    assert lines[0] == "sweep: 0 of 4 points known before"
    assert lines[-1].startswith("sweep: 4 of 4 points, 2 failed, ")


@pytest.mark.usefixtures("undrawn", "no_workers")
def test_a_sweep_goes_on_and_grows_but_is_not_replaced(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    shutil.copytree(swept / "out", out)
    before = (out / RESULTS).read_bytes()
    for bits, levels in (("[6, 7]", "[16, 3]"), ("[6]", "[16, 3]")):
        (tmp_path / "other.toml").write_text(SWEEP % (bits, levels))
        assert main(["sweep", str(tmp_path / "other.toml"), "--out", str(out), "--workers", "1"]) == 1
        said = capsys.readouterr().err
        assert f"{out}: holds the results of another sweep: 2 of its 4 points are not among these" in said
        assert (out / RESULTS).read_bytes() == before
    (tmp_path / "grown.toml").write_text(SWEEP % ("[6, 8]", "[16, 3, 5]"))
    assert main(["sweep", str(tmp_path / "grown.toml"), "--out", str(out), "--workers", "1"]) == 3
    assert "6 points, 4 known before, 4 with an error" in capsys.readouterr().out


@pytest.mark.usefixtures("sketched", "no_workers")
def test_a_sweep_whose_points_all_fail_exits_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text(SWEEP % ("[6]", "[3, 5]"))
    assert main(["sweep", str(tmp_path / "bad.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    said = capsys.readouterr()
    assert "2 points over 1 axis: all failed." in said.out
    assert "error:" not in said.err.replace("most frequent error,", "")
    assert (tmp_path / "out" / "report.pdf").is_file()
    assert not (tmp_path / "out" / "tornado.csv").exists()


@pytest.mark.usefixtures("sketched")
def test_report_draws_what_is_asked_of_a_sweep(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    shutil.copytree(swept / "out", out)
    asked = ["--pareto", "arrays, wall_s ,component.adc.bits", "--heat", "device.levels,component.adc.bits,wall_s", "--tornado", "energy_J"]
    better = ["--better", "component.adc.bits=low", "--better", "arrays=high"]
    assert main(["report", str(out), *asked, *better]) == 1
    assert "which side of wall_s is better is not known; say --better wall_s=low" in capsys.readouterr().err
    assert main(["report", str(out), *asked, *better, "--better", "wall_s=low"]) == 0
    assert "Pareto front of arrays (high), wall (low) and component.adc.bits (low)" in capsys.readouterr().out
    assert list(pd.read_csv(out / "front.csv"))[:4] == ["point", "arrays", "wall_s", "component.adc.bits"]
    assert pd.read_csv(out / "heat.csv")["points"].sum() == 2
    assert set(pd.read_csv(out / "tornado.csv")["metric"]) == {"energy_J"}
    for arguments, said in (
        (["--pareto", "accuracy,energie_J"], "pareto: energie_J: no such column of numbers; did you mean energy_J"),
        (["--heat", "adc.bits,device.levels"], "heat: adc.bits: no such axis that varies; did you mean component.adc.bits"),
        (["--tornado", "acuracy"], "tornado: acuracy: no such column of numbers; did you mean accuracy"),
        (["--better", "acuracy=low"], "better: acuracy: no such column of numbers; did you mean accuracy"),
    ):
        assert main(["report", str(out), *arguments]) == 1
        assert said in capsys.readouterr().err


def test_options_of_a_sweep_are_refused_for_other_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert main(["report", str(tmp_path), "--tornado", "accuracy"]) == 1
    assert f"{tmp_path} holds the results of xbar run of a network; --pareto, " in capsys.readouterr().err
    for wrong in (["--pareto", "accuracy"], ["--heat", "a,b,c,d"], ["--better", "accuracy=up"]):
        with pytest.raises(SystemExit) as stopped:
            main(["report", str(tmp_path), *wrong])
        assert stopped.value.code == 2


def test_pin_writes_checks_and_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(EDGE, tmp_path / "mine.toml")
    monkeypatch.chdir(tmp_path)
    assert main(["pin", "digits", "--chip", "mine.toml", "--set", "component.adc.bits=6", "--out", "pins/mine.json"]) == 0
    assert main(["pin", "--check", "pins/mine.json"]) == 0
    text = Path("mine.toml").read_text("utf-8")
    Path("mine.toml").write_text(text.replace("energy = { value = 50.78125,", "energy = { value = 101.5625,"), "utf-8")
    capsys.readouterr()
    assert main(["pin", "--check", "pins/mine.json"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "pins/mine.json: changed"
    assert [line.split()[0] for line in printed[2:]] == ["energy_link_J"]
    assert printed[2].split()[3] == "2"
    assert main(["pin", "--accept", "pins/mine.json"]) == 0
    assert main(["pin", "--check", "pins/mine.json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "missing.toml", "--out", "x"], "missing.toml"),
        (["sweep", "bad.toml", "--out", "x"], "bad.toml: device.level = [4]: unknown name; did you mean device.levels"),
        (["sweep", "good.toml", "--out", "x", "--scheduler", "here"], "must be an address, as in tcp://host:8786"),
        (["pin", "--check", "missing.json"], "missing.json: no such file"),
        (["pin", "--out", "x.json"], "workload = (missing)"),
        (["pin", "digits", "--set", "device.levels=many", "--out", "x.json"], "isaac.toml: device.levels = many: must be a number"),
    ],
)
def test_what_cannot_be_swept_or_pinned_is_said_in_one_message(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[axes]\ndevice.level = [4]\n")
    Path("good.toml").write_text("[axes]\ndevice.levels = [4]\n")
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("xbar: error: ")
    assert said in captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "good.toml"]
