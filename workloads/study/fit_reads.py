"""Read noise and drift of cells: the models of `Device` fitted, arrays in, estimates out. SI units.

Read noise: reads of a cell scatter with the variance (a w)², w = G (proportional) or g_max - g_min (independent), as
`Device.read_variance` has it, so that (n - 1) times a cell's sample variance over it is chi-squared with n - 1 degrees of freedom.

Drift: ln G(t) = ln G(0) - nu ln((t + t0) / t0) + error, as `Device.conductance_at`; nu of a cell by least squares, with the variance
e² / Sxx from the error's variance e² (of all cells together); over cells nu is N(m + k ln g, s²), g = G(0) / g_max.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
from scipy import optimize

from xbar.workloads.study.fit_choice import Choice, Estimate, choose, held_out, minimise, sandwich

RARE = 1e-3  # chance, over all cells together, of calling a good one odd
MOST_ODD = 0.2  # share of cells: where more are odd the law is wrong, and none is left out
FALLBACK_T0 = 1.0  # [s], where the data do not tell it
LEAST_ERROR = 1e-6  # of one value, over it
WIDEST = 30.0  # high over low of t0, up to which the data tell it


@dataclass(frozen=True, eq=False)
class ReadFit:
    """Read noise. cells: cell, mean_S, sigma_S, reads, odd, held_out, z (that of its variance, as a normal score, by the fit of the other
    cells)."""

    name: str
    sigma: Estimate  # [1], as `read_noise_sigma`
    both: dict[str, float]  # sigma of either model, from all cells
    choice: Choice
    power: Estimate  # p of spread ~ G^p
    correlation: Estimate  # of neighbouring reads
    cells: pd.DataFrame
    kept_odd: bool  # odd ones are so many that they count

    def variance(self, conductance: np.ndarray, width: float) -> np.ndarray:
        """Of one read [S²] of cells of that conductance [S], in a range that is so wide [S]."""
        return (self.sigma.value * _width(self.name, conductance, width)) ** 2


def _width(name: str, mean: np.ndarray, width: float) -> np.ndarray:
    return mean if name == "proportional" else np.full_like(mean, width)


def _noise(name: str, cells: pd.DataFrame, width: float) -> float:
    """Sigma by maximum likelihood: the sum of (n - 1) (s / w)² over that of n - 1."""
    w, dof = _width(name, cells["mean_S"].to_numpy(), width), cells["reads"].to_numpy() - 1
    return float(np.sqrt((dof * (cells["sigma_S"].to_numpy() / w) ** 2).sum() / dof.sum()))


def _noise_scores(name: str, sigma: float, cells: pd.DataFrame, width: float) -> np.ndarray:
    """Log-likelihood of each cell's sample variance, per µS² [nats]."""
    v = (sigma * _width(name, cells["mean_S"].to_numpy(), width) * 1e6) ** 2
    dof, s2 = cells["reads"].to_numpy() - 1, (cells["sigma_S"].to_numpy() * 1e6) ** 2
    return scipy.stats.chi2.logpdf(np.maximum(dof * s2 / v, 1e-12), dof) + np.log(dof / v)


def fit_reads(frame: pd.DataFrame, width: float, seed: int) -> ReadFit:
    """The noise of one read; width: g_max - g_min [S]."""
    ordered = frame.sort_values(["cell", "read"], kind="stable")
    groups = ordered.groupby("cell", sort=True)["conductance_S"]
    cells = pd.DataFrame({"mean_S": groups.mean(), "sigma_S": groups.std(), "reads": groups.size()}).reset_index()
    cells["unread"] = cells["mean_S"] <= 0  # a cell at 0 S at every read tells nothing
    cells["odd"] = cells["unread"] | _odd(cells, width)
    kept_odd = bool(cells["odd"].mean() > MOST_ODD)
    cells["held_out"] = held_out(cells["cell"].to_numpy(), cells["mean_S"].to_numpy(), seed)
    used = cells[~cells["unread"] & (~cells["odd"] | kept_odd)]
    fitted, judging = used[~used["held_out"]], used[used["held_out"]]
    scores = {name: _noise_scores(name, _noise(name, fitted, width), judging, width) for name in ("proportional", "independent")}
    choice = choose(scores, dict.fromkeys(scores, 1))
    sigma, dof = _noise(choice.name, used, width), used["reads"].to_numpy() - 1
    ratio = (used["sigma_S"].to_numpy() / (sigma * _width(choice.name, used["mean_S"].to_numpy(), width))) ** 2
    each = sandwich(np.array([[2.0 * dof.sum()]]), (dof * (ratio - 1))[:, None], used["cell"].to_numpy())[0, 0]
    error = sigma * np.sqrt(max(each, 1 / (2 * dof.sum())))  # of few cells the first may be too small by chance
    before = _noise(choice.name, fitted, width)
    chance = scipy.stats.chi2.cdf(
        (cells["reads"] - 1) * (cells["sigma_S"] / (before * _width(choice.name, cells["mean_S"].to_numpy(), width))) ** 2,
        cells["reads"] - 1,
    )
    cells["z"] = scipy.stats.norm.ppf(np.clip(chance, 1e-12, 1 - 1e-12))
    steps = ordered.assign(off=ordered["conductance_S"] - groups.transform("mean")).assign(by=groups.transform("std"))
    return ReadFit(
        choice.name,
        Estimate(sigma, float(error), len(used) - 1),
        {name: _noise(name, used, width) for name in scores},
        choice,
        _power(used),
        _correlation(steps[steps["cell"].isin(used["cell"])]),
        cells.drop(columns="unread"),
        kept_odd,
    )


