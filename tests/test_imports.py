"""Data flows one way: models, compression, hw, reports, with workloads tying them."""

import ast
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


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"{room} has no Python files"
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [node.module or ""]
            for name in names:
                other = name.split(".")[0]
                allowed = other not in ROOMS or other == room or other in MAY_IMPORT[room]
                assert allowed, f"{path}:{node.lineno} imports {name}"
                assert other != "tests", f"{path}:{node.lineno} imports tests"


def test_models_import_nothing_but_torch() -> None:
    for path in sorted((ROOT / "models").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] == "torch" for alias in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in ("torch", "models"), path
