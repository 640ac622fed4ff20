"""The command `xbar`: what it can be asked. What it then does is in `workloads/commands.py`, which loads torch; nothing here does."""

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xbar.hw.errors import did_you_mean
from xbar.workloads.offered import (
    ALLOCATIONS,
    ASSUMED_SIGMA,
    AUTO,
    BEST_BITS,
    COMPRESSION_METHOD,
    COMPRESSION_METHODS,
    COMPUTES,
    LIMITED,
    MEMORIES,
    NETWORKS,
    OTHERS,
    RATE,
    RECOMMENDER_CANDIDATES,
    RECOMMENDER_REQUESTS,
    RECOMMENDER_SEEDS,
    SHARING,
    STUDY_REQUESTS,
    TARGETS,
    TASKS,
    TRAINING_OPTIONS,
    TRIES,
    WORKLOADS,
    chip_of,
    is_own,
)
from xbar.workloads.words import WholeWords


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the request cannot be met, 2 wrong usage, 3 a sweep of
    which some points failed, 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "run" and options.out is None and options.template is None:
        parser.error("the following arguments are required: --out")
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    if getattr(options, "chip", "") is None:
        options.chip = chip_of(options.workload)
    warnings.formatwarning = _warning
    try:
        from xbar.workloads.early import answer  # here: help and wrong usage need not wait for it

        told = answer(options)
        if told is not None:
            return told
        from xbar.workloads.commands import (
            execute,  # here: it loads torch, which what is answered so far need not wait for
        )

        return execute(options)
    except KeyboardInterrupt:
        print("xbar: interrupted; what is kept on the way is used when the same command is given again", file=sys.stderr)
        return 130


def _warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """What a warning of ours looks like to who typed a command: without the place in the code, which tells those of others apart."""
    where = "" if category.__module__.startswith("xbar.") else f"{filename}:{lineno}: {category.__name__}: "
    return f"xbar: warning: {where}{message}\n"


LARGEST_SEED = 2**53  # as sweeps have it
MOST_LEVELS = 65536  # of a cell, as device files have it


