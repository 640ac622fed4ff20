"""The guide in docs/: every block of every chapter is run, its output compared, its links and names looked up.

A chapter's blocks run in order in one scratch folder that has the files which its commands name. `xbar ...` lines are run in this
process, through the function that the command is (`xbar.workloads.cli:main`), with the same arguments as the shell would give it: a
process each would spend its time on importing torch, and so would workers of sweeps. Lines with a pipe or another sign of the
shell, and all other lines, are run by bash with this Python's folder first on PATH. Python blocks of a chapter are one script.

`pytest tests/test_docs.py --accept` writes the present output into the chapters.

What may differ between computers is what the order of adding up decides, and no more: the last digit of a rounded number, and in an
accuracy one image whose scores, or whose code in a converter, lie at the edge. Weights that a chapter takes are therefore shipped
(`models/weights/`, `docs/data/breast_cancer.pt`). Training amplifies the last bit to other weights: where a chapter has to train, its
output is marked, and its percentages are not compared.
"""

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

import xbar  # noqa: F401 - first: it tells waiting threads to sleep, before torch begins them

import torch  # isort: skip

from xbar.hw.cells.device import Device
from xbar.reports.pages import save_png
from xbar.workloads.cli import main
from xbar.workloads.study.point_names import FIELDS, LAYER_FIELDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CHAPTERS = sorted(path for path in DOCS.glob("*.md") if path.name != "README.md")
SCRATCH = ("hw/presets", "examples", "benchmarks", "docs/data")  # what commands name by path
POINTS = 0.5  # of percentages, accuracies: one image of the 200 that the smallest accuracy of the guide rests on
VARY = "output, percentages vary"
MOST_NOT_RUN = 4
MOST_VARY = 6
REDRAW = "the source is not as drawn: run python docs/pictures/house.py, look at the pictures, and keep what it wrote"
ROOMS = ("hw", "compression", "models", "workloads", "reports")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(rf"<!-- (not run|{VARY}|output|file|fails)(?:: (.+?))? -->\n\Z")
NUMBER = re.compile(r"((?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)")
SHELL_SIGNS = set("|&;<>$`*?(){}~")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language and text, where it begins, and what its marker says (`marker`, `told` after the colon)."""

    language: str
    text: str
    start: int  # of the text, characters from the file's beginning
    line: int
    marker: str | None
    told: str | None


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a chapter in order."""
    whole = path.read_text("utf-8")
    found = []
    for fence in FENCE.finditer(whole):
        marker = MARKER.search(whole[: fence.start()])
        kind, told = marker.groups() if marker else (None, None)
        found.append(Block(fence[1], fence[2], fence.start(2), whole.count("\n", 0, fence.start()) + 1, kind, told))
    return found


# ---- running


