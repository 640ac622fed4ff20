"""From Python: the whole report of a model and data at hand."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import load_chip
from xbar.reports.render import render
from xbar.reports.results import Results
from xbar.workloads.own import check_batches, dataset, judged
from xbar.workloads.study.run import Study, run
from xbar.workloads.task import Function, Metric
from xbar.workloads.workload import Workload


def report(
    model: nn.Module, data: Any, chip: Chip | str, out: str | Path, study: Study | None = None, title: str = "", *,
    metric: Metric | Function | None = None, host: Sequence[str] = (), step: Callable[[str], None] = lambda _: None,
    compute: str | None = None,
) -> Results:  # fmt: skip
    """Everything that `xbar run` writes, of a trained model at hand: tables, report.pdf and report.html in the folder `out`.

    data: as `dataset` takes it; chip: one, or the name of a preset or file; study: of `xbar.workloads.study.run`, its quick one unless
    given; metric: a Metric, or a function whose attribute `better` is "high" or "low"; host: names of modules that a host computes;
    compute: where chips compute, "cpu" or "cuda", in place of the study's. The model is in evaluation mode meanwhile. Raises DataError and
    what `xbar.workloads.study.run.run` raises.
    """
    found, name = dataset(data, metric=metric), title or getattr(model, "__name__", type(model).__name__)
    with _evaluating(model):
        check_batches(model, found.train_inputs, name)
        reached = judged(model, found, name)
        left = (host,) if isinstance(host, str) else tuple(host)
        workload = Workload(name.lower().replace(" ", "-"), name, model, found, reached, host=left)
        study = study or Study().quick()
        study = study if compute is None else replace(study, compute=compute)
        results = run(workload, load_chip(chip) if isinstance(chip, str) else chip, study, step)
    step("drawing the report")
    results.save(Path(out))
    render(results, Path(out))
    return results


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """A block in which a model evaluates; its modules are in the mode that they had after it."""
    modes = {each: each.training for each in model.modules()} if isinstance(model, nn.Module) else {}
    try:
        for each in modes:
            each.training = False
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode
