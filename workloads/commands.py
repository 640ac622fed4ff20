"""What the command `xbar` does when asked (`workloads/cli.py`): a function for each of its commands."""

import argparse
import contextlib
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from xbar.compression.errors import CompressionError
from xbar.compression.export import check_onnx, save_integers, save_onnx, save_program
from xbar.compression.state import small_state
from xbar.hw.bands import ENDS, chip_at
from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import device_names, load_chip, load_device_file, preset_names, silicon_names
from xbar.hw.errors import HardwareError
from xbar.hw.events.turns import Memory
from xbar.hw.graph.trace import trace
from xbar.reports.advice_pages import draw_advice
from xbar.reports.advice_sheet import FILE as ADVICE_FILE
from xbar.reports.advice_sheet import AdviceSheet
from xbar.reports.compare import FILE as COMPARISON_FILE
from xbar.reports.compare import compare
from xbar.reports.compare_pages import draw_comparison
from xbar.reports.compared_in_words import save_comparison, summary_text
from xbar.reports.compression import draw_compression
from xbar.reports.compression_sheet import FILE as COMPRESSION_FILE
from xbar.reports.compression_sheet import CompressionSheet
from xbar.reports.converters import draw_converters
from xbar.reports.devices import draw_devices
from xbar.reports.differences import TOLERANCE
from xbar.reports.fairea import draw_fairea
from xbar.reports.fairea_sheet import FILE as FAIREA_FILE
from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.recommender import FILE as RECOMMENDER_FILE
from xbar.reports.recommender import RecommenderSheet, draw_recommender
from xbar.reports.render import pages_of, render
from xbar.reports.results import Results, ResultsError, drawing_again, write_text
from xbar.reports.sweep import draw_sweep
from xbar.reports.sweep_sheet import SweepSheet, View
from xbar.reports.validation import FILE as VALIDATION_FILE
from xbar.reports.validation import ValidationSheet, draw_validation, sheet_of
from xbar.reports.validation import summary_text as validation_text
from xbar.workloads.compute import CPU, torch_device
from xbar.workloads.data import DataError
from xbar.workloads.fairea.limits import Limits
from xbar.workloads.fairea.own import OwnFiles
from xbar.workloads.fairea.problem import FaireaError
from xbar.workloads.fairea.run import FaireaStudy, run_fairea
from xbar.workloads.fairea.templates import write_templates
from xbar.workloads.offered import LIMITED, NETWORKS, TRIES, Network
from xbar.workloads.own import own_metric
from xbar.workloads.progress import steps
from xbar.workloads.recommender.commands import refresh_command, serve_command
from xbar.workloads.recommender.run import RecommenderStudy, load_interactions, run_recommender
from xbar.workloads.recommender.store import StoreError
from xbar.workloads.study.accuracy_target import AccuracyTarget, compress_to
from xbar.workloads.study.advise import advise_run
from xbar.workloads.study.allocation import AllocationError, check_targets
from xbar.workloads.study.baselines import accelerator_table
from xbar.workloads.study.compress import CompressionResult, compress
from xbar.workloads.study.converters import converter_sheet
from xbar.workloads.study.devices import device_sheet, device_table
from xbar.workloads.study.fit_device import fit_device
from xbar.workloads.study.fit_file import check_out, save_fit
from xbar.workloads.study.fit_text import summary as fit_summary
from xbar.workloads.study.measurements import MeasurementError, read_measurements
from xbar.workloads.study.pin import PinError, accept, check, pin, setting
from xbar.workloads.study.plan import PLANS, QUICK_EPOCHS, Plan, fitted, quick, with_epochs, with_training
from xbar.workloads.study.points import read_sweep, sweep_chips
from xbar.workloads.study.record import record
from xbar.workloads.study.run import Study, run
from xbar.workloads.study.search_file import named_designs, read_search, search_chips
from xbar.workloads.study.sweep import SUMMARY, Point, SweepError, SweepResult, cluster
from xbar.workloads.study.sweep_file import with_compute
from xbar.workloads.study.validate import points, summary, table
from xbar.workloads.study.ways import BATCHES, told, ways
from xbar.workloads.task import METRICS, TaskError
from xbar.workloads.training import TrainingError, save_state
from xbar.workloads.workload import Workload, load_workload, untrained