def _odd(cells: pd.DataFrame, width: float) -> np.ndarray:
    """Cells that scatter more than all others by either law."""
    dof = cells["reads"].to_numpy() - 1
    found = np.ones(len(cells), bool)
    for name in ("proportional", "independent"):
        w = np.maximum(_width(name, cells["mean_S"].to_numpy(), width), 1e-300)
        ratio = (cells["sigma_S"].to_numpy() / w) ** 2
        usual = np.median(ratio * dof / scipy.stats.chi2.median(dof))
        found &= ratio * dof / max(usual, 1e-300) > scipy.stats.chi2.isf(RARE / len(cells), dof)
    return found


def _power(cells: pd.DataFrame) -> Estimate:
    """p of spread ~ G^p, by regression of ln s on ln G weighted by the variance of ln s, 1 / (2 (n - 1))."""
    cells = cells[cells["sigma_S"] > 0]
    x, y = np.log(cells["mean_S"].to_numpy()), np.log(cells["sigma_S"].to_numpy())
    if len(cells) < 3 or np.ptp(x) == 0:
        return Estimate(np.nan, np.nan)
    matrix, weight = np.stack([x - x.mean(), np.ones_like(x)], axis=1), 2.0 * (cells["reads"].to_numpy() - 1)
    hessian = matrix.T @ (weight[:, None] * matrix)
    slope = np.linalg.solve(hessian, matrix.T @ (weight * y))
    covariance = sandwich(hessian, matrix * (weight * (y - matrix @ slope))[:, None], cells["cell"].to_numpy())
    return Estimate(float(slope[0]), float(np.sqrt(covariance[0, 0])), len(cells) - 2)


def _correlation(steps: pd.DataFrame) -> Estimate:
    """Of neighbouring reads of a cell, less what subtracting the cell's own mean makes of it, which is -1 / n on average."""
    steps = steps[steps["by"] > 0]
    z = steps["off"] / steps["by"]
    following = z.groupby(steps["cell"]).shift(-1)
    known = following.notna()
    if known.sum() < 10:
        return Estimate(np.nan, np.nan)
    products = (z * following)[known]
    n = float(steps.groupby("cell").size().mean())
    per_cell = products.groupby(steps["cell"][known]).mean() + 1 / n
    return Estimate(float(per_cell.mean()), float(per_cell.std(ddof=1) / np.sqrt(len(per_cell))), len(per_cell) - 1)


# ---- drift


@dataclass(frozen=True, eq=False)
class DriftFit:
    """Drift. cells: cell, start_S (G at time 0 by the cell's line), exponent, exponent_error, odd, held_out, z."""

    slope_used: bool
    exponent: Estimate  # m of nu's mean [1]: of all cells, or at g_max where a slope is used
    slope: Estimate  # k by ln(g / 1)
    spread: Estimate  # s
    low: float  # of nu's mean over the cells measured
    high: float
    t0: float  # [s]
    t0_kind: str  # fitted, given, assumed
    t0_interval: tuple[float, float]  # 95 % of the likelihood's profile; (0, inf) where it is flat
    error: float  # of one value, standard deviation of ln G [1]
    curvature: Estimate  # of ln G by ln t squared, mean over cells: 0 of a power law
    choice: Choice
    cells: pd.DataFrame
    kept_odd: bool
    times: tuple[float, float]  # first and last [s]