class Chapter:
    """Runs the blocks of one chapter in a folder."""

    def __init__(self, path: Path, folder: Path):
        self.path, self.folder = path, folder
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        for name in SCRATCH:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))

    def outputs(self) -> Iterator[tuple[Block, str]]:
        """Each block marked as output with what was printed really. Raises AssertionError where a block does not run."""
        printed = ""
        for block in blocks_of(self.path):
            where = f"{self.path.name}:{block.line}"
            if block.marker in ("output", VARY):
                yield block, printed
            elif block.marker == "file":
                target = self.folder / str(block.told)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, "utf-8")
            elif block.marker == "not run":
                printed = ""
            elif block.language == "sh":
                code, out, err = self._shell(block.text)
                fails = block.marker == "fails"
                assert (code != 0) == fails, f"{where}: exit code {code}\n{out}{err}"
                assert "Traceback" not in err, f"{where}:\n{err}"
                printed = out + err if fails else out
            elif block.language == "python":
                printed = self._python(block, where)
            else:
                raise AssertionError(f"{where}: nothing says what a block of {block.language or 'no language'} is for")

    def _python(self, block: Block, where: str) -> str:
        code = compile("\n" * block.line + block.text, where, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, self.namespace)
        return out.getvalue()

    def _shell(self, script: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of lines of a shell; the first that fails ends them."""
        out, err = "", ""
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] not in ("cd", "export", "source", "."), f"{line}: would not last until the next line here"
            code, more, errors = self._xbar(words) if words[0] == "xbar" and not SHELL_SIGNS & set(line) else self._bash(line)
            out, err = out + more, err + errors
            if code:
                return code, out, err
        return 0, out, err

    def _xbar(self, words: list[str]) -> tuple[int, str, str]:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                code = main(words[1:])
            except SystemExit as end:  # argparse
                code = int(end.code or 0)
        return code, out.getvalue(), err.getvalue()

    def _bash(self, line: str) -> tuple[int, str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=self.folder,
            env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def scratch(folder: Path, cache: Path) -> Iterator[None]:
    """Inside `folder`, whose modules are found, with a cache of its own, no data, and one thread, whose number decides in which order
    sums are taken; torch's random numbers and threads are left as they were."""
    threads = torch.get_num_threads()
    before = {name: os.environ.pop(name, None) for name in ("XBAR_CACHE", "XBAR_DATA")}
    os.environ["XBAR_CACHE"] = str(cache)
    torch.set_num_threads(1)
    sys.path.insert(0, str(folder))
    try:
        with contextlib.chdir(folder), torch.random.fork_rng(devices=[]):
            yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").parent == folder:
                del sys.modules[name]
        torch.set_num_threads(threads)
        del os.environ["XBAR_CACHE"]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def same(expected: str, actual: str, vary: bool = False) -> bool:
    """Whether an output is as written: whole numbers equal, others within one of their last digit, percentages within POINTS
    (with `vary` any), any space for any other; `...` alone on a line stands for any lines, at a line's end for its rest."""
    lines = [[line.split() for line in text.strip().splitlines()] for text in (expected, actual)]
    return _same(lines[0], lines[1], vary)


def _same(expected: list[list[str]], actual: list[list[str]], vary: bool) -> bool:
    if not expected:
        return not actual
    if expected[0] == ["..."]:
        return any(_same(expected[1:], actual[skipped:], vary) for skipped in range(len(actual) + 1))
    line = bool(actual) and _same_line(" ".join(expected[0]), " ".join(actual[0]), vary)
    return line and _same(expected[1:], actual[1:], vary)


def _same_line(expected: str, actual: str, vary: bool) -> bool:
    wanted, found = NUMBER.split(expected.removesuffix(" ...")), NUMBER.split(actual)
    if expected.endswith(" ..."):
        wanted, found = wanted if wanted[-1] else wanted[:-1], found[: len(wanted) if wanted[-1] else len(wanted) - 1]
        if len(found) == len(wanted) and len(wanted) % 2:
            found[-1] = found[-1][: len(wanted[-1])]
    return len(wanted) == len(found) and all(
        a == b if index % 2 == 0 else (vary if _percentage(wanted, index) else a == b) or _close(a, b, _percentage(wanted, index))
        for index, (a, b) in enumerate(zip(wanted, found, strict=True))
    )


def _percentage(parts: list[str], index: int) -> bool:
    """Whether the number at `index` is followed by %, or by points, or is the lower end of a range of them."""
    after = (*parts[index + 1 : index + 4], "", "", "")
    return after[0].startswith((" %", " points")) or (after[0] == " to " and after[2].startswith(" %"))


def _close(expected: str, actual: str, percentage: bool) -> bool:
    """Numbers within one of the last digit that is written; whole ones are counts, and equal."""
    mantissa, _, exponent = expected.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0
    a, b = (float(text.replace(",", "")) for text in (expected, actual))
    return abs(a - b) <= 1.000001 * (max(POINTS, unit) if percentage else unit)


@pytest.mark.parametrize(
    ("expected", "actual", "fits"),
    [
        ("a  1,000 b", "a 1000 b", True), ("a 1000", "a 1001", False), ("a 5", "a 6", False), ("a b", "a c", False),
        ("one\n...\nfour", "one\ntwo\nthree\nfour", True), ("one\n...\nfour", "one\ntwo", False), ("...", "", True),
        ("cut: 9.5 %, ...", "cut: 9.9 %, 3 of 4", True), ("cut: 9.5 %, ...", "cut: 8.9 %, 3 of 4", False),
        ("Energy ...", "Energy 5 nJ", True), ("Energy ...", "Power 5 nJ", False), ("x 1", "x 1\nmore", False), ("x 1\ny", "x 1", False),
        ("at 5 ...", "at 5", True), ("at 5 ...", "at 7 of 9", False), ("float32 x1", "float64 x1", False),
        ("5.10 µs", "5.11 µs", True), ("5.10 µs", "5.12 µs", False), ("-1.0e-3", "-1.1e-3", True), ("-1e-3", "-3e-3", False),
        ("by +0.50 points", "by +1.00 points", True), ("by +0.50 points", "by -0.50 points", False),
        ("94 to 96.5 % of 9", "94.5 to 96 % of 9", True), ("94.0 to 96.5 %", "93.4 to 96.5 %", False), ("9 to 96", "8 to 96", False),
    ],
)  # fmt: skip
def test_outputs_are_compared_as_the_contents_page_says(expected: str, actual: str, fits: bool) -> None:
    assert same(expected, actual) == fits


def test_of_outputs_that_vary_all_but_percentages_is_compared() -> None:
    assert same("cut 95.8 % (94.2 to 96 %), 3 arrays", "cut 15.8 % (4.2 to 6 %), 3 arrays", vary=True)
    for other in ("cut 95.8 % (94.2 to 96 %), 4 arrays", "put 95.8 % (94.2 to 96 %), 3 arrays", "cut 95.8 % (94.2 to 96 %)"):
        assert not same("cut 95.8 % (94.2 to 96 %), 3 arrays", other, vary=True)


@pytest.mark.usefixtures("undrawn", "no_workers")
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_blocks_run_and_print_what_is_written(
    chapter: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, accept: Callable[[str], None] | None
) -> None:
    changed = []
    with scratch(tmp_path, tmp_path_factory.mktemp("cache")):
        for block, printed in Chapter(chapter, tmp_path).outputs():
            if not same(block.text, printed, block.marker == VARY):
                assert accept, f"{chapter.name}:{block.line} is not what is printed now:\n{printed}"
                changed.append((block, printed))
    if accept:
        left = write_outputs(chapter, changed, accept)
        assert not left, "to be changed by hand, because `...` stands in them:\n" + "\n".join(left)


def write_outputs(chapter: Path, changed: list[tuple[Block, str]], told: Callable[[str], None]) -> list[str]:
    """Write what is printed now into a chapter; outputs with `...`, which only a person can write, come back with place and text."""
    text, left = chapter.read_text("utf-8"), []
    for block, out in reversed(changed):
        where = f"{chapter.name}:{block.line}"
        if re.search(r"\.\.\.$", block.text, re.MULTILINE):
            left.append(f"{where}, printed now:\n{out}")
            continue
        plain = "\n".join(line.rstrip() for line in out.strip("\n").splitlines()) + "\n"
        text = text[: block.start] + plain + text[block.start + len(block.text) :]
        told(f"{where}: written")
    if len(left) < len(changed):
        chapter.write_text(text, "utf-8")
    return left


def test_outputs_are_written_where_they_stand(tmp_path: Path) -> None:
    page = "```sh\na\n```\n<!-- output -->\n```text\n1\n```\n```sh\nb\n```\n<!-- output -->\n```text\n2\n...\n```\n" \
           "<!-- output -->\n```text\n3\n```\nEnd\n"  # fmt: skip
    chapter, told = tmp_path / "page.md", []
    chapter.write_text(page, "utf-8")
    found = [block for block in blocks_of(chapter) if block.marker]
    left = write_outputs(chapter, list(zip(found, ("one  \nmore\n", "two", "three\n"), strict=True)), told.append)
    assert left == ["page.md:12, printed now:\ntwo"]
    assert told == ["page.md:17: written", "page.md:5: written"]
    assert chapter.read_text("utf-8") == page.replace("\n1\n", "\none\nmore\n").replace("\n3\n", "\nthree\n")


# ---- the text


def prose_of(path: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", path.read_text("utf-8"))


PAGES = [DOCS / "README.md", *CHAPTERS]


def test_the_contents_page_names_every_chapter() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", prose_of(DOCS / "README.md"))
    assert sorted(set(listed)) == [path.name for path in CHAPTERS]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_links_lead_somewhere(page: Path) -> None:
    for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"[{label}]({target})"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_blocks_that_are_not_run_or_vary_are_few_and_say_why() -> None:
    for marker, most in (("not run", MOST_NOT_RUN), (VARY, MOST_VARY)):
        marked = [(path.name, block) for path in CHAPTERS for block in blocks_of(path) if block.marker == marker]
        assert len(marked) <= most
        for name, block in marked:
            assert len(block.told or "") > 10, f"{name}:{block.line}: needs a reason"


def test_markers_are_those_that_the_contents_page_explains() -> None:
    explained = set(re.findall(r"`<!-- ([a-z, ]+?)(?::.*?)? -->", (DOCS / "README.md").read_text("utf-8")))
    assert explained == {"not run", "output", VARY, "file", "fails"}
    for path in CHAPTERS:
        comments = re.findall(r"<!--.*?-->", path.read_text("utf-8"), re.DOTALL)
        marked = [block for block in blocks_of(path) if block.marker]
        assert len(comments) == len(marked), f"{path.name}: a comment that marks no block"
        for block in marked:
            assert (block.told is not None) == (block.marker in ("not run", "file", VARY)), f"{path.name}:{block.line}"


def _help(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
        main([*arguments, "--help"])
    return out.getvalue()


def test_names_in_the_text_are_real() -> None:
    """Chip keys and those of points, modules and what they have, files of the project, options of xbar."""
    commands = re.findall(r"^    ([\w-]+)(?: |$)", _help(), re.MULTILINE)
    assert {"run", "chips"} <= set(commands)
    options = set(re.findall(r"--[a-z][a-z-]*", " ".join(_help(command) for command in commands)))
    sections = {name.rpartition(".")[0] for name in FIELDS} | {"component"}
    roots = {section.partition(".")[0] for section in sections}
    for page in PAGES:
        for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose_of(page)):
            where = f"{page.name}: `{code}`"
            if (command := re.match(r"xbar ([a-z-]+)", code)) and command[1] not in commands:
                raise AssertionError(f"{where}: no such command")
            if code.startswith("xbar ") or code.startswith("--"):
                unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", code)) - options
                assert not unknown, f"{where}: no such option"
            name = code.partition("=")[0].strip()
            is_file = name.endswith((".png", ".csv"))  # of results, such as mapping.csv
            if re.fullmatch(r"[a-z_]+(\.\w+)+", name) and name.partition(".")[0] in {*roots, "xbar"} and not is_file:
                assert name in {*FIELDS, *LAYER_FIELDS, *sections} or _found(name), f"{where}: no such key, module or name"
            elif re.fullmatch(rf"({'|'.join(ROOMS)}|docs|examples|tests|benchmarks)/[\w./-]*", name):
                assert (ROOT / name).exists(), f"{where}: no such file"


def _found(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module has."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_every_field_of_a_cell_is_told_in_lab_words() -> None:
    told = prose_of(DOCS / "validate-against-your-device.md")
    missing = [name for name in Device.model_fields if f"`{name}`" not in told]
    assert not missing


# ---- pictures and example data


def test_the_example_measurements_are_what_their_script_writes(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "data" / "generate.py"))
    written = script["generate"](tmp_path)
    assert written == sorted(path.name for path in (DOCS / "data").glob("*.csv"))
    for name in written:
        assert (tmp_path / name).read_bytes() == (DOCS / "data" / name).read_bytes(), name


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "pictures" / "event_model.py"))


