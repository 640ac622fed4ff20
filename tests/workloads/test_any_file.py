"""Files of any content: what a user hands over is read, or refused with one line that names it; never a traceback."""

import copy
import json
import os
import pickle
import struct
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from xbar.compression.state import small_state
from xbar.hw import load_chip, load_device
from xbar.hw.errors import ConfigurationError
from xbar.reports.results import CHECKSUMS, ResultsError, drawing_again, load_sheet, save_sheet
from xbar.workloads.cli import main
from xbar.workloads.data import DataError, read_cifar10, read_idx
from xbar.workloads.fairea.problem import FaireaError
from xbar.workloads.fairea.run import load_network
from xbar.workloads.recommender.interactions import load_movielens
from xbar.workloads.workload import load_weights, untrained

PRESETS = Path(__file__).parents[2] / "hw/presets"
CHIPS = [tomllib.loads((PRESETS / f"{name}.toml").read_text("utf-8")) for name in ("isaac", "edge")]
DEVICES = [tomllib.loads((PRESETS / f"devices/{name}.toml").read_text("utf-8")) for name in ("hfox", "taox", "pcm")]
SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}

EDITS = st.lists(st.tuples(
    st.floats(0, 1), st.integers(0, 40), st.sampled_from([
        b"", b"\0", b"\xff\xfe", b"\r", b'"', b",", b"\t", b"|", b"::", b"[" * 3000, b"1" * 5000, b"9" * 25, b"nan", b"-1", b"1e400",
        b"<", b"&", "é\u2028\u0085²".encode(),
    ]),
), min_size=1, max_size=3)  # fmt: skip