def _elapsed(time: np.ndarray, t0: float) -> np.ndarray:
    return np.log1p(time / t0)


def _lines(frame: pd.DataFrame, t0: float) -> pd.DataFrame:
    """A line a cell: exponent, logarithm of G at time 0, Sxx, sum of squared residuals, values."""
    x, y, cell = _elapsed(frame["time_s"].to_numpy(), t0), np.log(frame["conductance_S"].to_numpy()), frame["cell"]
    own = pd.DataFrame({"x": x, "y": y, "xx": x * x, "xy": x * y, "yy": y * y}).groupby(cell.to_numpy(), sort=True).agg("mean")
    n = cell.groupby(cell.to_numpy(), sort=True).size()
    sxx, sxy, syy = own["xx"] - own["x"] ** 2, own["xy"] - own["x"] * own["y"], own["yy"] - own["y"] ** 2
    slope = sxy / sxx
    return pd.DataFrame(
        {"exponent": -slope, "start": own["y"] - slope * own["x"], "sxx": n * sxx, "rss": n * (syy - slope * sxy).clip(lower=0), "n": n}
    )


def _find_t0(frame: pd.DataFrame) -> tuple[float, tuple[float, float]]:
    """The t0 of the smallest residuals, and the 95 % interval of its likelihood; (0, inf) where the data do not tell it."""
    times = np.unique(frame["time_s"])
    low, high = np.log(max(times[times > 0].min(), 1e-9) * 1e-4), np.log(times.max() * 10)

    def cost(log_t0: float) -> float:
        lines = _lines(frame, float(np.exp(log_t0)))
        return float((lines["n"] - 2).sum() / 2 * np.log(max(lines["rss"].sum(), 1e-300)))

    grid = np.linspace(low, high, 61)
    costs = np.array([cost(at) for at in grid])
    place = int(np.argmin(costs))
    if place in (0, len(grid) - 1):
        return np.nan, (0.0, np.inf)
    found = optimize.minimize_scalar(cost, bounds=(grid[place - 1], grid[place + 1]), method="bounded")
    most = found.fun + scipy.stats.chi2.ppf(0.95, 1) / 2
    ends = []
    for beyond in (grid[:place][::-1], grid[place + 1 :]):
        outside = [at for at in beyond if cost(at) > most]
        if not outside:
            return float(np.exp(found.x)), (0.0, np.inf)
        ends.append(float(np.exp(optimize.brentq(lambda at: cost(at) - most, *sorted((outside[0], float(found.x)))))))
    return float(np.exp(found.x)), (ends[0], ends[1])


