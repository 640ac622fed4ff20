"""The command `xbar`: run a workload on a chip, compress it for one, list chips, draw a report again."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from compression.errors import CompressionError
from compression.shrink import small_state
from hw.chip import Chip, device_names, load_chip, load_device_file, preset_names
from hw.errors import HardwareError
from reports.compression import FILE as COMPRESSION_FILE
from reports.compression import CompressionSheet, draw_compression
from reports.converters import draw_converters
from reports.devices import draw_devices
from reports.fairea import FILE as FAIREA_FILE
from reports.fairea import FaireaSheet, draw_fairea
from reports.recommender import FILE as RECOMMENDER_FILE
from reports.recommender import RecommenderSheet, draw_recommender
from reports.render import render
from reports.results import Results, ResultsError
from workloads.allocation import TARGETS, AllocationError, check_targets
from workloads.compress import ASSUMED_SIGMA, BEST_BITS, PLANS, Plan, compress, quick
from workloads.converters import converter_sheet
from workloads.data import DataError
from workloads.devices import device_sheet, device_table
from workloads.fairea.problem import FaireaError
from workloads.fairea.run import FaireaStudy, run_fairea
from workloads.pin import PinError, accept, check, pin, setting
from workloads.points import read_sweep, sweep_chips
from workloads.recommender.run import RecommenderStudy, load_interactions, run_recommender
from workloads.recommender.store import StoreError
from workloads.run import Study, run
from workloads.sweep import SUMMARY, SweepError, cluster
from workloads.training import TrainingError, save_state
from workloads.workload import WORKLOADS, load_workload, study_size

EXPECTED = (
    HardwareError, DataError, TrainingError, ResultsError, AllocationError, CompressionError, StoreError, FaireaError,
    SweepError, PinError, OSError,
)  # fmt: skip
Step = Callable[[str], None]
POINTS = "points.json"  # of an interrupted run of a network
OTHERS = {
    "recommender": "meta-embedding recommender, on synthetic interactions or MovieLens (u.data, ratings.dat or ratings.csv in --data DIR)",
    "fairea": "fair assignment of candidates to positions of a network: karate, davis, florentine, les-miserables, a folder with "
    "edges.csv and nodes.csv, or a GraphML file, in --data",
}  # workloads that are not classifiers of images


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the request cannot be met, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except BrokenPipeError:
        return 141
    except EXPECTED as error:
        print(f"xbar: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("xbar: interrupted; what is kept on the way is used when the same command is given again", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xbar",
        description="Run a neural network on a simulated memristor chip: accuracy, time, energy, power, area.",
    )
    parser.add_argument("--version", action="version", version=f"xbar {version('xbar')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run_parser = commands.add_parser("run", help="run a workload on a chip and write a report")
    workloads = "; ".join(f"{name}: {text}" for name, text in WORKLOADS.items())
    run_parser.add_argument("workload", choices=[*WORKLOADS, *OTHERS], help=f"{workloads}; " + "; ".join(
        f"{name}: {text}" for name, text in OTHERS.items()))  # fmt: skip
    run_parser.add_argument(
        "--chip", default="isaac", metavar="PRESET_OR_FILE", help=f"{', '.join(preset_names())} or a TOML file"
    )
    run_parser.add_argument(
        "--device", metavar="PRESET_OR_FILE",
        help=f"cells in place of the chip's own: {', '.join(device_names())} or a TOML file",
    )  # fmt: skip
    run_parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings",
        help="change one value of the chip in its own units, as in device.levels=16; may be repeated",
    )  # fmt: skip
    run_parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the report and its tables"
    )
    run_parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the official data files")
    run_parser.add_argument(
        "--weights", type=Path, metavar="FILE",
        help="trained weights: a state dict that torch.save wrote, or weights.pt of a compression; none are trained then",
    )  # fmt: skip
    run_parser.add_argument("--seed", type=_from_zero, default=0, help="of training and of chip instances (default 0)")
    sizes = {name: study_size(name) for name in WORKLOADS}
    for position, option, what in ((1, "--instances", "chip instances per point"), (0, "--images", "test images per accuracy")):
        usual = ", ".join(f"{name} {size[position]}" for name, size in sizes.items())
        run_parser.add_argument(option, type=_from_one, help=f"{what} (default: {usual})")
    run_parser.add_argument(
        "--requests",
        type=_from_one,
        help=f"requests simulated in one batch (default {Study.requests}); recommender: at each rate "
        f"(default {RecommenderStudy.requests})",
    )
    run_parser.add_argument(
        "--study", choices=("full", "quick"), default="full",
        help="full: also each non-ideality alone, layer by layer, yield, drift; quick: without them, at most 3 chip instances",
    )  # fmt: skip
    run_parser.add_argument(
        "--seeds", type=_from_one, help=f"recommender: trainings of each method (default {RecommenderStudy.seeds})"
    )
    run_parser.add_argument(
        "--candidates", type=_from_one, help=f"recommender: scored in a request (default {RecommenderStudy.candidates})"
    )
    run_parser.add_argument("--attribute", help="fairea: of people, whose mixing counts (default: the network's own, or gender)")
    run_parser.set_defaults(command=_run)
    _add_compress(commands)
    _add_sweep(commands)
    _add_pin(commands)

    chips_parser = commands.add_parser("chips", help="table of chip presets: power, area, peak TOPS, TOPS/W")
    chips_parser.add_argument("--out", type=Path, metavar="DIR", help="folder for a page of each chip's converters")
    chips_parser.set_defaults(command=_chips)

    devices_parser = commands.add_parser("devices", help="table of device presets; with --out a page of each")
    devices_parser.add_argument("--out", type=Path, metavar="DIR", help="folder for a PNG and a PDF of each device")
    devices_parser.set_defaults(command=_devices)

    report_parser = commands.add_parser("report", help="draw the report of a results folder again")
    report_parser.add_argument("directory", type=Path, metavar="DIR")
    report_parser.set_defaults(command=_report)
    return parser


def _add_compress(commands: Any) -> None:
    parser = commands.add_parser("compress", help="make a workload's network small for a chip and report what that brought")
    parser.add_argument("workload", choices=list(WORKLOADS), metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--chip", default="isaac", metavar="PRESET_OR_FILE", help=f"{', '.join(preset_names())} or a TOML file")
    parser.add_argument("--device", metavar="PRESET_OR_FILE", help="cells in place of the chip's own, as for run")
    parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings", help="as for run"
    )
    parser.add_argument(
        "--target", action="append", required=True, type=_target, metavar="WHAT=SHARE",
        help=f"what is to be left at most, as in area=0.1, of {', '.join(TARGETS)}; may be repeated",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints, report and tables")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the official data files")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="trained weights, as for run")
    parser.add_argument("--seed", type=_from_zero, default=0)
    parser.add_argument("--bits", type=_from_one, help=f"bits of a weight after (default: the chip's own, at most {BEST_BITS})")
    parser.add_argument("--input-bits", type=_from_one, help="bits of an input after (default: the chip's own)")
    parser.add_argument("--sigma", type=float, help="programming error of varied chips (default: the cells' own, or "
                        f"{ASSUMED_SIGMA:g} where they have none)")  # fmt: skip
    parser.add_argument("--rate", type=float, default=Plan.rate, help="inferences per second of power figures (default %(default)g)")
    parser.add_argument("--instances", type=_from_one, help=f"varied chips (default {_usual('instances')})")
    parser.add_argument("--images", type=_from_one, help=f"test images judged on chips (default {_usual('images')})")
    parser.add_argument("--quick", action="store_true", help="fewer epochs: to try it out")
    parser.add_argument("--no-pareto", action="store_true", help="without the picture of methods against each other")
    parser.set_defaults(command=_compress)


def _usual(name: str) -> str:
    """What the plans of the workloads have of it, in words."""
    return ", ".join(f"{workload} {getattr(PLANS.get(workload, Plan()), name)}" for workload in WORKLOADS)


def _target(text: str) -> tuple[str, float]:
    name, share = _setting(text)
    try:
        return name, float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WHAT=SHARE, as in area=0.1") from None


def _compress(options: argparse.Namespace) -> int:
    _check_folder(options.out, COMPRESSION_FILE)
    targets = dict(options.target)
    check_targets(targets)
    if len(targets) < len(options.target):
        raise AllocationError(f"one --target each of {', '.join(targets)}, please; given are {len(options.target)}")
    chip = load_chip(options.chip, dict(options.settings), options.device)
    given = {name: getattr(options, name) for name in ("bits", "input_bits", "sigma", "rate", "instances", "images", "seed")}
    plan = replace(PLANS.get(options.workload, Plan()), **{name: value for name, value in given.items() if value is not None})
    plan = quick(plan) if options.quick else plan
    plan = replace(plan, budgets=()) if options.no_pareto else plan
    workload = load_workload(options.workload, options.seed, options.data, progress=True, weights=options.weights)
    with tqdm(desc="starting", bar_format="{desc} [{elapsed}]", file=sys.stderr) as bar:
        found = compress(workload.model, workload.data, chip, targets, options.out, plan, bar.set_description_str)
        meta = found.meta | {"workload": workload.name, "title": workload.title}
        sheet = CompressionSheet(meta, found.stages, found.layers, found.steps, found.frontier, found.admm)
        sheet.save(options.out)
        save_state(small_state(found.model, workload.calibration_images[:2]), options.out / "weights.pt")
        draw_compression(sheet, options.out)
        bar.set_description_str(f"{workload.title} compressed for {chip.title}: done")
    _show(options.out, KINDS[COMPRESSION_FILE])
    return 0


def _add_sweep(commands: Any) -> None:
    parser = commands.add_parser("sweep", help="judge many points over workload, chip, device and compression, from a TOML file")
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the points; examples/sweep.toml explains its form")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for results.parquet; points that are done there are not computed again")  # fmt: skip
    parser.add_argument("--workers", type=_from_one, metavar="N", help="processes on this computer (default: one a core)")
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a dask scheduler, whose workers compute the points instead")
    parser.add_argument("--retry-failed", action="store_true", help="compute again what ended in an error before")
    parser.set_defaults(command=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    _check_folder(options.out, SUMMARY)
    file = read_sweep(options.file)
    given = {"retry_failed": options.retry_failed, "progress": True, "about": {"title": file.title, "configuration": file.text}}
    with contextlib.nullcontext() if options.scheduler is None else cluster(options.scheduler) as executor:
        found = sweep_chips(file.points, options.out, executor, workers=options.workers, **given)
    print(f"{found.points} points, {found.reused} known before, {found.failed} with an error\nresults: {found.path}\n"
          f"sweep:   {options.out / SUMMARY}")  # fmt: skip
    if found.failed:
        errors = found.frame()["error"].dropna().value_counts()
        print(f"most frequent error, {errors.iloc[0]} times: {errors.index[0]}", file=sys.stderr)
    return int(found.failed == found.points)


def _add_pin(commands: Any) -> None:
    parser = commands.add_parser("pin", help="write a configuration's energy, latency and area to a file, or check such files")
    networks = [*WORKLOADS, "recommender"]
    parser.add_argument("workload", nargs="?", choices=networks, metavar="WORKLOAD", help=", ".join(networks))
    parser.add_argument("--chip", default="isaac", metavar="PRESET_OR_FILE", help=f"{', '.join(preset_names())} or a TOML file")
    parser.add_argument("--device", metavar="PRESET_OR_FILE", help="cells in place of the chip's own, as for run")
    parser.add_argument("--weights", metavar="FILE", help="trained weights, as for run; without them initial ones")
    parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings", help="as for run"
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, metavar="FILE.json", help="write the present values of WORKLOAD on the chip")
    action.add_argument("--check", type=Path, nargs="+", metavar="FILE.json", help="show what changed; the exit code is 1 then")
    action.add_argument("--accept", type=Path, nargs="+", metavar="FILE.json", help="write the present values to these files")
    parser.set_defaults(command=_pin)


def _pin(options: argparse.Namespace) -> int:
    if options.out is not None:
        if options.workload is None:
            raise PinError("workload = (missing): what is to be pinned needs one, as in: xbar pin digits --chip edge --out FILE.json")
        given = {"workload.name": options.workload, "chip.name": options.chip, "device.name": options.device,
                 "workload.weights": options.weights}  # fmt: skip
        settings = {key: setting(key, text) for key, text in options.settings}
        print(pin({key: value for key, value in given.items() if value is not None} | settings, options.out))
        return 0
    for file in options.accept or ():
        print(accept(file))
    changed = {file: check(file) for file in options.check or ()}
    for file, table in changed.items():
        print(f"{file}: {'changed' if table else 'as pinned'}{table and chr(10)}{table}")
    return int(any(changed.values()))


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, as in device.levels=16")
    return key, value


def _from_one(text: str) -> int:
    return _whole(text, 1)


def _from_zero(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


@dataclass(frozen=True)
class _Kind:
    """Results of one command in a folder: who wrote them, how they are read and drawn, and which files to name."""

    what: str
    load: Callable[[Path], Any]
    draw: Callable[[Any, Path], object]
    files: dict[str, str]


KINDS = {
    "run.json": _Kind(
        "xbar run of a network", Results.load, render, {"report": "report.pdf", "tables": "*.csv", "Perfetto": "trace.json"}
    ),
    RECOMMENDER_FILE: _Kind(
        "xbar run recommender", RecommenderSheet.load_from, draw_recommender,
        {"report": "report.pdf", "tables": "*.csv", "embeddings": "embeddings.sqlite"},
    ),
    FAIREA_FILE: _Kind("xbar run fairea", FaireaSheet.load_from, draw_fairea, {"report": "report.pdf", "tables": "*.csv"}),
    COMPRESSION_FILE: _Kind(
        "xbar compress", CompressionSheet.load, draw_compression,
        {"report": "compression.pdf", "tables": "*.csv", "weights": "weights.pt"},
    ),
}  # fmt: skip


def _show(directory: Path, kind: _Kind) -> None:
    print((directory / "summary.txt").read_text("utf-8"))
    width = max(map(len, kind.files)) + 2
    print("\n".join(f"{label + ':':{width}}{directory}/{name}" for label, name in kind.files.items()))


def _check_folder(out: Path, own: str) -> None:
    """Raise ResultsError where the folder holds results of another kind, which this command would write over in part."""
    for name, what in ({name: kind.what for name, kind in KINDS.items()} | {SUMMARY: "xbar sweep"}).items():
        if name != own and (out / name).exists():
            raise ResultsError(f"{out} holds the results of {what}; give another folder")
    if out.exists() and not out.is_dir():
        raise ResultsError(f"{out} is a file; give a folder")


def _run(options: argparse.Namespace) -> int:
    _check_options(options)
    own = {"recommender": RECOMMENDER_FILE, "fairea": FAIREA_FILE}.get(options.workload, "run.json")
    _check_folder(options.out, own)
    chip = load_chip(options.chip, dict(options.settings), options.device)
    prepare = {"recommender": _recommender, "fairea": _fairea}.get(options.workload, _network)
    work = prepare(options, chip)
    with tqdm(desc="starting", bar_format="{desc} [{elapsed}]", file=sys.stderr) as bar:
        results = work(bar.set_description_str)
        bar.set_description_str("drawing the report")
        results.save(options.out)
        KINDS[own].draw(results, options.out)
        (options.out / POINTS).unlink(missing_ok=True)
        bar.set_description_str(f"{options.workload} on {chip.title}: done")
    _show(options.out, KINDS[own])
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what the workload has no use for."""
    without = {"recommender": ("weights", "images", "attribute"), "fairea": ("weights", "images", "requests", "seeds", "candidates")}
    for name in without.get(options.workload, ("seeds", "candidates", "attribute")):
        if getattr(options, name) is not None:
            raise ResultsError(f"--{name} is of no use to {options.workload}")


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _network(options: argparse.Namespace, chip: Chip) -> Callable[[Step], Any]:
    workload = load_workload(options.workload, options.seed, options.data, progress=True, weights=options.weights)
    images, instances = study_size(options.workload)
    given = {"images": images, "instances": instances} | _given(options, "images", "instances", "requests")
    study = Study(seed=options.seed, **given)
    study = study.quick() if options.study == "quick" else study
    return lambda step: run(workload, chip, study, step=step, kept=options.out / POINTS)