def edited(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """With some bytes cut out and others put in."""
    for share, length, added in edits:
        at = round(share * len(content))
        content = content[:at] + added + content[at + length :]
    return content


def places(tree: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in nested tables and lists something stands."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in inside for place in [(*before, key), *places(value, (*before, key))]]


def changed(tree: Any, share: float, value: Any) -> Any:
    """A copy with what stands at one place replaced, or gone where the value is GONE."""
    tree = copy.deepcopy(tree)
    found = places(tree)
    *path, key = found[min(int(share * len(found)), len(found) - 1)]
    parent = tree
    for step in path:
        parent = parent[step]
    if value is GONE:
        del parent[key]
    else:
        parent[key] = copy.deepcopy(value)
    return tree


GONE = object()
NUMBERS = [0, 1, -1, 3, 7, 10**6, 10**18, 10**99, 10**400, -0.5, 1e-300, 1e-15, 1e15, 1e300, float("nan"), float("inf")]
JUNK = [GONE, *NUMBERS, True, "", "x", "µm", "\x7f\x00", "isaac2016", [], [1, 2], {}, {"value": 1},
        *({"value": number, "unit": "1", "kind": "assumed", "why": "x"} for number in NUMBERS)]  # fmt: skip


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and abs(value) == float("inf"):
        return "inf" if value > 0 else "-inf"
    return "nan" if value != value else json.dumps(value)


def refused_by_name(path: Path, load: Any, *or_else: str) -> str:
    """What is said of a file that is refused, which has its name or one of the words; empty where it is read."""
    said = ""
    try:
        load(path)
    except (ConfigurationError, DataError, FaireaError, ResultsError) as error:
        said = str(error)
    assert not said or any(part in said for part in (str(path), *or_else)), said
    return said


@settings(max_examples=150, **SETTINGS)
@given(
    file=st.sampled_from([*CHIPS, *DEVICES]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.sampled_from(JUNK)), min_size=1, max_size=3),
)
def test_any_chip_or_device_file(file: dict[str, Any], changes: list[tuple[float, Any]], tmp_path: Path) -> None:
    tree = file
    for share, value in changes:
        tree = changed(tree, share, value)
    path = tmp_path / "own.toml"
    path.write_text("\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in tree.items()), "utf-8", "surrogatepass")
    refused_by_name(path, load_chip if file in CHIPS else load_device, "programming_table")


@settings(max_examples=80, **SETTINGS)
@given(name=st.sampled_from(["isaac.toml", "edge.toml", "devices/pcm.toml"]), edits=EDITS)
def test_any_bytes_as_a_chip_or_device_file(name: str, edits: list[tuple[float, int, bytes]], tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(edited((PRESETS / name).read_bytes(), edits))
    refused_by_name(path, load_device if "devices" in name else load_chip, "programming_table")


TABLES = {
    "u.user": b"1|24|M|technician|85711\n2|53|F|other|94043\n",
    "u.data": b"1\t1\t5\t874965758\n1\t2\t3\t876893171\n2\t1\t4\t888550871\n",
    "u.item": b"1|Toy Story (1995)|01-Jan-1995||http|" + b"|".join([b"0"] * 18 + [b"1"]) + b"\n2|X|||http" + b"|1" * 19 + b"\n",
}  # fmt: skip
DATS = {
    "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n", "movies.dat": b"1::Toy Story (1995)::A|B\n2::J (19x5)::A\n",
    "ratings.dat": b"1::1::5::978300760\n2::1::3::978302109\n1::2::4::3\n",
}  # fmt: skip
CSVS = {
    "movies.csv": b'movieId,title,genres\n1,Toy Story (1995),A|B\n2,"J, The (1995)",C\n',
    "ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,4.0,964981247\n2,1,0.5,3\n",
}
ORGANISATION = {"edges.csv": b"source,target\na,b\nb,c\nc,d\nd,e\n", "nodes.csv": b"id,gender\na,m\nb,f\nc,f\nd,m\ne,f\n"}


@settings(max_examples=200, **SETTINGS)
@given(kind=st.sampled_from([TABLES, DATS, CSVS, ORGANISATION]), which=st.integers(0, 2), edits=EDITS)
def test_any_interactions_and_organisations(
    kind: dict[str, bytes], which: int, edits: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("data")
    for place, (name, content) in enumerate(kind.items()):
        (folder / name).write_bytes(edited(content, edits) if place == which % len(kind) else content)
    load = load_network if kind is ORGANISATION else lambda folder: load_movielens(folder).split_by_history()
    refused_by_name(folder, load, "MovieLens", "attribute")


IMAGES = b"\0\0\x08\x03" + struct.pack(">III", 2, 3, 4) + bytes(24)
ABSURD = [  # headers that ask for what no memory has
    b"\0\0\x08\x03" + b"\xff" * 12 + bytes(24), b"\0\0\x08\x40" + b"\xff" * 256, b"\0\0\x08\x40" + b"\xff" * 252 + bytes(4),
]  # fmt: skip
GRAPH = b"""<?xml version="1.0" encoding="utf-8"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="d0" for="node" attr.name="gender" attr.type="string"/><key id="d1" for="edge" attr.name="w" attr.type="int"/>
<graph edgedefault="undirected"><node id="a"><data key="d0">m</data></node><node id="b"><data key="d0">f</data></node>
<edge source="a" target="b"><data key="d1">3</data></edge></graph></graphml>"""
READERS = [(read_idx, [IMAGES, *ABSURD]), (read_cifar10, [bytes(3073), bytes(6146)]), (load_network, [GRAPH])]


@settings(max_examples=150, **SETTINGS)
@given(reader=st.sampled_from(READERS), which=st.integers(0, 3), edits=EDITS)
def test_any_images_and_graphs(reader: Any, which: int, edits: Any, tmp_path: Path) -> None:
    read, contents = reader
    path = tmp_path / "data"
    path.write_bytes(edited(contents[which % len(contents)], edits))
    refused_by_name(path, read, "attribute")


@pytest.mark.parametrize(("old", "new"), [(b'"utf-8"', b'"x"'), (b' attr.type="string"', b""), (b'"int"', b'"yfiles"'), (b"<node", b"<n")])
def test_graphs_of_odd_kinds(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = tmp_path / "network.graphml"
    path.write_bytes(GRAPH.replace(old, new))
    if not refused_by_name(path, load_network, "attribute"):
        assert set(load_network(path)[0]) == {"a", "b"}


# ---- weights


class Runs:
    """What unpickles as a command."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


STATES = ("whole", "whole, in a table", "small", "small resnet20")


@cache
def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    return untrained(name)


@cache
def state_of(which: str) -> Any:
    """A state as it is kept, by its name among STATES; not to be changed."""
    if which.startswith("small"):
        return small_state(*network("resnet20" if which == "small resnet20" else "digits"))
    plain = dict(network("digits")[0].state_dict())
    return plain if which == "whole" else {"state_dict": plain}


ODD: list[Any] = [
    GONE, None, -1, 2.5, 10**18, "x", [], {}, torch.zeros(0), torch.zeros(()), torch.ones(2, 2).half(), torch.full((3,), torch.inf),
    torch.ones(2, 1, 3, 3, dtype=torch.complex64), torch.empty(2, device="meta"), torch.eye(2).to_sparse(), torch.tensor([True]),
]  # fmt: skip
CHANGES = [
    lambda v: v * float("nan"), lambda v: v[:-1], lambda v: v.to(torch.complex64), lambda v: v.to_sparse(), lambda v: v.to("meta"),
    lambda v: torch.cat([v, v]), lambda v: v[:0], lambda v: v.unsqueeze(0), lambda v: v.long(), lambda v: v.transpose(0, -1),
]  # fmt: skip


@settings(max_examples=120, **SETTINGS)
@given(which=st.sampled_from(STATES), share=st.floats(0, 1), how=st.one_of(st.sampled_from(ODD), st.sampled_from(CHANGES)))
def test_any_state_of_a_network(which: str, share: float, how: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = state = state_of(which)
    found = places(state)
    for step in found[min(int(share * len(found)), len(found) - 1)]:
        here = here[step]
    value = how
    if callable(how):
        if not isinstance(here, torch.Tensor) or not here.dim():
            return
        value = how(here)
    path = tmp_path / "weights.pt"
    torch.save(changed(state, share, value), path)
    model, example = untrained("resnet20" if which == "small resnet20" else "digits")
    if not refused_by_name(path, lambda given: load_weights(model, given, example)):
        assert load_weights(model, path, example)(example).shape[0] == 2
    assert "Traceback" not in capsys.readouterr().err


@settings(max_examples=60, **SETTINGS)
@given(edits=EDITS)
def test_any_bytes_as_weights(edits: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(state_of("whole"), path)
    path.write_bytes(edited(path.read_bytes(), edits))
    model, example = network("digits")
    refused_by_name(path, lambda given: load_weights(model, given, example))


def test_weights_that_are_a_program_are_not_run(tmp_path: Path) -> None:
    evil = {"conv1.weight": Runs(tmp_path / "ran")}
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(evil))
    torch.save(evil, tmp_path / "torch.pt")
    model, example = network("digits")
    for path in (tmp_path / "plain.pt", tmp_path / "torch.pt"):
        assert "not a file of weights that torch reads safely" in refused_by_name(path, lambda given: load_weights(model, given, example))
    assert not (tmp_path / "ran").exists()


# ---- results


@settings(max_examples=60, **SETTINGS)
@given(name=st.sampled_from(["kept.json", "table.csv", CHECKSUMS]), edits=EDITS)
def test_results_that_were_changed_are_not_drawn(name: str, edits: Any, tmp_path: Path) -> None:
    save_sheet(tmp_path, "kept.json", {"seed": 0, "names": ["a"]}, {"table": pd.DataFrame({"x": [1.0, 2.0], "name": ["a", "b"]})})
    before = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(edited(before, edits))
    drawn: list[Any] = []

    def draw(folder: Path) -> None:
        with drawing_again(folder, "kept.json"):
            drawn.extend(load_sheet(folder, "kept.json", "kept", {"table": False}))

    refused_by_name(tmp_path, draw)
    assert not drawn or (drawn[0]["seed"] == 0 and drawn[1]["table"]["x"].tolist() == [1.0, 2.0])
    assert drawn or (tmp_path / name).read_bytes() != before


def test_results_of_an_earlier_version_are_drawn_or_refused_in_words(tmp_path: Path) -> None:
    save_sheet(tmp_path, "kept.json", {"seed": 0}, {})
    with pytest.raises(KeyError), drawing_again(tmp_path, "kept.json"):
        {}["ours"]  # a defect of ours is not blamed on files that are as they were saved
    (tmp_path / CHECKSUMS).unlink()
    with drawing_again(tmp_path, "kept.json"):
        pass
    said = r"cannot be drawn, its results are not what this xbar writes \(KeyError: 'new'\)"
    with pytest.raises(ResultsError, match=said), drawing_again(tmp_path, "kept.json"):
        {}["new"]


# ---- the command


def _broken(folder: Path) -> dict[str, list[str]]:
    """Commands that are given something broken, by what their message has to name."""
    chip = (PRESETS / "edge.toml").read_text("utf-8")
    for name, content in {
        "deep.toml": b"a = " + b"[" * 100_000, "long.toml": b"a = " + b"1" * 5000, "bytes.toml": b"\xff\xfe\0",
        "tiles.toml": chip.replace("tiles = { value = 8,", "tiles = { value = 1000000000,").encode(),
        "source.toml": chip.replace('source = "nvsim_class"', "source = [1]", 1).encode(),
        "table.toml": (PRESETS / "devices/pcm.toml").read_bytes().replace(b"[device]", b'[device]\nprogramming_table = "no.csv"'),
        "weights.pt": b"PK\3\4" + bytes(50), "pin.json": b'{"format": "xbar pin 1", "configuration": []}',
        "sweep.toml": b"[axes]\nx = [" * 99,
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    for name in ("data", "kept", "sweep"):
        (folder / name).mkdir()
    (folder / "data/u.data").write_bytes(b"1\t1\t5\n")
    (folder / "data/edges.csv").write_bytes(b"source;target\n")
    (folder / "data/nodes.csv").write_bytes(b"id,gender\n\0,m\n")
    (folder / "kept/run.json").write_text("{}")
    (folder / "sweep/sweep.json").write_text("[")
    pin = ["pin", "digits", "--out", str(folder / "new.json")]
    return {
        **{name: [*pin, "--chip", str(folder / name)] for name in (
            "deep.toml", "long.toml", "bytes.toml", "tiles.toml", "source.toml",
        )},
        "table.toml": [*pin, "--chip", "edge", "--device", str(folder / "table.toml")],
        "weights.pt": [*pin, "--weights", str(folder / "weights.pt")], "pin.json": ["pin", "--check", str(folder / "pin.json")],
        "sweep.toml": ["sweep", str(folder / "sweep.toml"), "--out", str(folder / "out")],
        "u.user": ["run", "recommender", "--data", str(folder / "data"), "--out", str(folder / "out")],
        "edges.csv": ["run", "fairea", "--data", str(folder / "data"), "--out", str(folder / "out")],
        "kept": ["report", str(folder / "kept")], "sweep": ["report", str(folder / "sweep")],
        "train-images": ["run", "lenet5", "--data", str(folder), "--out", str(folder / "out")],
        "data_batch_1.bin": ["run", "vgg16", "--data", str(folder), "--out", str(folder / "out")],
    }  # fmt: skip


def test_every_command_tells_what_is_broken_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for named, arguments in _broken(tmp_path).items():
        assert main(arguments) == 1, named
        said = capsys.readouterr().err
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if line.startswith("xbar: error: ")]
        assert named.removesuffix(".toml") in line, said
        assert len(said) < 3000