def _over_cells(cells: pd.DataFrame, sloped: bool) -> tuple[np.ndarray, np.ndarray]:
    """(m, k, s) of the exponents by maximum likelihood, and their covariance; k is 0 unless sloped."""
    x, nu, own = cells["log_g"].to_numpy(), cells["exponent"].to_numpy(), cells["exponent_error"].to_numpy() ** 2
    matrix = np.vander(x, 2 if sloped else 1, increasing=True)
    unit = max(float(nu.std()), 1e-9)

    def parts(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, s = matrix @ given[:-1] * unit, given[-1] * unit
        v = s**2 + own
        z = (nu - mean) / v
        scores = np.hstack([z[:, None] * matrix, (s * (z**2 - 1 / v))[:, None]]) * unit
        return -((nu - mean) ** 2) / (2 * v) - np.log(2 * np.pi * v) / 2, scores

    start = np.r_[np.linalg.lstsq(matrix, nu / unit, rcond=None)[0], 1.0]
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * matrix.shape[1] + [(0.0, None)]
    found = minimise(lambda p: (-float(parts(p)[0].sum()), -parts(p)[1].sum(0)), start, bounds)
    step = 1e-5
    hessian = np.array(
        [(parts(found - step * e)[1].sum(0) - parts(found + step * e)[1].sum(0)) / (2 * step) for e in np.eye(len(start))]
    )
    covariance = sandwich((hessian + hessian.T) / 2, parts(found)[1], cells["cell"].to_numpy()) * unit**2
    if sloped:
        return found * unit, covariance
    full = np.zeros((3, 3))
    full[np.ix_([0, 2], [0, 2])] = covariance
    return np.array([found[0], 0.0, found[1]]) * unit, full


def _drift_scores(law: np.ndarray, cells: pd.DataFrame) -> np.ndarray:
    spread = np.sqrt(law[2] ** 2 + cells["exponent_error"].to_numpy() ** 2)
    return scipy.stats.norm.logpdf(cells["exponent"].to_numpy(), law[0] + law[1] * cells["log_g"].to_numpy(), spread)


def fit_drift(frame: pd.DataFrame, g_max: float, seed: int, t0: float | None = None) -> DriftFit:
    """Exponents over cells; t0 [s]: given, else found where the data tell it, else FALLBACK_T0."""
    best, interval = _find_t0(frame) if t0 is None else (t0, (0.0, np.inf))
    told = interval[0] > 0 and interval[1] / interval[0] <= WIDEST
    kind = "given" if t0 is not None else "fitted" if told else "assumed"
    t0 = t0 if t0 is not None else best if told else FALLBACK_T0
    lines = _lines(frame, t0)
    error = max(float(np.sqrt(lines["rss"].sum() / (lines["n"] - 2).sum())), LEAST_ERROR)
    cells = pd.DataFrame(
        {
            "cell": lines.index,
            "start_S": np.exp(lines["start"]),
            "exponent": lines["exponent"],
            "exponent_error": error / np.sqrt(lines["sxx"]),
        }
    ).reset_index(drop=True)
    cells["log_g"] = np.log(cells["start_S"] / g_max)
    middle = cells["exponent"].median()
    scale = max(1.4826 * float((cells["exponent"] - middle).abs().median()), float(cells["exponent_error"].median()), 1e-12)
    limit = max(5.0, 1.2 * float(scipy.stats.norm.isf(0.005 / len(cells))))
    cells["odd"] = (cells["exponent"] - middle).abs() / scale > limit
    kept_odd = bool(cells["odd"].mean() > MOST_ODD)
    cells["held_out"] = held_out(cells["cell"].to_numpy(), cells["start_S"].to_numpy(), seed)
    used = cells[~cells["odd"] | kept_odd]
    fitted, judging = used[~used["held_out"]], used[used["held_out"]]
    laws = {name: _over_cells(fitted, name == "slope")[0] for name in ("constant", "slope") if name == "constant" or len(fitted) > 6}
    choice = choose({name: _drift_scores(law, judging) for name, law in laws.items()}, {"constant": 2, "slope": 3})
    steep, steep_covariance = _over_cells(used, True)
    slope = Estimate(float(steep[1]), float(np.sqrt(steep_covariance[1, 1])), len(used) - 3)
    sloped = choice.name == "slope" and not slope.low <= 0 <= slope.high
    law, covariance = (steep, steep_covariance) if sloped else _over_cells(used, False)
    errors = np.sqrt(np.diag(covariance).clip(min=0))
    means = np.clip(law[0] + law[1] * used["log_g"], 0, None)
    before = laws.get("slope" if sloped else "constant", law)
    cells["z"] = (cells["exponent"] - before[0] - before[1] * cells["log_g"]) / np.sqrt(before[2] ** 2 + cells["exponent_error"] ** 2)
    freedom = len(used) - (3 if sloped else 2)
    result = DriftFit(
        sloped,
        Estimate(float(law[0]), float(errors[0]), freedom),
        slope,
        Estimate(float(law[2]), float(errors[2]), freedom),
        float(means.min()),
        float(means.max()),
        float(t0),
        kind,
        interval,
        error,
        Estimate(np.nan, np.nan),
        choice,
        cells,
        kept_odd,
        (float(frame["time_s"].min()), float(frame["time_s"].max())),
    )
    return replace(result, curvature=_curvature(frame[frame["cell"].isin(used["cell"])], float(t0)))


def _curvature(frame: pd.DataFrame, t0: float) -> Estimate:
    """The mean over cells of c in ln G = a - nu l + c l², l = ln((t + t0) / t0); nan with three times or fewer a cell."""
    found = []
    for _, mine in frame.groupby("cell", sort=True):
        if len(mine) > 3:
            found.append(np.polyfit(_elapsed(mine["time_s"].to_numpy(), t0), np.log(mine["conductance_S"].to_numpy()), 2)[0])
    if len(found) < 3:
        return Estimate(np.nan, np.nan)
    return Estimate(float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found))), len(found) - 1)