EXPECTED = (
    HardwareError, DataError, TaskError, TrainingError, ResultsError, AllocationError, CompressionError, StoreError, FaireaError,
    SweepError, PinError, MeasurementError, OSError,
)  # fmt: skip
Step = Callable[[str], None]
POINTS = "points.json"  # of an interrupted run of a network
OF_FAIREA = ("attribute", "limit", "open", "fitness", "outcomes", "least_fitness", "least_weight", "template")  # no other workload's
SOME_FAILED = 3  # exit code of a sweep of which some points failed
MOST_CHIPS = 4  # whose constants the report of a sweep lists


def execute(options: argparse.Namespace) -> int:
    """Do what the command line asked; returns the exit code: 0 done, 1 it cannot be done, as told in one message."""
    try:
        return COMMANDS[options.command](options)
    except BrokenPipeError:
        return 141
    except EXPECTED as error:
        print(f"xbar: error: {error}", file=sys.stderr)
        return 1


@dataclass(frozen=True)
class _Kind:
    """Results of one command in a folder: who wrote them, how they are read and drawn, and which files to name."""

    what: str
    load: Callable[[Path], Any]
    draw: Callable[[Any, Path], object]
    files: dict[str, str]


KINDS = {
    "run.json": _Kind(
        "xbar run of a network", Results.load, render,
        {"report": "report.pdf", "browser": "report.html", "tables": "*.csv", "Perfetto": "trace.json"},
    ),
    RECOMMENDER_FILE: _Kind(
        "xbar run recommender", RecommenderSheet.load_from, draw_recommender,
        {"report": "report.pdf", "browser": "report.html", "tables": "*.csv", "embeddings": "embeddings.sqlite"},
    ),
    FAIREA_FILE: _Kind(
        "xbar run fairea", FaireaSheet.load_from, draw_fairea,
        {"report": "report.pdf", "browser": "report.html", "who goes where": "who_goes_where.csv", "tables": "*.csv"},
    ),
    COMPRESSION_FILE: _Kind(
        "xbar compress", CompressionSheet.load, draw_compression,
        {"report": "compression.pdf", "browser": "compression.html", "tables": "*.csv", "weights": "weights.pt",
         "integers": "integers.npz", "network": "network.*"},
    ),
    SUMMARY: _Kind(
        "xbar sweep or search", SweepSheet.load, draw_sweep,
        {"report": "report.pdf", "browser": "report.html", "results": "results.parquet"},
    ),
    VALIDATION_FILE: _Kind(
        "xbar validate", ValidationSheet.load, draw_validation,
        {"report": "validation.pdf", "browser": "validation.html", "tables": "*.csv"},
    ),
    ADVICE_FILE: _Kind(
        "xbar advise", AdviceSheet.load, draw_advice, {"report": "advice.pdf", "browser": "advice.html", "tables": "*.csv"}
    ),
}  # fmt: skip


def _show(directory: Path, kind: _Kind) -> None:
    print((directory / "summary.txt").read_text("utf-8"))
    width = max(map(len, kind.files)) + 2
    print("\n".join(f"{label + ':':{width}}{directory}/{name}" for label, name in kind.files.items()))


def _draw(kind: _Kind, results: Any, out: Path, step: Step) -> None:
    """Draw results, told what is ahead."""
    pages = f"{len(pages_of(results))} pages and those of tables and constants" if isinstance(results, Results) else "its pages"
    step(f"drawing the report: {pages}, as PDF, PNG and HTML")
    kind.draw(results, out)


def _check_folder(out: Path, own: str, replacing: bool) -> None:
    """Raise ResultsError where the folder holds results of another kind, which this command would write over in part, or finished ones
    of its own that are not to be replaced; those of a run that left its points, or of a sweep, go on."""
    for name, what in ({name: kind.what for name, kind in KINDS.items()} | {COMPARISON_FILE: "xbar compare"}).items():
        if name != own and (out / name).exists():
            raise ResultsError(f"{out} holds the results of {what}; give another folder")
        if (out / name).exists() and not replacing and own != SUMMARY and not (out / POINTS).exists():
            raise ResultsError(f"{out} holds finished results of {what}; --replace writes over them, or give another folder")
    if out.exists() and not out.is_dir():
        raise ResultsError(f"{out} is a file; give a folder")