def _add_fairea(run_parser: argparse.ArgumentParser) -> None:
    """Options of fair assignment alone; files that a folder in --data holds are found there."""
    run_parser.add_argument("--attribute", action="append",
                            help="fairea: of people, whose mixing counts (default: the network's own, or gender); again for a second "
                            "one, to class people by both at once")  # fmt: skip
    files = {"open": "positions that are open: position", "fitness": "position, candidate, fitness, or a matrix",
             "outcomes": "past outcomes to learn fitness from"}  # fmt: skip
    for name, text in files.items():
        run_parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"fairea: {text}, as CSV")
    run_parser.add_argument("--limit", action="append", type=_limit, metavar="NAME=VALUE",
                            help=f"fairea: of the matching that answers, {', '.join(LIMITED)}: |r| and members alone at most, ratios of "
                            "selection rates, ties and cores and the rarest class's share of communities at least; may be repeated "
                            "(default: so that nothing is worse)")  # fmt: skip
    run_parser.add_argument("--least-fitness", type=_finite, metavar="X", help="fairea: below which a pair does not qualify")
    run_parser.add_argument("--least-weight", type=_finite, metavar="X", help="fairea: below which a tie is none")
    run_parser.add_argument("--template", type=Path, metavar="DIR", help="fairea: write a small organisation's files to change, and stop")


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in LIMITED:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(LIMITED)}")
    try:
        return name, _finite(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: a number is needed after =") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _parser() -> argparse.ArgumentParser:
    parser = WholeWords(
        prog="xbar",
        description="Run a neural network on a simulated memristor chip: accuracy, time, energy, power, area.",
    )
    parser.add_argument("--version", action="version", version=f"xbar {version('xbar')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run_parser = commands.add_parser("run", help="run a workload on a chip and write a report", epilog=TRUST)
    workloads = "; ".join(f"{name}: {text}" for name, text in WORKLOADS.items())
    run_parser.add_argument("workload", type=_workload_of(*WORKLOADS, *OTHERS), metavar="WORKLOAD", help=f"{workloads}; " + "; ".join(
        f"{name}: {text}" for name, text in OTHERS.items()) + f"; {OWN}")  # fmt: skip
    run_parser.add_argument(
        "--chip", metavar="PRESET_OR_FILE",
        help="a preset that xbar chips lists (default isaac; isaac-vector for vit, rows and recommender, edge for gpt), or a TOML file",
    )  # fmt: skip
    run_parser.add_argument(
        "--device", metavar="PRESET_OR_FILE",
        help="cells in place of the chip's own: a preset that xbar devices lists, or a TOML file",
    )  # fmt: skip
    run_parser.add_argument(
        "--chips", type=_chips, metavar="N|auto",
        help="chips that the network lies on, a part of its layers on each: a number, or auto for as few as hold it (default 1)",
    )  # fmt: skip
    run_parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings",
        help="change one value of the chip, as in device.levels=16 or device.g_max=25uS; without a unit in that of the chip file; may be "
        "repeated",
    )  # fmt: skip
    run_parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the report and its tables (needed, but for --template)")
    run_parser.add_argument("--replace", action="store_true", help="write over finished results in DIR; interrupted ones go on without it")
    _add_data(run_parser)
    trained = run_parser.add_mutually_exclusive_group()
    trained.add_argument(
        "--weights", type=Path, metavar="FILE",
        help="trained weights: a state dict that torch.save wrote, or weights.pt of a compression; none are trained then",
    )  # fmt: skip
    trained.add_argument(
        "--train", action="store_true", default=None,
        help="weights trained on this computer, in place of those that ship with the project (of seed 0)",
    )  # fmt: skip
    run_parser.add_argument("--host", action="append", metavar="MODULE",
                            help="a module of a network of one's own that a host computes beside the chip; may be repeated")  # fmt: skip
    run_parser.add_argument("--seed", type=_seed, default=0, help="of training and of chip instances (default 0)")
    run_parser.add_argument("--compute", choices=COMPUTES, help="where chips compute and --train trains (default cpu)")
    run_parser.add_argument("--instances", type=_from_one, help=f"chip instances per point (default: {_usual('instances')})")
    run_parser.add_argument("--images", type=_from_one,
                            help=f"test samples (images, rows, windows) per score (default: {_usual('images')})")  # fmt: skip
    run_parser.add_argument(
        "--requests",
        type=_from_one,
        help=f"requests simulated in one batch (default {STUDY_REQUESTS}, of gpt {NETWORKS['gpt'].requests}); recommender: at each rate "
        f"(default {RECOMMENDER_REQUESTS})",
    )
    run_parser.add_argument(
        "--study", choices=("full", "quick"), default="full",
        help="full: also each non-ideality alone, layer by layer, yield, drift; quick: without them, every other ADC resolution on one "
        "chip, 3 chip instances at most unless --instances says more",
    )  # fmt: skip
    run_parser.add_argument(
        "--sharing", choices=SHARING,
        help="what layers share: nothing (none: whole cores a layer), cores, or crossbars too, on as few as are found; as_needed, the "
        "default: nothing where the chip has room for it, else cores",
    )  # fmt: skip
    run_parser.add_argument(
        "--seeds", type=_from_one, help=f"recommender: trainings of each method (default {RECOMMENDER_SEEDS})"
    )
    run_parser.add_argument(
        "--candidates", metavar="N|FILE",
        help=f"recommender: scored in a request (default {RECOMMENDER_CANDIDATES}); fairea: id and attributes, as CSV",
    )  # fmt: skip
    _add_fairea(run_parser)
    run_parser.set_defaults(command="run")
    _add_compress(commands)
    _add_sweep(commands)
    _add_search(commands)
    _add_pin(commands)
    _add_place(commands)
    _add_compare(commands)
    _add_advise(commands)
    _add_serve(commands)
    _add_refresh(commands)

    chips_parser = commands.add_parser("chips", help="table of chip presets: power, area, peak TOPS, TOPS/W")
    chips_parser.add_argument("--out", type=Path, metavar="DIR", help="folder for a page of each chip's converters")
    chips_parser.add_argument("--replace", action="store_true", help="write over pages that are in DIR")
    asked = chips_parser.add_mutually_exclusive_group()
    asked.add_argument("--keys", nargs="?", const="generic", metavar="PRESET_OR_FILE",
                       help="every key of a chip file: what a chip (default generic) has there, what it may be, what it means")  # fmt: skip
    asked.add_argument("--template", nargs="?", const="generic", metavar="PRESET_OR_FILE",
                       help="print a chip file that says every key, begun from a chip (default generic)")  # fmt: skip
    chips_parser.set_defaults(command="chips")

    devices_parser = commands.add_parser("devices", help="table of device presets; with --out a page of each")
    devices_parser.add_argument("--out", type=Path, metavar="DIR", help="folder for a PNG and a PDF of each device")
    devices_parser.add_argument("--replace", action="store_true", help="write over pages that are in DIR")
    devices_parser.set_defaults(command="devices")
    _add_fit_device(commands)

    validate_parser = commands.add_parser("validate", help="chips that were built and measured, against what the model says of them")
    validate_parser.add_argument("--points", type=Path, metavar="FILE.csv",
                                 help="published points, in the form of workloads/study/silicon.csv (default: that file)")  # fmt: skip
    validate_parser.add_argument("--out", type=Path, metavar="DIR", help="folder for pages and tables; without it tables are printed only")
    validate_parser.add_argument("--replace", action="store_true", help="write over an earlier comparison in DIR")
    validate_parser.set_defaults(command="validate")

    report_parser = commands.add_parser("report", help="draw the report of a results folder again")
    report_parser.add_argument("directory", type=Path, metavar="DIR")
    of_sweep = report_parser.add_argument_group("of a sweep", "columns are those of its results.parquet")
    of_sweep.add_argument("--pareto", type=_columns, metavar="COLUMN,COLUMN[,COLUMN]", help="columns of the Pareto front")
    of_sweep.add_argument("--heat", type=_columns, metavar="AXIS,AXIS[,METRIC]", help="axes of the heat map, and what it shows")
    of_sweep.add_argument("--tornado", action="append", default=[], metavar="METRIC",
                          help="whose sensitivity to each axis is drawn; may be repeated")  # fmt: skip
    of_sweep.add_argument("--better", action="append", default=[], type=_side, metavar="COLUMN=low|high",
                          help="which side of a column is better, where its name does not tell; may be repeated")  # fmt: skip
    report_parser.set_defaults(command="report")
    return parser


def _add_serve(commands: Any) -> None:
    told = "answer requests for scores over HTTP, from the embeddings that run recommender or refresh left"
    parser = commands.add_parser("serve", help=told, epilog="POST /score, GET /health, GET /metrics; versions are switched while it runs")
    parser.add_argument("directory", type=Path, metavar="RUN", help="folder that --out of run recommender named, or a store of embeddings")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default %(default)s, this computer alone)")
    parser.add_argument("--port", type=_port, default=8000, help="(default %(default)s; 0: any that is free)")
    parser.add_argument("--threads", type=_from_one, default=4, metavar="N", help="that score beside each other (default %(default)s)")
    parser.add_argument("--verify", action="store_true", help="check every embedding first: some 3 s a million members")
    parser.set_defaults(command="serve")


