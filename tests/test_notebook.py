"""The notebook of the guide: it runs from top to bottom, and its objects show themselves."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    found = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    nbformat.validate(found)
    for cell in found.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs_and_shows_its_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown: dict[str, list[dict[str, str]]] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            last = cell.source.splitlines()[-1]
            shown[last] = [output.data for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
            assert not [output for output in cell.outputs if output.output_type == "error" or output.get("name") == "stderr"], last
    for name, begins in (
        ("chip", "Chip edge"), ("network", "Network of 3 layers"), ("placement", "Placement of 3 layers"),
        ("ledger", "Ledger of 8 requests"), ("result", "Sweep of 6 points"), ("results", "Results of Digits CNN"),
    ):  # fmt: skip
        (data,) = shown[name]
        assert data["text/plain"].startswith(begins)
        assert "<table" in data["text/html"]
    pages = [data for last, found in shown.items() if last.startswith("reports.") for data in found]
    assert [set(data) >= {"image/png"} for data in pages] == [True]
    assert (tmp_path / "out" / "run" / "run.json").is_file()