def _check_pages(out: Path, names: Sequence[str], replacing: bool) -> None:
    """Raise ResultsError where pages of these names are there and are not to be replaced."""
    there = [f"{name}.pdf" for name in names if (out / f"{name}.pdf").exists()]
    if there and not replacing:
        raise ResultsError(f"{out} holds {', '.join(there)}; --replace writes over them, or give another folder")


def _run(options: argparse.Namespace) -> int:
    _check_options(options)
    if options.template is not None:
        print("\n".join(f"wrote {path}" for path in write_templates(options.template)))
        return 0
    own = {"recommender": RECOMMENDER_FILE, "fairea": FAIREA_FILE}.get(options.workload, "run.json")
    _check_folder(options.out, own, options.replace)
    began, chip = datetime.now(UTC), load_chip(options.chip, dict(options.settings), options.device)
    prepare = {"recommender": _recommender, "fairea": _fairea}.get(options.workload, _network)
    work = prepare(options, chip)
    with steps() as step:
        results = work(step)
        step("saving the tables")
        results.save(options.out)
        chips = {chip.title: chip} if getattr(results, "on_chip", True) else {}  # fair assignment with fitness given is on none
        record(options, chips, began).save(options.out)
        _draw(KINDS[own], results, options.out, step)
        (options.out / POINTS).unlink(missing_ok=True)
        step(f"{' on '.join((options.workload, *chips))}: done")
    _show(options.out, KINDS[own])
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what the workload has no use for."""
    without = {
        "recommender": ("weights", "train", "images", "task", "metric", "host", "sharing", "chips", "compute", *OF_FAIREA),
        "fairea": ("weights", "train", "images", "requests", "seeds", "task", "metric", "host", "sharing", "chips", "compute"),
    }
    for name in without.get(options.workload, ("seeds", "candidates", *OF_FAIREA)):
        if getattr(options, name) is not None:
            raise ResultsError(f"--{name.replace('_', '-')} is of no use to {options.workload}")


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _network(options: argparse.Namespace, chip: Chip) -> Callable[[Step], Any]:
    compute = options.compute or CPU
    torch_device(compute)  # now, not after training
    workload = load_workload(
        options.workload, options.seed, options.data, progress=True, weights=options.weights, train=bool(options.train),
        task=options.task, metric=options.metric, host=options.host or (), compute=compute,
    )  # fmt: skip
    offered = NETWORKS.get(options.workload, Network("", ""))
    given = {name: getattr(offered, name) for name in ("images", "instances", "requests")}
    given |= _given(options, "images", "instances", "requests", "sharing", "chips", "compute")
    study = Study(seed=options.seed, **given | {"images": _images(given["images"], workload, options.images)})
    study = _quick(study, options) if options.study == "quick" else study
    return lambda step: run(workload, chip, study, step=step, kept=options.out / POINTS)


def _quick(study: Any, options: argparse.Namespace) -> Any:
    """The study's quick form, of the sizes that were asked for by name."""
    return replace(study.quick(), **{name: getattr(study, name) for name in _given(options, "instances", "requests", "seeds")
                                     if hasattr(study, name)})  # fmt: skip


class FewerImagesWarning(UserWarning):
    """More test samples were asked for than there are."""


def _images(wanted: int, workload: Workload, asked: int | None) -> int:
    """How many test samples are judged of those wanted; said where more were asked for than there are."""
    there = len(workload.data.test_targets)
    if asked is not None and asked > there:
        told = f"--images {asked}: {workload.title} has {there} test {workload.data.samples} here, and all of them are judged"
        warnings.warn(told, FewerImagesWarning, stacklevel=2)
    return min(wanted, there)


def _recommender(options: argparse.Namespace, chip: Chip) -> Callable[[Step], Any]:
    given = _given(options, "seeds", "instances", "requests")
    if options.candidates is not None:
        if not (options.candidates.isdecimal() and int(options.candidates) > 0):
            raise ResultsError(f"--candidates {options.candidates}: of recommender, a whole number from 1 up is needed")
        given["candidates"] = int(options.candidates)
    study = RecommenderStudy(seed=options.seed, **given)
    study = _quick(study, options) if options.study == "quick" else study
    data = load_interactions(options.data, options.seed)
    return lambda step: run_recommender(data, chip, options.out, study, step)


