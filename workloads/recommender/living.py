"""A chip that lives: months in which members come and interact, embeddings are rewritten, cells drift and wear, and requests wait.

    python -P -m xbar.workloads.recommender.living --out out/living

Two time scales. Between checks, hours to months apart, cells change by their closed laws alone: each number drifts from when its row was
last written, by the exponents of its cells; nothing is stepped, so that a check after a year costs what one after an hour does. At a check
the policy chooses rows, and they are written once, cell by cell, by the device's own write-verify: the same draws tell the pulses,
which cost energy, time and wear, and the error that is left. Within the seconds around a check requests are served one by one, by the
placed network's recursion (`xbar.hw.events.steady`), and wait while the table is written.

What is simulated are `members` of synthetic interactions over a year, who come in its first two thirds, with a learner that was trained
on other members of the same world and is frozen; each interaction is scored before it is learned from, by the embedding that lies in the
cells at that time and by a global block whose weights lie in such cells too. Energy, time and waiting are told of a whole chip, of whose
members these are a sample.

Assumed: a number is a pair of cells a digit, of one scale for the table; the age of a row is known, and what is read of it is multiplied by
what the device's law says that a cell at g_max has lost on the mean (the multiplication's energy is not counted); cells of a row take the
mean pulses of those that are written with it; endurance is log-normal about the device's, and a worn cell is stuck at either end of its
range. Not modelled: read noise, converters and wires (`on_chip` judges these), disturbance, temperature.
"""

import argparse
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xbar.hw import Chip, load_chip, load_device
from xbar.hw.cells.device import Device
from xbar.hw.cells.programmed import Programmed
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.simulator import simulate
from xbar.hw.events.steady import Queue
from xbar.reports.living import LivingSheet, draw_living
from xbar.workloads.progress import steps
from xbar.workloads.recommender.interactions import DAY, HOUR, Interactions, Taste, synthetic
from xbar.workloads.recommender.learning import Learner, MetaRecipe, Tables, meta_train
from xbar.workloads.recommender.load import energy_of, serving_placement
from xbar.workloads.recommender.quality import Ranking, one_thread
from xbar.workloads.study.effects import missing_writes

YEAR = 365.25 * DAY
Rule = Literal["never", "changed", "all", "drift", "error"]
RECIPE = MetaRecipe(epochs=16, support=32, size=16, hidden=(64, 32), weight_decay=0.05)
TASTES = Taste(items=200, drift_hours=3000.0)  # whose correlation falls to 1 / e in 125 days
MOST_LOST = 0.002  # of AUC, below the best, that the chosen policy may lose
LEAST_YEARS = 10.0  # that its cells must last
NEAR = 400  # services after a write, in which queues have settled again


@dataclass(frozen=True)
class Policy:
    """When rows are written. hours: between checks. rule: never; those of members with new interactions ("changed"), and besides these
    "all" others, those whose drift by the device's law has come to `threshold` ("drift"), or those whose error, read back from the
    cells, has ("error"). threshold: of the range of numbers, root mean square over the row."""

    name: str
    hours: float
    rule: Rule
    threshold: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.hours < math.inf or not 0 < self.threshold < math.inf:
            raise ParameterError(f"policy {self.name}: hours and threshold must be above 0 and finite")


POLICIES = (
    Policy("never", 24 * 7, "never"), Policy("changed, weekly", 24 * 7, "changed"), Policy("changed, daily", 24, "changed"),
    Policy("all, weekly", 24 * 7, "all"), Policy("changed and by drift, daily", 24, "drift", 0.03),
    Policy("changed and by error, daily", 24, "error"),
)  # fmt: skip


@dataclass(frozen=True)
class Life:
    """What is lived through. window_days: of a row of the table; teachers: members that the learner was trained on; members: who are
    simulated; interactions: of each in all the days, on the mean; bits: of a number, its sign among them; verify, most_pulses: accepted
    error of a write, of the range, and pulses of a cell at most; endurance_spread: standard deviation of the logarithm of the endurance;
    load: share of the chip's capacity that requests take; a_chip: members on a chip; candidates: of a request."""

    days: int = 365
    window_days: int = 14
    teachers: int = 300
    members: int = 80
    interactions: int = 150
    bits: int = 9
    verify: float = 0.03
    most_pulses: int = 10
    endurance_spread: float = 0.5
    load: float = 0.5
    a_chip: int = 100_000
    candidates: int = 50
    seed: int = 0