def _recommender(options: argparse.Namespace, chip: Chip) -> Callable[[Step], Any]:
    study = RecommenderStudy(seed=options.seed, **_given(options, "seeds", "instances", "candidates", "requests"))
    study = study.quick() if options.study == "quick" else study
    data = load_interactions(options.data, options.seed)
    return lambda step: run_recommender(data, chip, options.out, study, step)


def _fairea(options: argparse.Namespace, chip: Chip) -> Callable[[Step], Any]:
    study = FaireaStudy(seed=options.seed, **_given(options, "attribute", "instances"))
    study = study.quick() if options.study == "quick" else study
    return lambda step: run_fairea(options.data, chip, options.out, study, step)


def _report(options: argparse.Namespace) -> int:
    found = [(name, kind) for name, kind in KINDS.items() if (options.directory / name).is_file()]
    if not found:
        raise ResultsError(f"{options.directory}: no {', '.join(KINDS)} there; give the folder that --out named")
    for _, kind in found:
        kind.draw(kind.load(options.directory), options.directory)
        _show(options.directory, kind)
    return 0


def _devices(options: argparse.Namespace) -> int:
    files = [load_device_file(name) for name in device_names()]
    print(device_table(files).to_string())
    print("\nSpreads and what a year leaves are of a cell at mid range. xbar run --device takes any TOML file of this form.")
    if options.out is not None:
        for path in draw_devices([device_sheet(file) for file in files], options.out):
            print(path)
    return 0


def _chips(options: argparse.Namespace) -> int:
    rows = {}
    for name in preset_names():
        chip = load_chip(name)
        peak = chip.peak_operations_per_second
        rows[name] = {
            "crossbars": chip.crossbars, "array": f"{chip.structure.wordlines}x{chip.structure.bitlines}",
            "weights": f"{chip.weights.bits} bit", "inputs": f"{chip.inputs.bits} bit",
            "peak power W": f"{chip.peak_power:.3f}", "area mm²": f"{chip.area * 1e6:.3f}",
            "peak TOPS": f"{peak * 1e-12:.3f}", "TOPS/W": f"{peak / chip.peak_power * 1e-12:.3f}",
        }  # fmt: skip
    print(pd.DataFrame.from_dict(rows, orient="index").rename_axis("preset").to_string())
    print("\nPeak: every cell in use, operations of the chip's own widths. Any TOML file of the same form works too.")
    if options.out is not None:
        for path in draw_converters([converter_sheet(load_chip(name)) for name in preset_names()], options.out):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