def _fairea(options: argparse.Namespace, chip: Chip) -> Callable[[Step], Any]:
    given = {"attributes": tuple(options.attribute or ()), "limits": _limits(options)} | _given(options, "instances")
    study = FaireaStudy(seed=options.seed, **given)
    study = _quick(study, options) if options.study == "quick" else study
    return lambda step: run_fairea(options.data, chip, options.out, study, step, _own_files(options))


def _limits(options: argparse.Namespace) -> Limits | None:
    """Those of --limit; None without any."""
    given = dict(options.limit or ())
    if len(given) < len(options.limit or ()):
        raise ResultsError(f"one --limit each of {', '.join(given)}, please")
    return Limits(**{LIMITED[name]: value for name, value in given.items()}) if given else None


def _own_files(options: argparse.Namespace) -> OwnFiles | None:
    """Files of an organisation's own; None without --data."""
    paths = {"positions": "open", "candidates": "candidates", "fitness": "fitness", "outcomes": "outcomes"}
    given = {name: Path(getattr(options, option)) for name, option in paths.items() if getattr(options, option) is not None}
    given |= _given(options, "least_fitness", "least_weight")
    if options.data is None or not Path(options.data).exists():
        if given:
            raise ResultsError("files of candidates, fitness or open positions want --data with the network they belong to")
        return None
    return OwnFiles(Path(options.data), **given)


def _compress(options: argparse.Namespace) -> int:
    _check_folder(options.out, COMPRESSION_FILE, options.replace)
    targets = dict(options.target)
    check_targets(targets)
    if len(targets) < len(options.target):
        raise AllocationError(f"one --target each of {', '.join(targets)}, please; given are {len(options.target)}")
    if options.tries is not None and options.most_lost is None:
        raise TrainingError("--tries is of --most-lost, which is not given")
    accuracy = None if options.most_lost is None else AccuracyTarget(options.most_lost, options.tries or TRIES)
    if options.onnx:
        check_onnx()  # now, not after training
    began, chip = datetime.now(UTC), load_chip(options.chip, dict(options.settings), options.device)
    names = ("bits", "input_bits", "sigma", "rate", "instances", "images", "seed", "method", "allocation", "learning_rate", "rho",
             "compute")  # fmt: skip
    given = {name: getattr(options, name) for name in names}
    plan = replace(PLANS.get(options.workload, Plan()), **{name: value for name, value in given.items() if value is not None})
    plan = with_training(replace(plan, budgets=()) if options.no_pareto else plan, options.training)
    workload = load_workload(
        options.workload, options.seed, options.data, progress=True, weights=options.weights, task=options.task, metric=options.metric,
        most_epochs=QUICK_EPOCHS if options.quick else None, train=bool(options.train), compute=torch_device(options.compute).type,
    )  # fmt: skip
    plan = quick(plan, workload.data.tokens) if options.quick else plan
    plan = fitted(plan if options.epochs is None else with_epochs(plan, options.epochs), workload.data)
    plan = replace(plan, images=_images(plan.images, workload, options.images))
    if (options.out / COMPRESSION_FILE).exists():  # to be replaced: what it was made from goes first, else it would come out again
        (options.out / COMPRESSION_FILE).unlink()
        shutil.rmtree(options.out / "checkpoints", ignore_errors=True)
    with steps() as step:
        what = workload.model, workload.data, chip, targets, options.out, plan, step, workload.code
        found = compress(*what) if accuracy is None else compress_to(accuracy, *what)
        sheet = replace(found, meta=found.meta | {"workload": workload.name, "title": workload.title, "digests": workload.digests})
        step("saving the tables and the smaller network")
        example = workload.calibration_inputs[:2]
        save_state(small_state(found.model, example, found.input_ranges), options.out / "weights.pt")
        sheet.save(options.out)
        record(options, {chip.title: chip}, began).save(options.out)
        _export(options, found, example)
        _draw(KINDS[COMPRESSION_FILE], sheet, options.out, step)
        step(f"{workload.title} compressed for {chip.title}: done")
    _show(options.out, KINDS[COMPRESSION_FILE])
    return 0


def _export(options: argparse.Namespace, found: CompressionResult, example: Tensor) -> None:
    """The compressed network for other programs; what cannot be written is told, and the rest stays."""
    writers: dict[str, Callable[[Path], None]] = {
        "integers.npz": lambda path: save_integers(found.model, found.chip, example, path),
        "network.pt2": lambda path: save_program(found.model, example, path),
    }
    if options.onnx:
        writers["network.onnx"] = lambda path: save_onnx(found.model, example, path)
    for name, write in writers.items():
        try:
            write(options.out / name)
        except CompressionError as error:
            warnings.warn(f"{options.out / name} is not written: {error}", NotExportedWarning, stacklevel=2)