def _add_refresh(commands: Any) -> None:
    told = "adapt members to their latest interactions and serve the outcome, where a recommender was run"
    parser = commands.add_parser("refresh", help=told, epilog="Killed anywhere, the version before serves on, and the same command goes "
                                 "on. Exit code: 0 published, 1 members of other shards are missing, or it cannot be done")  # fmt: skip
    parser.add_argument("directory", type=Path, metavar="RUN", help="folder that --out of run recommender named")
    parser.add_argument("--data", type=Path, metavar="DIR", help="interactions, as for run (default: the synthetic ones)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the synthetic interactions (default 0)")
    parser.add_argument("--until", type=_from_one, metavar="SECONDS", help="Unix time from which on interactions are left out")
    parser.add_argument("--workers", type=_from_one, default=1, metavar="N", help="processes on this computer (default 1)")
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a dask scheduler, whose workers adapt instead")
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="K/N",
                        help="adapt only the K-th of N parts of the members, 0 to N - 1; who finds nobody missing publishes")  # fmt: skip
    parser.add_argument("--switch", nargs="?", type=_from_one, const=0, metavar="VERSION",
                        help="adapt nobody, and serve this version, or the one before the present")  # fmt: skip
    parser.add_argument("--keep", type=_from_one, metavar="N", help="afterwards remove all but the last N versions and the one that serves")
    parser.set_defaults(command="refresh")


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N, K from 0 to N - 1")
    return int(part), int(parts)


