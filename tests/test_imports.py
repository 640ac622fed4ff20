"""Data flows one way: models, compression, hw, reports, with workloads tying them; and nothing of ours is at the top but xbar.

Inside hw imports go one way too, from floor to floor, and modules and classes stay small enough to be read.
"""

import ast
import re
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("hw", "models", "compression", "workloads", "reports")
MAY_IMPORT = {
    "hw": set(),
    "models": set(),
    "compression": {"hw"},
    "reports": set(),
    "workloads": {"hw", "models", "compression", "reports"},
}
FLOORS = (  # of hw, from the ground: rooms, and modules that stand at its root
    {"checks", "display", "errors", "kernels", "later", "quantity", "randomness"},
    {"cells", "cost"},
    {"array"},
    {"graph"},
    {"chip"},
    {"events"},
    {"analog", "bands", "digital", "footprint"},
)
MOST_LINES = 600  # of a module in hw
WHOLE = {"compiled.py"}  # numba compiles anew what it keeps only where the file of that function has changed
MOST_METHODS = 25  # of a class on a weight's way


def imported(path: Path) -> list[tuple[int, str]]:
    """Line and full name of every module that a file imports; `from xbar import hw` names xbar.hw."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names = [f"xbar.{alias.name}" for alias in node.names] if module == "xbar" else [module]
            found += [(node.lineno, name) for name in names]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"{room} has no Python files"
    for path in files:
        for line, name in imported(path):
            first, _, rest = name.partition(".")
            assert first not in (*ROOMS, "tests"), f"{path}:{line} imports {name}"
            other = rest.split(".")[0]
            allowed = first != "xbar" or other == room or other in MAY_IMPORT[room]
            assert allowed, f"{path}:{line} imports {name}"


def room_of(name: str) -> str:
    """Of a full name, such as xbar.hw.array.product, the room in hw; "" of xbar.hw itself, the door."""
    return name.removeprefix("xbar.hw").removeprefix(".").split(".")[0]


def test_every_module_of_hw_is_on_a_floor() -> None:
    found = {path.relative_to(ROOT / "hw").parts[0].removesuffix(".py") for path in (ROOT / "hw").rglob("*.py")}
    assert found - {"__init__", "presets"} == set().union(*FLOORS)


def test_imports_inside_hw_go_down() -> None:
    """To modules of the same room, or of floors below; those of the ground floor see each other."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    upwards = []
    for path in sorted((ROOT / "hw").rglob("*.py")):
        own = path.relative_to(ROOT / "hw").parts[0].removesuffix(".py")
        if own in ("__init__", "presets"):  # the door, which imports all; and no code
            continue
        for line, name in imported(path):
            if name.startswith("xbar.hw"):
                other = room_of(name)
                ground = floor[own] == 0 == floor.get(other)
                if other != own and not ground and floor.get(other, len(FLOORS)) >= floor[own]:
                    upwards.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not upwards, "\n".join(upwards)


def test_modules_of_hw_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "hw").rglob("*.py"))
        if (lines := len(path.read_text("utf-8").splitlines())) > MOST_LINES and path.name not in WHOLE
    }
    assert not long, f"more than {MOST_LINES} lines: {long}"


def test_classes_on_a_weights_way_are_small() -> None:
    large = {
        f"{path.relative_to(ROOT)} {node.name}": count
        for room in ("array", "analog")
        for path in sorted((ROOT / "hw" / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        and (count := sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body)) > MOST_METHODS
    }
    assert not large, f"more than {MOST_METHODS} methods: {large}"


def test_models_import_nothing_but_torch() -> None:
    for path in sorted((ROOT / "models").rglob("*.py")):
        for _, name in imported(path):
            assert name.split(".")[0] == "torch" or name.startswith("xbar.models"), path


def test_nothing_of_ours_is_loaded_or_installed_at_the_top_but_xbar() -> None:
    import xbar.workloads.cli  # noqa: F401

    assert not {*ROOMS} & {*sys.modules}
    installed = {str(file).split("/")[0] for file in files("xbar") or () if str(file).endswith(".py")}
    assert not {f"{room}" for room in ROOMS} & installed


def test_no_command_that_we_name_puts_our_folders_first_on_the_path() -> None:
    """Python puts the folder of a script first on its path, and with -m or -c the present one: with the project's folder there,
    our compression/ would hide Python 3.14's package `compression`, which gzip, bz2 and lzma import. (tests/conftest.py looks that no
    test loads one of our folders by its bare name.)"""
    pages = [ROOT / "README.md", ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")]
    texts = [*pages, *(path for folder in (*ROOMS, "tests", "benchmarks", "examples", "docs") for path in (ROOT / folder).rglob("*.py"))]
    scripts = 0
    for path in texts:
        for options, what in re.findall(r"\bpython3?((?: -\w)*) ([\w./]+)", path.read_text("utf-8")):
            where = f"{path.relative_to(ROOT)}: python{options} {what}"
            if "-m" in options:
                assert "-P" in options, f"{where}: needs -P, which leaves the present folder out"
            elif what.endswith(".py"):
                scripts += 1
                assert (ROOT / what).is_file(), f"{where}: no such file"
                assert not [room for room in ROOMS if ((ROOT / what).parent / room).is_dir()], where
    assert scripts > 5


def test_a_users_own_modules_of_the_same_names_work(tmp_path: Path) -> None:
    for room in ROOMS:
        (tmp_path / f"{room}.py").write_text(f"MINE = {room!r}\n", "utf-8")
    (tmp_path / "own.py").write_text(
        "import xbar, compression, hw, models, reports, workloads\n"
        "from xbar.workloads.workload import untrained\n"
        "model, example = untrained('digits')\n"
        "ledger = xbar.simulate(xbar.place(xbar.trace(model, example), xbar.load_chip('edge')), xbar.Arrivals.batch(1))\n"
        "print(models.MINE, reports.MINE, compression.MINE, ledger.requests)\n",
        "utf-8",
    )
    ran = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["models", "reports", "compression", "1"]


def test_importing_xbar_waits_for_nothing() -> None:
    script = "import sys, xbar; assert 'torch' not in sys.modules; xbar.trace; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