class NotExportedWarning(UserWarning):
    """A form of the compressed network could not be written."""


def _sweep(options: argparse.Namespace) -> int:
    _check_folder(options.out, SUMMARY, replacing=False)
    torch_device(CPU if options.scheduler else options.compute or CPU)  # now; a scheduler's workers tell of themselves
    began, file = datetime.now(UTC), read_sweep(options.file)
    file = replace(file, points=[with_compute(point, options.compute) for point in file.points])
    about = {"title": file.title, "configuration": file.text, "metrics": _metrics(file.points)}
    given = {"retry_failed": options.retry_failed, "progress": True, "about": about}
    with contextlib.nullcontext() if options.scheduler is None else cluster(options.scheduler) as executor:
        found = sweep_chips(file.points, options.out, executor, workers=options.workers, **given)
    _say_fewer_images(found)
    record(options, _chips_of(file.points), began, file.text).save(options.out)
    with steps() as step:
        _draw(KINDS[SUMMARY], SweepSheet.load(options.out), options.out, step)
        step(f"{file.title or options.file}: done")
    print(f"{found.points} points, {found.reused} known before, {found.failed} with an error\n")
    _show(options.out, KINDS[SUMMARY])
    if found.failed:
        errors = found.frame()["error"].dropna().value_counts()
        print(f"most frequent error, {errors.iloc[0]} times: {errors.index[0]}", file=sys.stderr)
    return 0 if not found.failed else 1 if found.failed == found.points else SOME_FAILED


def _search(options: argparse.Namespace) -> int:
    _check_folder(options.out, SUMMARY, replacing=False)
    torch_device(CPU if options.scheduler else options.compute or CPU)  # now; a scheduler's workers tell of themselves
    began, file = datetime.now(UTC), read_search(options.file)
    file = replace(file, asked=replace(file.asked, fixed=with_compute(file.asked.fixed, options.compute, file.asked.axes)))
    points = [file.asked.fixed | design for design in named_designs(file.asked)]
    about = {"configuration": file.text, "metrics": _metrics(points)}
    given = {"retry_failed": options.retry_failed, "progress": True, "about": about}
    with contextlib.nullcontext() if options.scheduler is None else cluster(options.scheduler) as executor:
        found = search_chips(file, options.out, executor, workers=options.workers, **given)
    record(options, _chips_of(points), began, file.text).save(options.out)
    with steps() as step:
        _draw(KINDS[SUMMARY], SweepSheet.load(options.out), options.out, step)
        step(f"{file.asked.title}: done")
    print(f"{found.points} designs, {found.judged} points judged, {found.reused} of them known before, {found.failed} with an error\n")
    _show(options.out, KINDS[SUMMARY])
    if found.chosen is None:
        print("xbar: no design is chosen: none was shown to hold the constraints", file=sys.stderr)
    return int(found.chosen is None)


def _say_fewer_images(found: SweepResult) -> None:
    """Warn, once, where points asked for more test samples than there are (`study.images`)."""
    frame = found.frame()
    if {"study.images", "images"} <= {*frame}:
        fewer = frame[frame["images"] < frame["study.images"]]
        if len(fewer):
            most, least = int(fewer["study.images"].max()), int(fewer["images"].min())
            told = f"study.images = {most}: {len(fewer)} points have fewer test samples, {least} of them at least, and are judged by all"
            warnings.warn(f"{told}; column images tells how many", FewerImagesWarning, stacklevel=2)


def _metrics(points: Sequence[Point]) -> list[dict[str, str]]:
    """What a report needs to know of the metrics that the points may be judged by: their own, then ours."""
    references = dict.fromkeys(str(point["workload.metric"]) for point in points if point.get("workload.metric") is not None)
    own = {metric.name: metric for metric in map(own_metric, references)}
    return [metric.told() for metric in (*own.values(), *(metric for metric in METRICS if metric.name not in own))]


