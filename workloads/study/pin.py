"""Regression tests on energy: the costs of a configuration of one's own, pinned in a file and checked.

    xbar pin digits --chip mine.toml --set component.adc.bits=6 --out pins/mine.json

writes energy and area of every component, latency and total area of one inference alone. In the tests of one's own, in
`conftest.py` or the test's file:

    from xbar.workloads.study.pin import check_pinned  # a pytest fixture

    def test_costs_are_as_pinned(check_pinned):
        check_pinned("pins/mine.json")

A change fails with a table of old, new and ratio; `xbar pin --check FILE` prints it too, and `xbar pin --accept FILE` writes
the new values. In Python: `pin`, `check`, `accept`. Files that a configuration names are found from the pin's own folder.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xbar.hw import Arrivals, convert, load_chip, place, simulate, trace
from xbar.hw.analog import read_energies
from xbar.hw.chip.files import preset_names, silicon_names
from xbar.hw.errors import did_you_mean
from xbar.reports.differences import differences
from xbar.reports.results import write_text
from xbar.workloads.offered import is_own
from xbar.workloads.study.points import CHIP_FIELDS, PATHS, check_value, field_of, is_of_chip, placed
from xbar.workloads.study.sweep import SweepError, Value
from xbar.workloads.workload import learned_ranges_of, load_weights, untrained

FORMAT = "xbar pin 1"
NAMES = ("workload.name", "workload.seed", "workload.weights", "workload.data", "chip.name", "device.name")
NETWORKS = ("recommender",)  # besides those that a sweep judges


class PinError(ValueError):
    """A configuration cannot be pinned, or a file is no pin; the message names file or field, value and what is allowed."""


def measure(configuration: Mapping[str, Value], folder: Path = Path()) -> dict[str, float]:
    """Costs of one inference alone: energy_<component>_J, area_<component>_m2, latency_s and area_m2 of the chip.

    configuration: workload.name, chip.name and, where wanted, workload.seed (of the weights of a network that is not
    trained) or workload.weights (a file), workload.data (of a network
    of one's own, whose first inputs are its example), device.name, and chip settings by dotted name as --set has them. folder: where
    relative files begin. Array reads take what the cells' own conductances say where the device has a read voltage, else the
    published figure. Raises PinError and what `hw` and `workloads` raise.
    """
    whole = {name: placed(name, value, folder) for name, value in _checked(configuration).items()}
    source = whole.get("workload.data")
    model, example = untrained(str(whole["workload.name"]), int(whole.get("workload.seed") or 0), None if source is None else str(source))
    weights = Path(str(whole["workload.weights"])) if "workload.weights" in whole else None
    if weights is not None:
        model = load_weights(model, weights, example).eval()
    settings = {name: str(value).lower() if isinstance(value, bool) else str(value)
                for name, value in whole.items() if is_of_chip(name)}  # fmt: skip
    device = whole.get("device.name")
    chip = load_chip(str(whole["chip.name"]), settings, None if device is None else str(device))
    energies = None
    if chip.device.read_voltage is not None:
        energies = read_energies(convert(model, chip, example, seed=0, pack=True, input_ranges=learned_ranges_of(weights)))
    ledger = simulate(place(trace(model, example, pack=True), chip), Arrivals.batch(1), read_energy=energies)
    components = ledger.components()
    return {
        **{f"energy_{name}_J": float(joule) for name, joule in components["energy_J"].items()},
        **{f"area_{name}_m2": float(area) for name, area in components["area_m2"].items()},
        "latency_s": float(ledger.latency[0]), "area_m2": chip.area,
    }  # fmt: skip


def pin(configuration: Mapping[str, Value], path: str | Path, replace: bool = False) -> Path:
    """Write the present costs of a configuration (see `measure`), whose relative files begin in the current folder, to a
    JSON file. Raises PinError where there is one already and it is not to be replaced, else as `measure`, and OSError."""
    path = Path(path)
    if path.exists() and not replace:
        raise PinError(f"{path}: is there already; xbar pin --accept {path} takes the present values of what it pins, and --replace "
                       "with --out pins another configuration in its place")  # fmt: skip
    folder = path.parent.resolve()
    kept = {name: _from_folder(name, value, folder) for name, value in _checked(configuration).items()}
    values = {quantity: float(f"{value:.12g}") for quantity, value in measure(configuration).items()}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "configuration": kept, "values": values}, indent=2, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")
    return path


def check(path: str | Path) -> str:
    """A table of old, new and ratio of every cost that changed since it was pinned; empty where none did.

    Raises PinError for what is no pin, and as `measure`.
    """
    configuration, old = _read(Path(path))
    return differences(old, measure(configuration, Path(path).parent))


def accept(path: str | Path) -> str:
    """Write the present costs of a pinned configuration to its file; what that changed, as `check` says it. Raises as `check`."""
    configuration, old = _read(Path(path))
    folder = Path(path).parent
    pin({name: placed(name, value, folder) for name, value in configuration.items()}, path, replace=True)
    return differences(old, _read(Path(path))[1])


def setting(name: str, text: str) -> Value:
    """The value that `NAME=TEXT` of a command line gives; raises PinError."""
    field = field_of(name)
    kind = str if field is None else field.kind
    try:
        value: Value = {"true": True, "false": False}.get(text.lower(), text) if kind is bool else kind(text)
    except ValueError:
        value = text  # told below
    return _checked({"workload.name": "digits", "chip.name": "isaac", name: value})[name]


def _checked(configuration: Mapping[str, Value]) -> dict[str, Value]:
    for name, value in configuration.items():
        if name not in NAMES and not is_of_chip(name):
            raise PinError(f"{name} = {value!r}: unknown name{did_you_mean(str(name), [*NAMES, *CHIP_FIELDS])}")
        if name == "workload.name" and value in NETWORKS:
            continue
        try:
            check_value(name, value)
        except SweepError as error:
            raise PinError(str(error)) from None
    for name in ("workload.name", "chip.name"):
        if name not in configuration:
            raise PinError(f"{name} = (missing): needed")
    return dict(configuration)


def _from_folder(name: str, value: Value, folder: Path) -> Value:
    """A file as it is found from the pin's folder; presets and all else as they are."""
    chips = [*preset_names(), *silicon_names()]
    preset = (name == "chip.name" and value in chips) or (name == "device.name" and not str(value).endswith(".toml"))
    preset = preset or (name == "workload.name" and not is_own(str(value)))
    if name not in PATHS or preset:
        return value
    return Path(os.path.relpath(Path(str(value)).resolve(), folder)).as_posix()


def _read(path: Path) -> tuple[dict[str, Value], dict[str, float]]:
    """Configuration and values of a file."""
    if not path.is_file():
        raise PinError(f"{path}: no such file; write it with: xbar pin WORKLOAD --chip PRESET_OR_FILE --out {path}")
    try:
        raw = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PinError(f"{path}: is not JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise PinError(f"{path}: format = {raw.get('format') if isinstance(raw, dict) else raw!r}: must be {FORMAT!r}")
    configuration, values = raw.get("configuration"), raw.get("values")
    if not isinstance(configuration, dict):
        raise PinError(f"{path}: configuration = {configuration!r}: must be a table of names and values")
    if not isinstance(values, dict) or not all(_is_number(value) for value in values.values()):
        raise PinError(f"{path}: values = {values!r}: must be a table of finite numbers")
    try:
        return _checked(configuration), {name: float(value) for name, value in values.items()}
    except PinError as error:
        raise PinError(f"{path}: {error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _fail_where_changed(path: str | Path) -> None:
    """In a test: fail with the table of what changed."""
    import pytest

    changed = check(path)
    if changed:
        pytest.fail(f"{path} changed; if intended, accept with `xbar pin --accept {path}`:\n{changed}", pytrace=False)


def __getattr__(name: str) -> Any:
    """The fixture `check_pinned`, made when it is asked for: only tests have pytest."""
    if name != "check_pinned":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    def check_pinned() -> Callable[[str | Path], None]:
        """A function that fails where a pinned file's costs changed."""
        return _fail_where_changed

    return pytest.fixture(check_pinned)
