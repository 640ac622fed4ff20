"""Results folders: what is written over half way is not taken for results."""

from pathlib import Path

import pandas as pd
import pytest

from xbar.reports import results
from xbar.reports.results import ResultsError, drawing_again, save_sheet


def tables(value: float) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame({"x": [value]}) for name in ("a", "b")}


@pytest.mark.parametrize("written", [1, 2])
def test_a_folder_written_over_half_way_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    save_sheet(tmp_path, "run.json", {"run": 1}, tables(1.0))
    (tmp_path / "record.json").write_text("{}")
    with drawing_again(tmp_path, "run.json"):
        pass
    whole, count = results.write_text, 0

    def killed(path: Path, text: str) -> None:
        nonlocal count
        count += 1
        if count > written:
            raise KeyboardInterrupt
        whole(path, text)

    monkeypatch.setattr(results, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        save_sheet(tmp_path, "run.json", {"run": 2}, tables(2.0))
    monkeypatch.undo()
    assert not (tmp_path / "record.json").exists()
    with pytest.raises(ResultsError, match=r"a\.csv: is not as it was saved"), drawing_again(tmp_path, "run.json"):
        pass
    save_sheet(tmp_path, "run.json", {"run": 2}, tables(2.0))
    with drawing_again(tmp_path, "run.json"):
        pass