@pytest.fixture(scope="module")
def found(script: dict[str, Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        return script["example"]()


@pytest.fixture(scope="module")
def wait(script: dict[str, Any]) -> dict[str, np.ndarray]:
    with torch.random.fork_rng(devices=[]):
        drawn: dict[str, np.ndarray] = script["waiting"]()
    return drawn


class TestEventModelPicture:
    """docs/pictures/event_model.py: what it draws is what the simulator wrote down, and the picture is up to date."""

    def test_steps_of_a_vector_end_when_the_ledger_says(self, script: dict[str, Any], found: Any) -> None:
        """Spans come from stage times; the ends of its stages, of the first request and its link transfer from the ledger."""
        ends = {name: spans[-1][1] for name, _, spans in script["steps"](found)}
        runs = found.ledger.timeline.assign(start=found.ledger.start_fs, end=found.ledger.end_fs)
        first = {stage: runs[(runs["layer"] == "3") & (runs["stage"] == stage)].iloc[0] for stage in ("load", "compute", "drain")}
        begin = first["load"]["start"]
        assert max(ends["buffer port, tile 0"], ends["buffer port, tile 1"]) == first["load"]["end"] - begin
        assert ends["ADC conversions"] == first["compute"]["end"] - begin
        assert ends["partial sums gather"] == first["drain"]["start"] - begin
        assert ends["output stage, tile 1"] == first["drain"]["end"] - begin
        assert ends["links"] == found.ledger.finish_fs[0] - begin

    def test_waiting_is_that_of_m_d_1(self, wait: dict[str, np.ndarray]) -> None:
        assert (wait["error"] < 0.1 * wait["theory"]).all()
        assert (abs(wait["wait"] - wait["theory"]) < 3 * wait["error"]).all()

    def test_the_picture_is_what_the_script_draws(
        self, script: dict[str, Any], found: Any, wait: dict[str, np.ndarray], tmp_path: Path
    ) -> None:
        """Grey values of the two differ by less than 1 % on the mean, as other versions of fonts make them."""
        drawn, kept = (imread(path)[..., :3].mean(2) for path in (
            save_png(script["draw"](found, wait), tmp_path / "drawn.png"), DOCS / "pictures" / "event_model.png"))  # fmt: skip
        assert drawn.shape == kept.shape
        assert abs(drawn - kept).mean() < 0.01


@pytest.fixture(scope="module")
def house() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "pictures" / "house.py"))