def _add_place(commands: Any) -> None:
    told = "how a network gets on a chip, a too small one too: on several, or in turns with rewritten cells; energy, latency, wear"
    parser = commands.add_parser("place", help=told, epilog=TRUST)
    parser.add_argument("workload", type=_workload_of(*WORKLOADS), metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}; {OWN}")
    parser.add_argument("--data", metavar="FILE", help="data of a network of one's own, whose first inputs are its example, as for run")
    parser.add_argument("--chip", metavar="PRESET_OR_FILE", help="as for run")
    parser.add_argument("--device", metavar="PRESET_OR_FILE", help="cells in place of the chip's own, as for run")
    parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings", help="as for run"
    )
    parser.add_argument("--batch", type=_batches, metavar="N[,N]", help="requests served together (default 1,16,256)")
    parser.add_argument("--memory", default="HBM2", choices=MEMORIES, help="that weights come from in turns (default %(default)s)")
    parser.add_argument("--pulses", type=_above_zero, default=1.0, metavar="N", help="write pulses a cell takes on the mean (default 1)")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="the table, in SI units")
    parser.set_defaults(command="place")


def _batches(text: str) -> list[int]:
    return [_from_one(part) for part in text.split(",")]


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser("compare", help="what changed between two results folders, component by component")
    parser.add_argument("old", type=Path, metavar="OLD", help="folder that --out of run, compress or sweep named")
    parser.add_argument("new", type=Path, metavar="NEW", help="another of the same command")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for pages and tables; without it only a table is printed")
    parser.add_argument("--replace", action="store_true", help="write over an earlier comparison in DIR")
    parser.add_argument("--tolerance", type=_tolerance, metavar="SHARE",
                        help="of the old value, up to which a value counts as the same (default 1e-9)")  # fmt: skip
    parser.add_argument("--fail", action="store_true", help="exit code 1 where a result changed by more than the tolerance; else it is 0")
    parser.set_defaults(command="compare")


def _add_advise(commands: Any) -> None:
    parser = commands.add_parser(
        "advise", help="what to change of a chip: single changes and pairs, each estimated from a run's ledger and simulated",
        epilog=f"Changes that cost accuracy beyond its 95 % interval are not called help. {TRUST}",
    )  # fmt: skip
    parser.add_argument("directory", type=Path, metavar="RUN", help="folder that --out of xbar run named")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for advice.csv and its report (default: advice in RUN)")
    parser.add_argument("--replace", action="store_true", help="write over earlier advice in DIR")
    parser.add_argument("--costs", action="store_true", help="energy, latency, throughput and area alone: a second or less a change")
    parser.add_argument("--images", type=_from_one, help="test samples that accuracies are judged on, the same for all (default 100)")
    parser.add_argument("--instances", type=_from_one, help="chip instances that they are judged on (default: the run's, 3 at most)")
    parser.set_defaults(command="advise")


def _tolerance(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a share of 0 or more, as in 0.01")
    return share


def _add_fit_device(commands: Any) -> None:
    parser = commands.add_parser(
        "fit-device", help="a device file from measured cells: models fitted, chosen by cells held out, with their errors",
        epilog="Files are told apart by their columns: writes have cell,target_S,conductance_S; reads cell,read,conductance_S; drift "
        "cell,time_s,conductance_S. Lines that begin with # are notes. Without reads or drift the file says nothing of them.",
    )  # fmt: skip
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.csv", help="writes, and reads and drift where they were measured")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.toml",
                        help="the device file; beside it a page (pdf, png), a summary (txt), the judgement (_models.csv)")  # fmt: skip
    parser.add_argument("--replace", action="store_true", help="write over files that are there")
    parser.add_argument("--levels", type=_levels, metavar="N", help="levels of a cell, a power of two; the data do not tell")
    parser.add_argument("--read-voltage", type=_above_zero, metavar="VOLT", help="of the reads; the data do not tell")
    parser.add_argument("--reference-time", type=_above_zero, metavar="SECONDS",
                        help="t0 of the drift law (default: found in the data, or 1 s assumed where they do not tell)")  # fmt: skip
    parser.add_argument("--title", help="of the cells, for pages")
    parser.add_argument("--seed", type=_seed, default=0, help="of the cells that are held out (default 0)")
    parser.set_defaults(command="fit-device")