# ---- numbers in cells


class Cells:
    """Rows of numbers in memristive cells, each written at its own times. scale: largest magnitude that is held; larger ones are
    clipped. pulses: per cell of each row (rows,), of all writes; stuck: int8 of each cell."""

    def __init__(self, rows: int, size: int, device: Device, bits: int, scale: float, seed: int, endurance_spread: float = 0.0):
        self.device, self.scale, self.top = device, scale, 2 ** (bits - 1) - 1
        self.slices = -(-(bits - 1) // device.bits)
        shape = (rows, size, 2, self.slices)  # positive and negative part, least digit first
        self.generator = torch.Generator().manual_seed(seed)
        self.conductance, self.exponent = torch.full(shape, device.g_min), torch.zeros(shape)
        self.stuck = torch.zeros(shape, dtype=torch.int8)
        self.written, self.wanted = torch.zeros(rows, dtype=torch.float64), torch.zeros(rows, size)
        self.pulses = torch.zeros(rows, dtype=torch.float64)
        spread = torch.randn(shape, generator=self.generator) * endurance_spread
        self.endurance = (device.endurance or math.inf) * torch.exp(spread)

    @property
    def cells(self) -> int:
        """Cells of a row."""
        return self.conductance[0].numel()

    def write(self, rows: Tensor, values: Tensor, time: float) -> float:
        """Write these rows (n,) to values (n, size) at a time [s]; mean pulses of a cell, of which the rows' wear is made too."""
        if not len(rows):
            return 0.0
        whole = (values / self.scale * self.top).round().clamp(-self.top, self.top)
        base = 2**self.device.bits
        parts = torch.stack([whole.clamp(min=0), (-whole).clamp(min=0)], 2)
        digits = torch.stack([(parts // base**k) % base for k in range(self.slices)], 3)
        written = self.device.program(self.device.conductance(digits, self.device.bits), self.generator, stuck=self.stuck[rows])
        self.conductance[rows], self.written[rows] = written.conductance, time
        self.wanted[rows] = whole * self.scale / self.top
        if written.drift_exponent is not None:
            self.exponent[rows] = written.drift_exponent
        self.pulses[rows] += written.pulses_per_cell
        self._wear(rows)
        return written.pulses_per_cell

    def _wear(self, rows: Tensor) -> None:
        worn = (self.pulses[rows][:, None, None, None] > self.endurance[rows]) & (self.stuck[rows] == 0)
        if worn.any():
            ends = torch.randint(0, 2, worn.shape, generator=self.generator, dtype=torch.int8) * 2 - 1
            stuck = torch.where(worn, ends, self.stuck[rows])
            held = torch.where(stuck > 0, self.device.g_max, self.device.g_min)
            self.stuck[rows] = stuck
            self.conductance[rows] = torch.where(stuck == 0, self.conductance[rows], held)
            self.exponent[rows] = torch.where(stuck == 0, self.exponent[rows], 0.0)

    def read(self, time: float) -> Tensor:
        """The numbers (rows, size) that lie in the cells at a time [s], without read noise."""
        ages = (time - self.written).float()[:, None, None, None]
        drifts = self.exponent if self.device.drifts else None
        held = self.device.conductance_at(Programmed(None, self.conductance, drifts), ages)
        digits = (held - self.device.g_min) / self.device.level_step(self.device.bits)
        parts = (digits * 2.0 ** (self.device.bits * torch.arange(self.slices))).sum(3)
        return (parts[..., 0] - parts[..., 1]) * self.scale / self.top * self._elapsed(time)[:, None] ** self._common

    def _elapsed(self, time: float) -> Tensor:
        """(age + t0) / t0 of each row (rows,)."""
        return ((time - self.written) / (self.device.reference_time or 1.0) + 1).float()

    @property
    def _common(self) -> float:
        """Mean exponent of a cell at g_max, which reading makes up for."""
        return float(self.device.drift_law(torch.tensor([self.device.g_max]))[0]) if self.device.drifts else 0.0

    def errors(self, time: float) -> Tensor:
        """Root mean square over each row of what is read less what was to be written, of the range (rows,)."""
        return (self.read(time) - self.wanted).square().mean(1).sqrt() / self.scale

    def expected_drift(self, time: float) -> Tensor:
        """The same of drift alone, by the device's law at what was to be written, in one cell of the whole range (rows,).

        What is left of G after age t is exp(-d L - s L N), L = ln((t + t0) / t0), d the mean exponent less what reading makes up for, s its
        spread, N normal: the mean square of that less 1 is exp(2 s² L² - 2 d L) - 2 exp(s² L² / 2 - d L) + 1.
        """
        if not self.device.drifts:
            return torch.zeros(len(self.written))
        share = self.wanted.abs() / self.scale
        mean, spread = self.device.drift_law(self.device.g_min + (self.device.g_max - self.device.g_min) * share)
        log = self._elapsed(time).log()[:, None]
        lost, varied = (mean - self._common) * log, (spread * log).square()
        return (share.square() * ((2 * varied - 2 * lost).exp() - 2 * (varied / 2 - lost).exp() + 1)).mean(1).clamp(min=0).sqrt()


# ---- members and their learner


@dataclass
class World:
    """Interactions of a time, a learner that is trained on the first of it, and embeddings as they are asked for."""

    tables: Tables
    learner: Learner
    life: Life
    _kept: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @classmethod
    def make(cls, life: Life) -> "World":
        """Half of the members are there from the beginning, the others come in the first two thirds of the time; all stay to its end."""
        rate = life.interactions / (life.days * 24)
        taste = replace(TASTES, members=life.teachers + life.members, interactions=life.interactions, rate=rate)
        made, draw = synthetic(taste, life.seed), np.random.default_rng(life.seed)
        first = made.time[np.concatenate([[0], np.cumsum(made.history)[:-1]])]
        begins = np.where(draw.random(made.users) < 0.5, 0.0, draw.uniform(0, 2 / 3, made.users)) * life.days * DAY
        times = made.time - first[made.user] + begins[made.user].astype(np.int64)
        tables = Tables(replace(made, time=times).only(times < life.days * DAY))
        ends = tables.firsts[1:].copy()
        ends[life.teachers :] = tables.firsts[life.teachers : -1]
        with one_thread():
            return cls(tables, meta_train(tables, ends, RECIPE, life.seed).eval(), life)

    @property
    def members(self) -> np.ndarray:
        """Numbers of who is simulated, in the interactions."""
        return np.arange(self.life.teachers, self.data.users)

    @property
    def data(self) -> Interactions:
        """The interactions."""
        return self.tables.data

    def ends(self, time: float) -> np.ndarray:
        """Row behind the interactions before a time [s] of each who is simulated."""
        every = self.tables.firsts[:-1] + np.bincount(self.data.user[self.data.time < time], minlength=self.data.users)
        return every[self.life.teachers :]

    def rows(self, begins: float, ends: float) -> np.ndarray:
        """Interactions of who is simulated from a time to another [s]."""
        return np.flatnonzero((self.data.user >= self.life.teachers) & (self.data.time >= begins) & (self.data.time < ends))

    def embeddings(self, chosen: np.ndarray, ends: np.ndarray) -> Tensor:
        """Embeddings (n, size) of those of the simulated members from their interactions before these rows."""
        members = self.members[chosen]
        missing = np.array([k for k, key in enumerate(zip(members, ends, strict=True)) if key not in self._kept], np.int64)
        for some in np.array_split(missing, -(-len(missing) // 64)) if len(missing) else ():
            support = self.tables.support(members[some], ends[some], self.learner.recipe.support)
            for k, vector in zip(some, self.learner.embeddings(members[some], support), strict=True):
                self._kept[members[k], ends[k]] = vector
        return torch.stack([self._kept[key] for key in zip(members, ends, strict=True)])

    @torch.no_grad()
    def scores(self, block: Learner, embeddings: Tensor, rows: np.ndarray) -> np.ndarray:
        """Logits (n,) of the interactions in those rows, of each member by its embedding (members, size)."""
        mine = embeddings[torch.from_numpy(self.data.user[rows] - self.life.teachers)]
        return block.scores(mine, self.tables.batch(rows, rows + 1))[:, 0].numpy()


# ---- requests that wait


def stalled(queue: Queue, load: float, outage: float, seed: int = 0) -> tuple[np.ndarray, float]:
    """Latencies [s] of Poisson requests from the beginning of an outage [s] of the table on, until queues have settled, and how long that
    is [s]. A request that comes meanwhile begins when it is over, in order: no look-up ends while its crossbars are written."""
    span = outage / (1 - load) + NEAR * queue.service
    count = max(1, round(load / queue.service * span))
    most = 200_000  # of longer outages every n-th request is as late as its neighbours
    thinned = max(1, math.ceil(count / most))
    times = Arrivals.poisson(load / queue.service / thinned, count // thinned + 1, seed).femtoseconds
    coarse = Queue(queue.ready_fs, queue.interval_fs * thinned)
    done = coarse.finish(np.maximum(times, round(outage * 1e15)))
    return (done - times) * 1e-15, span


def weighted_quantile(parts: Sequence[tuple[np.ndarray, float]], share: float) -> float:
    """The quantile of several samples, each of a weight in all."""
    values = np.concatenate([part for part, _ in parts])
    weights = np.concatenate([np.full(len(part), weight / len(part)) for part, weight in parts])
    order = np.argsort(values)
    return float(values[order][min(np.searchsorted(np.cumsum(weights[order]), share * weights.sum()), len(values) - 1)])


# ---- a life


@dataclass(frozen=True)
class Serving:
    """A chip as its requests see it, whose energy of a request is told at the life's load. line_cells: of a wordline, which are written one
    after another; rows: wordlines of a crossbar, all crossbars written side by side; bit_energy: of a bit that is moved to a buffer
    [J]; quiet: latencies without writes [s]."""

    queue: Queue
    energy: dict[str, float]
    line_cells: int
    rows: int
    bit_energy: float
    quiet: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, world: World, chip: Chip) -> "Serving":
        """The world's global block on the chip, with one copy of each layer."""
        life, learner = world.life, world.learner
        shown = torch.randn(100, learner.model.globals.inputs, generator=torch.Generator().manual_seed(life.seed))
        placement = serving_placement(learner.model.globals, chip, life.candidates, shown)
        queue = Queue.of(placement)
        rate = life.load / queue.service
        ledger = simulate(placement, Arrivals.poisson(rate, 60, life.seed))
        times = Arrivals.poisson(rate, 40_000, life.seed).femtoseconds
        structure, moved = chip.structure, chip.costs["buffer"].energy_per_action
        return cls(queue, energy_of(ledger, rate), structure.bitlines, structure.wordlines, moved, queue.latencies(times))


def live(world: World, policy: Policy, device: Device | None, serving: Serving) -> pd.DataFrame:
    """One row a window: day (its end), auc of the window's interactions, error of embeddings in their cells (of the range), rows_written of
    all embeddings, pulses of a cell of the most written row since the beginning, stuck share of cells, refresh_J, calibration_J and
    serving_J of a chip, p99_s of the window's requests, p99_writing_s of those from a write until queues have settled (nan without one).

    device: of the embeddings' and the block's cells; None: numbers of the same bits in buffers, where writing takes no time, and the
    energy of moving its bits once. What the chip begins with is not counted among refreshes.
    """
    life, learner = world.life, world.learner
    known = np.zeros(life.members, np.int64) - 1  # rows that each embedding rests on
    everyone = np.arange(life.members)
    matrices = {name: value.detach() for name, value in learner.model.globals.named_parameters() if value.dim() == 2}
    block = copy.deepcopy(learner)
    first = world.embeddings(everyone, world.ends(life.days * DAY))
    held = device if device is not None else Device(levels=256, g_min=0.0, g_max=1e-6)  # exact cells: what buffers hold
    made = partial(_cells, device=held, life=life)
    table, weights = made(first, 1), {name: made(value, 2 + k) for k, (name, value) in enumerate(matrices.items())}
    rows, spent, waits = [], {"refresh_J": 0.0, "calibration_J": 0.0}, list[tuple[np.ndarray, float]]()
    written, step = 0, policy.hours * HOUR
    kept: dict[float, tuple[np.ndarray, float]] = {}
    checks = np.arange(0.0, life.days * DAY, step)
    window, scored, first_of = life.window_days * DAY, [], 0.0
    whole = life.a_chip / life.members

    def check(time: float) -> None:
        nonlocal written
        ends = world.ends(time)
        chosen = torch.from_numpy(_chosen(policy, table, known, ends, time, time == 0))
        if len(chosen):
            pulses = table.write(chosen, world.embeddings(chosen.numpy(), ends[chosen.numpy()]), time)
            known[chosen.numpy()] = ends[chosen.numpy()]
            written += len(chosen)
            if device is None and time > 0:
                spent["refresh_J"] += len(chosen) * table.wanted.shape[1] * life.bits * serving.bit_energy * whole
            if device is not None and time > 0:
                spent["refresh_J"] += pulses * len(chosen) * table.cells * whole * (device.write_energy or 0.0)
                lines = math.ceil(len(chosen) / life.members * serving.rows)
                outage = float(f"{lines * serving.line_cells * pulses * (device.write_time or 0.0):.2g}")
                if outage not in kept:
                    kept[outage] = stalled(serving.queue, life.load, outage, life.seed)
                waits.append(kept[outage])
        if policy.rule == "error" and device is not None:
            reads = (device.read_voltage or 0.0) ** 2 * float(table.conductance.sum()) * READ_TIME
            spent["calibration_J"] += reads * whole
        for name, cells in weights.items():
            stale = _stale(policy, cells, time)
            mine = torch.arange(len(cells.written)) if time == 0 else torch.from_numpy(np.flatnonzero(stale))
            pulses = cells.write(mine, matrices[name][mine], time)
            if device is not None and time > 0:
                spent["refresh_J"] += pulses * len(mine) * cells.cells * (device.write_energy or 0.0)
            changed = block.get_parameter(f"model.globals.{name}")
            changed.data.copy_(cells.read(time))

    for number, time in enumerate(checks):
        check(float(time))
        if time == 0:
            begun = float(table.pulses.min())
        until = float(checks[number + 1]) if number + 1 < len(checks) else life.days * DAY
        mine = world.rows(float(time), until)
        if len(mine):
            middle = float(np.mean(world.data.time[mine]))
            scored.append((mine, world.scores(block, table.read(middle), mine)))
        if number + 1 == len(checks) or (until - first_of >= window and life.days * DAY - until >= window / 2):  # none is short
            span = until - first_of
            chosen = np.concatenate([each for each, _ in scored]) if scored else np.zeros(0, np.int64)
            logits = np.concatenate([each for _, each in scored]) if scored else np.zeros(0)
            quiet = (serving.quiet, max(0.0, span - sum(seconds for _, seconds in waits)))
            rows.append({
                "day": until / DAY, "auc": _auc(world, chosen, logits), "interactions": len(chosen),
                "error": float(table.errors(until).square().mean().sqrt()), "rows_written": written,
                "pulses": float(table.pulses.max()) - begun, "stuck": float((table.stuck != 0).float().mean()), **spent,
                "serving_J": span * life.load / serving.queue.service * serving.energy["energy_per_request_J"],
                "p99_s": weighted_quantile([*waits, quiet], 0.99),
                "p99_writing_s": weighted_quantile(waits, 0.99) if waits else math.nan,
            })  # fmt: skip
            first_of, scored, waits, written = until, [], [], 0
            spent = dict.fromkeys(spent, 0.0)
    return pd.DataFrame(rows)


READ_TIME = 100e-9  # s, of a cell read back: an array's read


def _cells(values: Tensor, number: int, device: Device, life: Life) -> Cells:
    """Cells for values (rows, size) and a fourth more than the largest; number: of the draws."""
    return Cells(*values.shape, device, life.bits, 1.25 * float(values.abs().max()), life.seed + number, life.endurance_spread)


def _chosen(policy: Policy, table: Cells, known: np.ndarray, ends: np.ndarray, time: float, begins: bool) -> np.ndarray:
    """Rows of the table that are written at a check."""
    if begins:
        return np.arange(len(known))
    if policy.rule == "never":
        return np.zeros(0, np.int64)
    return np.flatnonzero((ends != known) | _stale(policy, table, time))


def _stale(policy: Policy, cells: Cells, time: float) -> np.ndarray:
    """Rows that are written though nothing new is to be written to them, bool (rows,)."""
    if policy.rule == "all":
        return np.ones(len(cells.written), bool)
    if policy.rule == "drift":
        return (cells.expected_drift(time) >= policy.threshold).numpy()
    if policy.rule == "error":
        return (cells.errors(time) >= policy.threshold).numpy()
    return np.zeros(len(cells.written), bool)


def _auc(world: World, rows: np.ndarray, logits: np.ndarray) -> float:
    liked = world.data.liked[rows]
    if not len(rows) or liked.all() or not liked.any():
        return math.nan
    return float(Ranking(world.data.user[rows], liked, logits).metrics()["auc"].iloc[0])


def told(windows: pd.DataFrame, device: Device | None, life: Life) -> dict[str, float]:
    """What a life comes to: auc of all interactions weighted by window, auc_last of the last quarter, p99_s and p99_writing_s at their
    largest, refresh_J and serving_J a year, with calibration in the first, pulses_a_year of the most written row, and years until it has
    had as many as the device endures (inf in buffers)."""
    lived = life.days * DAY / YEAR
    scored = windows.dropna(subset=["auc"])
    last = scored.iloc[-max(1, len(scored) // 4) :]
    pulses = float(windows["pulses"].iloc[-1]) / lived
    return {
        "auc": float(np.average(scored["auc"], weights=scored["interactions"])),
        "auc_last": float(np.average(last["auc"], weights=last["interactions"])),
        "error": float(windows["error"].iloc[-1]), "p99_s": float(windows["p99_s"].max()),
        "p99_writing_s": float(windows["p99_writing_s"].max()),
        "refresh_J": float(windows[["refresh_J", "calibration_J"]].to_numpy().sum()) / lived,
        "serving_J": float(windows["serving_J"].sum()) / lived, "pulses_a_year": pulses, "stuck": float(windows["stuck"].iloc[-1]),
        "years": math.inf if device is None or not device.endurance or not pulses else device.endurance / pulses,
    }  # fmt: skip


def best(lives: pd.DataFrame) -> dict[str, str]:
    """By place of the embeddings the policy of least energy for refreshes among those that lose at most `MOST_LOST` of AUC against the best
    there and last `LEAST_YEARS`; the best AUC where none lasts."""
    found = {}
    for place, part in lives.groupby("place", sort=False):
        lasting = part[part["years"] >= LEAST_YEARS]
        of = lasting if len(lasting) else part
        good = of[of["auc"] >= of["auc"].max() - MOST_LOST]
        found[str(place)] = str(good.sort_values(["refresh_J", "pulses_a_year"]).iloc[0]["policy"])
    return found


def devices(life: Life, names: Sequence[str] = ("hfox", "pcm")) -> dict[str, Device | None]:
    """Buffers, and cells of these presets with the life's write-verify, and numbers for writing where they state none."""
    cells: dict[str, Device | None] = {"buffers": None}
    for name in names:
        own = load_device(name)
        verify = {"write_verify_tolerance": life.verify, "write_verify_most": life.most_pulses}
        cells[name] = Device.model_validate(own.model_dump() | missing_writes(own) | verify)
    return cells


def live_all(
    life: Life | None = None, chip: Chip | None = None, policies: Sequence[Policy] = POLICIES,
    step: Callable[[str], None] = lambda _: None,
) -> LivingSheet:  # fmt: skip
    """Every policy with embeddings in buffers, on HfOx and on PCM, over one world; same life, same numbers."""
    life, chip = life or Life(), chip or load_chip("isaac-vector")
    step("members, interactions, a learner")
    world = World.make(life)
    serving = Serving.of(world, chip)
    lives, windows = [], []
    for place, policy, device in _lives(life, policies):
        found = live(world, policy, device, serving)
        windows.append(found.assign(place=place, policy=policy.name))
        lives.append({"place": place, "policy": policy.name, **told(found, device, life)})
        step(f"lived: {place}, {policy.name}")
    table = pd.DataFrame(lives)
    meta = {"version": version("xbar"), "life": asdict(life), "chip": chip.name, "chip_title": chip.title, "best": best(table),
            "policies": [asdict(policy) for policy in policies], "service_s": serving.queue.service,
            "interactions": len(world.rows(0, life.days * DAY)), "most_lost": MOST_LOST, "least_years": LEAST_YEARS}  # fmt: skip
    return LivingSheet(meta, table, pd.concat(windows, ignore_index=True))


def _lives(life: Life, policies: Sequence[Policy]) -> Iterator[tuple[str, Policy, Device | None]]:
    for place, device in devices(life).items():
        for policy in policies:
            if device is not None or policy.rule in ("never", "changed"):
                yield place, policy, device


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -P -m xbar.workloads.recommender.living", description="A year of a recommender's chip.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--chip", default="isaac-vector", metavar="PRESET_OR_FILE")
    parser.add_argument("--days", type=int, default=Life.days)
    parser.add_argument("--members", type=int, default=Life.members)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    life = Life(days=options.days, members=options.members, seed=options.seed)
    with steps() as step:
        sheet = live_all(life, load_chip(options.chip), step=step)
        sheet.save(options.out)
        draw_living(sheet, options.out)
    print((options.out / "summary.txt").read_text("utf-8"))


if __name__ == "__main__":
    main()
