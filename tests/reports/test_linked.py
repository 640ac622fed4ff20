"""Linked pictures of a sweep: the numbers that they show, and that a browser hovers and filters them without a network."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from tests.reports.test_document import CHROMIUM, HOSTILE, Reader
from xbar.reports.linked import linked
from xbar.reports.pareto import pareto_front
from xbar.reports.sweep import draw_sweep
from xbar.reports.sweep_sheet import SweepSheet, View, chosen

# What a person does, in a copy of the page: point at a line and at a mark, brush the first axis to its lower half.
HANDS = """<script>
addEventListener("load", () => setTimeout(async () => {
  const lines = document.getElementById("linked-parallel"), point = document.querySelector(".linked-point");
  const say = (name, text) => document.body.append(Object.assign(document.createElement("pre"), {id: name, textContent: text}));
  lines.emit("plotly_hover", {curveNumber: 3, clientX: 10, clientY: 10});
  say("line", point.hidden ? "nothing" : point.textContent);
  lines.emit("plotly_unhover", {});
  say("gone", point.hidden);
  const marks = document.getElementById("linked-pareto"), whole = marks.querySelector(".nsewdrag"), box = whole.getBoundingClientRect();
  const { xaxis, yaxis } = marks._fullLayout, best = marks.data[1];
  const [clientX, clientY] = [box.left + xaxis.d2p(best.x[0]), box.top + yaxis.d2p(best.y[0])];
  whole.dispatchEvent(new MouseEvent("mousemove", {clientX, clientY, bubbles: true}));
  say("mark", point.hidden ? "nothing" : point.textContent);
  await Plotly.restyle(lines, {"dimensions[0].constraintrange": [[0, 0.5]]});
  say("kept", document.querySelector(".linked-kept").textContent);
  say("faded", JSON.stringify(document.getElementById("linked-pareto").data.map(trace => trace.selectedpoints)));
}, 500));
</script></body>"""


def a_sheet() -> SweepSheet:
    """Twelve points of two axes; one failed, one without an energy."""
    cells = ["pcm", HOSTILE]
    rows = [
        {"point": k, "adc.bits": 3 + k // 2, "device.name": cells[k % 2], "accuracy": 0.5 + 0.04 * k - 0.1 * (k % 2),
         "energy_J": 1e-6 * 2.0 ** (k // 2), "wall_s": 1.0, "error": None, "key": f"{k:032x}"}
        for k in range(12)
    ]  # fmt: skip
    rows[11] |= {"error": "failed", "accuracy": None, "energy_J": None}
    rows[5]["energy_J"] = None
    meta = {"title": "A sweep", "points": 12, "failed": 1, "varied": ["adc.bits", "device.name"], "fixed": {}}
    return SweepSheet(meta, pd.DataFrame(rows))


def contents(sheet: SweepSheet, view: View) -> dict[str, dict]:
    """What each picture is drawn from, as JSON; their `data` and `layout` as plotly knows them."""
    found = {}
    for name, element in linked(sheet, view).items():
        text = re.search(rf'<script type="application/json" id="linked-{name}-data">(.*?)</script>', element, re.DOTALL)
        assert text is not None
        found[name] = json.loads(text[1])
        go.Figure(data=found[name]["data"], layout=found[name]["layout"])  # raises for what plotly does not know
    return found


def test_the_pictures_hold_the_points_of_the_sweep_and_its_front() -> None:
    sheet = a_sheet()
    view = chosen(sheet, View(pareto=("accuracy", "energy_J")))
    found, done = contents(sheet, view), sheet.done
    shared = found["parallel"]["shared"]
    assert (shared["points"], shared["of"], len(shared["told"])) == (11, 11, 11)
    on = pareto_front(done, {"accuracy": "high", "energy_J": "low"})
    others, front = found["pareto"]["data"]
    for trace, rows in ((front, done[on]), (others, done[~on & done["energy_J"].notna()])):
        assert sorted(trace["customdata"]) == rows.index.tolist()
        assert [value / 100 for value in trace["y"]] == pytest.approx(done.loc[trace["customdata"], "accuracy"].tolist())
        assert [value * 1e-6 for value in trace["x"]] == pytest.approx(done.loc[trace["customdata"], "energy_J"].tolist())
    bits, cells, accuracy, energy = found["parallel"]["data"][0]["dimensions"]
    assert bits["label"] == "adc.bits"
    assert bits["values"] == pytest.approx([(k // 2) / 5 for k in range(11)])
    assert cells["values"] == [k % 2 for k in range(11)]
    assert accuracy["values"] == pytest.approx(((done["accuracy"] - 0.44) / 0.46).tolist())
    assert energy["values"][5] == pytest.approx(-0.12)
    assert energy["ticktext"][0] == "missing"


def test_what_is_told_of_a_point_cannot_become_markup() -> None:
    sheet = a_sheet()
    found = linked(sheet, chosen(sheet, View()))
    assert found
    for element in found.values():
        reader = Reader()
        reader.feed(element)
        assert reader.tags.count("script") == 1
    told = contents(sheet, chosen(sheet, View()))["parallel"]["shared"]["told"]
    reader = Reader()
    reader.feed(told[3])
    assert set(reader.tags) == {"b", "br"}
    assert f"device.name {HOSTILE}" in "".join(reader.text)


def test_a_sweep_without_results_has_none() -> None:
    frame = a_sheet().frame.assign(accuracy=None, energy_J=None, error="failed")
    sheet = SweepSheet(a_sheet().meta, frame)
    assert linked(sheet, chosen(sheet, View())) == {}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_hovers_and_filters_without_a_network(tmp_path: Path) -> None:
    draw_sweep(a_sheet(), tmp_path, View(pareto=("accuracy", "energy_J")))
    whole = (tmp_path / "report.html").read_text("utf-8")
    assert whole.count("plotly.js v") == 1
    reader = Reader()
    reader.feed(whole)
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert len(reader.identifiers) == len(set(reader.identifiers))
    (tmp_path / "hands.html").write_text(whole.replace("</body>", HANDS), "utf-8")
    command = [
        str(shutil.which(str(CHROMIUM))), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=4000",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "hands.html").as_uri(),
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    # how a driver that draws without a graphics card finds its own speed
    words = [line for line in found.stderr.splitlines() if "CONSOLE" in line and "GL Driver Message (OpenGL, Performance" not in line]
    assert words == []
    said = dict(re.findall(r'<pre id="(line|gone|mark|kept|faded)">(.*?)</pre>', found.stdout, re.DOTALL))
    assert said["line"].startswith("point 3adc.bits 4device.name &lt;script&gt;")
    assert "accuracy 52.00 %" in said["line"].replace("&nbsp;", " ").replace("\u00a0", " ")
    assert said["gone"] == "true"
    assert said["mark"].startswith("point 0, on the front")
    assert said["kept"] == "6 of 11 points kept."
    traces = json.loads((tmp_path / "hands.html").read_text("utf-8").split('id="linked-pareto-data">')[1].split("</script>")[0])["data"]
    assert json.loads(said["faded"]) == [[k for k, place in enumerate(trace["customdata"]) if place < 6] for trace in traces]
    assert found.stdout.count("is-linked") >= 2  # the pages as drawn give way, on screen