def _chips_of(points: Sequence[Point]) -> dict[str, Chip]:
    """The chips that the points begin with, before what a point sets; none where they are too many to print all their constants."""
    pairs = dict.fromkeys((str(point.get("chip.name", "isaac")), point.get("device.name")) for point in points)
    chips = {}
    for chip, device in pairs if len(pairs) <= MOST_CHIPS else ():
        with contextlib.suppress(HardwareError, OSError):  # its points have failed, each with the reason
            name = f"{chip}" if device is None else f"{chip} with cells {device}"
            chips[name] = load_chip(chip, {}, None if device is None else str(device))
    return chips


def _pin(options: argparse.Namespace) -> int:
    if options.out is not None:
        if options.workload is None:
            raise PinError("workload = (missing): what is to be pinned needs one, as in: xbar pin digits --chip edge --out FILE.json")
        given = {"workload.name": options.workload, "chip.name": options.chip, "device.name": options.device,
                 "workload.weights": options.weights, "workload.data": options.data}  # fmt: skip
        settings = {key: setting(key, text) for key, text in options.settings}
        configuration = {key: value for key, value in given.items() if value is not None} | settings
        print(pin(configuration, options.out, options.replace))
        return 0
    if options.replace:
        raise PinError("--replace is of use with --out only")
    for file in options.accept or ():
        table = accept(file)
        print(f"{file}: {'accepted' if table else 'as pinned'}{table and chr(10)}{table}")
    changed = {file: check(file) for file in options.check or ()}
    for file, table in changed.items():
        print(f"{file}: {'changed' if table else 'as pinned'}{table and chr(10)}{table}")
    return int(any(changed.values()))


def _report(options: argparse.Namespace) -> int:
    found = [(name, kind) for name, kind in KINDS.items() if (options.directory / name).is_file()]
    if not found:
        raise ResultsError(f"{options.directory}: no {', '.join(KINDS)} there; give the folder that --out named")
    view = View(options.pareto or (), options.heat or (), tuple(options.tornado), dict(options.better))
    for name, kind in found:
        if name != SUMMARY and view.asked:
            raise ResultsError(f"{options.directory} holds the results of {kind.what}; --pareto, --heat, --tornado and --better are of "
                               "use to those of a sweep")  # fmt: skip
    for name, kind in found:
        with drawing_again(options.directory, name), steps() as step:
            step("reading the results")
            sheet = kind.load(options.directory)
            chosen = replace(kind, draw=lambda sheet, out: draw_sweep(sheet, out, view)) if name == SUMMARY else kind
            _draw(chosen, sheet, options.directory, step)
            step(f"the report of {options.directory}: done")
        _show(options.directory, kind)
    return 0


def _compare(options: argparse.Namespace) -> int:
    began = datetime.now(UTC)
    if options.out is not None:
        _check_folder(options.out, COMPARISON_FILE, options.replace)
    found = compare(options.old, options.new, TOLERANCE if options.tolerance is None else options.tolerance)
    if options.out is not None:
        save_comparison(found, options.out)
        record(options, {}, began).save(options.out)
        with steps() as step:
            step("drawing the comparison: its pages as PDF, PNG and HTML")
            draw_comparison(found, options.out)
            step("comparison: done")
    print(summary_text(found), end="")
    if options.out is not None:
        print(f"\nreport:  {options.out}/comparison.pdf\nbrowser: {options.out}/comparison.html\ntables:  {options.out}/*.csv")
    return int(options.fail and found.changed)


def _advise(options: argparse.Namespace) -> int:
    out = options.directory / "advice" if options.out is None else options.out
    _check_folder(out, ADVICE_FILE, options.replace)
    if options.costs and (options.images, options.instances) != (None, None):
        raise ResultsError("--costs judges no images: leave --images and --instances out")
    began = datetime.now(UTC)
    with steps() as step:
        sheet = advise_run(options.directory, images=0 if options.costs else options.images, instances=options.instances, step=step)
        step("saving the tables")
        sheet.save(out)
        record(options, {}, began).save(out)
        _draw(KINDS[ADVICE_FILE], sheet, out, step)
        step(f"{sheet.meta['title']}: done")
    _show(out, KINDS[ADVICE_FILE])
    return 0


def _validate(options: argparse.Namespace) -> int:
    if options.out is not None:
        _check_folder(options.out, VALIDATION_FILE, options.replace)
    began = datetime.now(UTC)
    with steps() as step:
        step("setting the presets of measured chips against their points")
        found = table(points(options.points))
        sheet = sheet_of(found, summary(found))
        step("measured chips: done")
    print(validation_text(sheet), end="")
    if options.out is not None:
        sheet.save(options.out)
        record(options, {}, began).save(options.out)
        for path in draw_validation(sheet, options.out)[:2]:
            print(path)
    return 0