class TestHousePictures:
    """docs/pictures/house.py: rooms, arrows and ways as they are in the source, and what the-house.md says of it."""

    def test_rooms_arrows_and_ways_are_those_of_the_source(self, house: dict[str, Any]) -> None:
        """Lines may have moved by a tenth."""
        now, kept = house["data"](), json.loads((DOCS / "pictures" / "house.json").read_text("utf-8"))
        lines = {room: (now["rooms"][room].pop("lines"), kept["rooms"][room].pop("lines")) for room in now["rooms"].keys() & kept["rooms"]}
        assert now == kept, REDRAW
        moved = {room: both for room, both in lines.items() if abs(both[0] - both[1]) > 20 + 0.1 * both[1]}
        assert not moved, f"lines now and as drawn: {moved}. {REDRAW}"

    def test_arrows_lead_down(self, house: dict[str, Any]) -> None:
        rooms = house["house"]()
        assert rooms["hw/array"]["floor"] > rooms["hw/cells"]["floor"] > rooms["hw/errors"]["floor"] == 0
        for name, room in rooms.items():
            assert all(rooms[below]["floor"] < room["floor"] for below in room["imports"]), name

    @pytest.mark.parametrize("name", ["house.png", "weight_way.png", "request_way.png"])
    def test_the_pictures_are_what_the_script_draws(self, house: dict[str, Any], name: str, tmp_path: Path) -> None:
        drawn, kept = (imread(path)[..., :3].mean(2) for path in (
            save_png(house["draw"]()[name], tmp_path / name), DOCS / "pictures" / name))  # fmt: skip
        assert drawn.shape == kept.shape, REDRAW
        assert abs(drawn - kept).mean() < 0.01, REDRAW

    @pytest.mark.parametrize(
        ("name", "by", "why"),
        [
            ("hw.array.product.no_such", "", "defines no no_such"),
            ("no_such.product", "", "no such module"),
            ("hw.array.product.product", "hw.array.product.currents", "does not name product"),
            ("hw.events.ledger.Ledger.energy", "hw.cost.component.Component._check", "cannot reach"),
        ],
    )
    def test_a_step_that_is_not_in_the_source_is_refused(self, house: dict[str, Any], name: str, by: str, why: str) -> None:
        with pytest.raises(LookupError, match=why):
            house["check"]((house["Step"]("what", name, by),))

    def test_what_the_table_of_places_names_is_there(self, house: dict[str, Any]) -> None:
        """Every name is defined in the file beside it, and every key is one of the chip file."""
        table = (DOCS / "the-house.md").read_text("utf-8").partition("## Where do I find")[2]
        rows = re.findall(r"^\| (.+?) \| `([\w./-]+)` \| (`.+`) \|$", table, re.MULTILINE)
        assert len(rows) == len(re.findall(r"^\|", table, re.MULTILINE)) - 2  # every row but the heading and its rule
        assert len(rows) > 30
        for _, file, names in rows:
            for name in re.findall(r"`([\w.]+)`", names):
                if file.endswith(".py"):
                    house["found"](f"{file.removesuffix('.py').replace('/', '.')}.{name}")
                else:
                    *parents, leaf = name.split(".")
                    section: Any = tomllib.loads((ROOT / file).read_text("utf-8"))
                    for parent in parents:
                        section = section[parent]
                    assert leaf in section, f"{file}: {name}"

    def test_the_page_tells_of_every_room(self, house: dict[str, Any]) -> None:
        told = prose_of(DOCS / "the-house.md")
        for room in set(house["house"]()) - {"hw"}:
            assert f"`{room}/`" in told or f"`{room}.py`" in told, room