def _levels(text: str) -> int:
    levels = _whole(text, 2)
    if levels & (levels - 1) or levels > MOST_LEVELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a power of two of 2 to {MOST_LEVELS}")
    return levels


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _add_compress(commands: Any) -> None:
    parser = commands.add_parser("compress", help="make a workload's network small for a chip and report what that brought", epilog=TRUST)
    parser.add_argument("workload", type=_workload_of(*WORKLOADS), metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}; {OWN}")
    parser.add_argument("--chip", metavar="PRESET_OR_FILE", help="as for run")
    parser.add_argument("--device", metavar="PRESET_OR_FILE", help="cells in place of the chip's own, as for run")
    parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings", help="as for run"
    )
    parser.add_argument(
        "--target", action="append", required=True, type=_target, metavar="WHAT=SHARE",
        help=f"what is to be left at most, as in area=0.1, of {', '.join(TARGETS)}; may be repeated",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints, report and tables")
    parser.add_argument("--replace", action="store_true", help="write over finished results in DIR, as for run")
    _add_data(parser)
    trained = parser.add_mutually_exclusive_group()
    trained.add_argument("--weights", type=Path, metavar="FILE", help="trained weights, as for run")
    trained.add_argument("--train", action="store_true", default=None, help="weights trained on this computer first, as for run")
    parser.add_argument("--seed", type=_seed, default=0)
    parser.add_argument("--compute", choices=(*COMPUTES, AUTO), default=AUTO,
                        help="where networks are trained and chips compute (default auto: cuda where torch finds it)")  # fmt: skip
    parser.add_argument("--bits", type=_bits, help=f"bits of a weight after, or {AUTO}: what spares most for its damage, beside cuts "
                        f"(default: the chip's own, at most {BEST_BITS})")  # fmt: skip
    parser.add_argument("--input-bits", type=_bits, help=f"bits of an input after, or {AUTO} (default: the chip's own)")
    parser.add_argument("--sigma", type=float, help="programming error of varied chips (default: the cells' own, or "
                        f"{ASSUMED_SIGMA:g} where they have none)")  # fmt: skip
    parser.add_argument("--rate", type=float, default=RATE, help="inferences per second of power figures (default %(default)g)")
    parser.add_argument("--instances", type=_from_one, help=f"varied chips (default {_usual('compressed_instances')})")
    parser.add_argument("--images", type=_from_one,
                        help=f"test samples (images, rows, windows) judged on chips (default {_usual('compressed_images')})")  # fmt: skip
    parser.add_argument("--most-lost", type=_points, metavar="POINTS",
                        help="as strong as loses no more points of accuracy than this on validation samples (of other metrics percent of "
                        "the value): a common factor on the targets is sought")  # fmt: skip
    parser.add_argument("--tries", type=_from_one, metavar="N", help=f"with --most-lost: compressions at most (default {TRIES})")
    parser.add_argument("--method", choices=COMPRESSION_METHODS,
                        help=f"how filters and inputs are chosen: {', '.join(f'{k}: {v}' for k, v in COMPRESSION_METHODS.items())} "
                        f"(default {COMPRESSION_METHOD}, of digits admm)")  # fmt: skip
    parser.add_argument("--allocation", choices=ALLOCATIONS, help="how much each layer keeps: by what the chip charges for it, or the same "
                        "share of filters everywhere (default cost-aware)")  # fmt: skip
    parser.add_argument("--epochs", type=_from_one, help="of all training after the choice of what to keep, each stage with its share")
    parser.add_argument("--learning-rate", type=_above_zero, help="the highest (default: the network's)")
    parser.add_argument("--rho", type=_above_zero, help="of --method admm at the start, whose residuals then change it")
    parser.add_argument("--training", action="append", default=[], type=_setting, metavar="KEY=VALUE",
                        help=f"more of training, of {', '.join(TRAINING_OPTIONS)}; may be repeated (docs/commands.md)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer epochs of everything, a baseline's too, and samples: to try it out")
    parser.add_argument("--onnx", action="store_true", help="leave the network as network.onnx too (needs the extra onnx)")
    parser.add_argument("--no-pareto", action="store_true", help="without the picture of methods against each other")
    parser.set_defaults(command="compress")


OWN = "or a network of one's own: FILE.py:FUNCTION that gives a torch module, FILE.pt2 of torch.export.save, FILE.onnx"
COMPUTE_OF_POINTS = "study.compute of every point: where chips compute and networks are trained (default: as the file says, else cpu)"
TRUST = "Files of Python are run, and a .pt2 file may run what it holds: give only files that you trust."


def _workload_of(*known: str) -> Callable[[str], str]:
    """Reads a workload's name, or the file of a network of one's own."""

    def workload(text: str) -> str:
        if text in known or is_own(text):
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(known)}, {OWN}{did_you_mean(text, known)}")

    return workload


def _add_data(parser: argparse.ArgumentParser) -> None:
    """What a network is judged on."""
    parser.add_argument("--data", type=Path, metavar="DIR_OR_FILE",
                        help="folder of the official data files; for a network of one's own FILE.npz of x_train, y_train, x_test, y_test, "
                        "or FILE.py:FUNCTION that gives them, or two loaders")  # fmt: skip
    parser.add_argument("--task", choices=TASKS, help="of a network of one's own (default: as its targets are)")
    parser.add_argument("--metric", metavar="FILE.py:NAME", help="what a network of one's own is judged by: a function of outputs and "
                        "targets, with an attribute better, high or low (default: the task's)")  # fmt: skip


