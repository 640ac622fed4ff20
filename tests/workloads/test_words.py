"""Wrong words on the command line: what they may have been meant to be, told before torch is loaded."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from xbar.workloads.cli import main

WRONG_NAMES = [
    (["run", "digits", "--chip", "isaak", "--out", "x"], "chip = isaak: no such file, and no such preset; .*did you mean isaac\\?"),
    (["run", "digits", "--device", "hfoxx", "--out", "x"], "device = hfoxx: .*did you mean hfox\\?"),
    (["run", "digits", "--set", "component.adc.bit=5", "--out", "x"], "did you mean component.adc.bits\\?"),
    (["compress", "digits", "--target", "area=0.5", "--chip", "mine.tml", "--out", "x"], "chip = mine.tml: no such file"),
    (["sweep", "mine.toml", "--out", "x"], "mine.toml: no such file of a sweep"),
    (["pin", "digits", "--set", "device.level=4", "--out", "x.json"], "did you mean device.levels\\?"),
]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu", "digits"], "did you mean run?"), (["run", "digitz", "--out", "x"], "did you mean digits?"),
        (["run", "digits", "--out", "x", "--instance", "3"], "--instance is unknown; did you mean --instances?"),
        (["run", "digits", "--ou", "x"], "--ou is unknown; did you mean --out?"),
        (["sweep", "x.toml", "--out", "x", "--worker=2"], "--worker is unknown; did you mean --workers?"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_answered_with_a_near_one(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_names_are_checked_without_torch(tmp_path: Path) -> None:
    calls = [arguments for arguments, _ in WRONG_NAMES] + [["chips", "--keys"], ["chips", "--template", "edge"]]
    code = f"import sys\nfrom xbar.workloads.cli import main\nprint([main(each) for each in {calls!r}], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == f"{[1] * len(WRONG_NAMES) + [0, 0]} False"
    told = done.stderr.splitlines()
    assert len(told) == len(WRONG_NAMES)
    for line, (_, said) in zip(told, WRONG_NAMES, strict=True):
        assert re.search(said, line), line
    assert "structure.wordlines" in done.stdout
    assert "[component.adc.stated_at]" not in done.stdout