def _devices(options: argparse.Namespace) -> int:
    if options.out is not None:
        _check_pages(options.out, device_names(), options.replace)
    files = [load_device_file(name) for name in device_names()]
    print(device_table(files).to_string())
    print("\nSpreads and what a year leaves are of a cell at mid range. xbar run --device takes any TOML file of this form.")
    if options.out is not None:
        for path in draw_devices([device_sheet(file) for file in files], options.out):
            print(path)
    return 0


def _fit_device(options: argparse.Namespace) -> int:
    measured = read_measurements(options.files)
    check_out(options.out, measured, options.replace)
    given = _given(options, "title", "levels", "read_voltage", "reference_time")
    fit = fit_device(measured, name=options.out.stem, seed=options.seed, **given)
    paths = save_fit(fit, options.out, options.replace)
    print(fit_summary(fit))
    print("\n".join(f"wrote {path}" for path in paths))
    return 0


def _chips(options: argparse.Namespace) -> int:
    if options.out is not None:
        _check_pages(options.out, [f"{name}-converters" for name in preset_names()], options.replace)
    rows = {}
    for name in [*preset_names(), *silicon_names()]:
        chip = load_chip(name)
        peak, ends = chip.peak_operations_per_second, [chip_at(chip, end) for end in ENDS]
        rows[name] = {
            "crossbars": chip.crossbars, "array": f"{chip.structure.wordlines}x{chip.structure.bitlines}",
            "weights": f"{chip.weights.bits} bit", "inputs": f"{chip.inputs.bits} bit",
            "peak power W": f"{chip.peak_power:.3f}", "area mm²": f"{chip.area * 1e6:.3f}",
            "peak TOPS": f"{peak * 1e-12:.3f}", "TOPS/W": f"{peak / chip.peak_power * 1e-12:.3f}",
            "peak power W, band": " to ".join(f"{each.peak_power:.3g}" for each in ends),
            "area mm², band": " to ".join(f"{each.area * 1e6:.3g}" for each in ends),
        }  # fmt: skip
    print(pd.DataFrame.from_dict(rows, orient="index").rename_axis("preset").to_string())
    print("\nPeak: every cell in use, operations of the chip's own widths. Any TOML file of the same form works too.\n"
          "Band: all energy, power and area constants at their low, or high, ends together; see hw/README.md.")  # fmt: skip
    print("\n" + "\n".join(textwrap.wrap(
        f"Of chips that were built ({', '.join(silicon_names())}) arrays, drivers and converters are calibrated on published points; "
        "buffers, buses, routers and links around them are assumed, and stand in these totals. What was published is compared part by part "
        "by `xbar validate`; jia2020, sinangil2021 and wang2022 are SRAM, no memristors.", 150)))  # fmt: skip
    print(f"\n{accelerator_table().to_string()}")
    print("\nDigital accelerators that a run is set against, as published; no scaling between technology nodes.")
    if options.out is not None:
        for path in draw_converters([converter_sheet(load_chip(name)) for name in preset_names()], options.out):
            print(path)
    return 0


def _place(options: argparse.Namespace) -> int:
    if options.out is not None and options.out.exists():
        raise ResultsError(f"{options.out} is there already; give another file")
    chip = load_chip(options.chip, dict(options.settings), options.device)
    with steps() as step:
        step(f"tracing {options.workload}")
        model, example = untrained(options.workload, source=options.data)
        network = trace(model, example)
        found = ways(network, chip, options.batch or BATCHES, Memory(options.memory), options.pulses, step)
    print(f"{options.workload} on {chip.title}\n\n{told(found, chip)}")
    if options.out is not None:
        write_text(options.out, found.to_csv(index=False))
    return 0


COMMANDS = {
    "run": _run, "compress": _compress, "sweep": _sweep, "search": _search,
    "pin": _pin, "place": _place, "chips": _chips, "devices": _devices,
    "report": _report, "compare": _compare, "fit-device": _fit_device, "validate": _validate,
    "advise": _advise, "serve": serve_command, "refresh": refresh_command,
}  # fmt: skip