def _usual(name: str) -> str:
    """What each network has of it, in words."""
    return ", ".join(f"{network} {getattr(offered, name)}" for network, offered in NETWORKS.items())


def _target(text: str) -> tuple[str, float]:
    name, share = _setting(text)
    try:
        return name, float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WHAT=SHARE, as in area=0.1") from None


def _add_sweep(commands: Any) -> None:
    parser = commands.add_parser(
        "sweep", help="judge many points over workload, chip, device and compression, from a TOML file",
        epilog="Exit code: 0 all points done, 3 some failed (their errors stand in results.parquet), 1 all failed or the sweep cannot "
        f"be done. {TRUST}",
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the points; examples/sweep.toml explains its form")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for results.parquet and report; points that are done there are not computed again, "
                        "and a sweep that was there before must be a part of this one")  # fmt: skip
    parser.add_argument("--workers", type=_from_one, metavar="N", help="processes on this computer (default: one a core)")
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a dask scheduler, whose workers compute the points instead")
    parser.add_argument("--retry-failed", action="store_true", help="compute again what ended in an error before")
    parser.add_argument("--compute", choices=COMPUTES, help=COMPUTE_OF_POINTS)
    parser.set_defaults(command="sweep")


def _add_search(commands: Any) -> None:
    parser = commands.add_parser(
        "search", help="look for the designs that nothing beats, within constraints, among many more than are judged, from a TOML file",
        epilog="Exit code: 0 a design is chosen, 1 none is, as none was shown to hold the constraints, or the search cannot be done. "
        f"{TRUST}",
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="what is searched for; examples/search.toml explains its form")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for results.parquet and report; designs that are judged there are not judged again")  # fmt: skip
    parser.add_argument("--workers", type=_from_one, metavar="N", help="processes on this computer (default: one a core)")
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a dask scheduler, whose workers judge instead")
    parser.add_argument("--retry-failed", action="store_true", help="judge again what ended in an error before")
    parser.add_argument("--compute", choices=COMPUTES, help=COMPUTE_OF_POINTS)
    parser.set_defaults(command="search")


def _add_pin(commands: Any) -> None:
    told = "write a configuration's energy, latency and area to a file, or check such files"
    parser = commands.add_parser("pin", help=told, epilog=TRUST)
    networks = [*WORKLOADS, "recommender"]
    parser.add_argument("workload", nargs="?", type=_workload_of(*networks), metavar="WORKLOAD", help=f"{', '.join(networks)}; {OWN}")
    parser.add_argument("--data", metavar="FILE", help="data of a network of one's own, as for run")
    parser.add_argument("--chip", metavar="PRESET_OR_FILE", help="as for run")
    parser.add_argument("--device", metavar="PRESET_OR_FILE", help="cells in place of the chip's own, as for run")
    parser.add_argument("--weights", metavar="FILE", help="trained weights, as for run; without them initial ones")
    parser.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings", help="as for run"
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, metavar="FILE.json", help="write the present values of WORKLOAD on the chip")
    action.add_argument("--check", type=Path, nargs="+", metavar="FILE.json", help="show what changed; the exit code is 1 then")
    action.add_argument("--accept", type=Path, nargs="+", metavar="FILE.json", help="write the present values, and show what changed")
    parser.add_argument("--replace", action="store_true", help="with --out: write over a pin that is there")
    parser.set_defaults(command="pin")


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, as in device.levels=16")
    return key, value


def _columns(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if len(names) not in (2, 3) or not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not two or three names with commas between, as in accuracy,energy_J")
    return names


def _side(text: str) -> tuple[str, str]:
    column, _, side = text.rpartition("=")
    if not column or side not in ("low", "high"):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=low or COLUMN=high")
    return column, side


def _from_one(text: str) -> int:
    return _whole(text, 1)


def _chips(text: str) -> int | str:
    try:
        return text if text == "auto" else _whole(text, 1)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number of at least 1 nor auto") from None


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of points from 0 to 100")
    return value


def _bits(text: str) -> int | str:
    return text if text == AUTO else _from_one(text)


def _seed(text: str) -> int:
    if (seed := _whole(text, 0)) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is above {LARGEST_SEED}")
    return seed


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
