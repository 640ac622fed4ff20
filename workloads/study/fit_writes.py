"""How the spread of writes goes with the target: the models of `Device` fitted by maximum likelihood. Arrays in, estimates out.

A cell that was aimed at T was read once as y. With x = T / g_max, all in units of g_max:

    y = x + b0 + b1 x + b2 x² + N(0, s(x)² + r(x)²)            all models but lognormal
    ln y = ln(x + b0 + b1 x + b2 x²) - s²/2 + N(0, s² + (r / x)²)     lognormal, as `Device.program` draws

s is the model's spread (`Device.write_sigma`), r the noise of that one read, known from repeated reads; b the bias, which a device file
cannot represent: its writes aim at T. A cell that reads 0 S is where a draw fell below 0 S and was held there, and counts with the chance
of that. s is linear in its parameters, s = B theta: B = 1 (independent, in units of the range), x (proportional), 1, x, x², x³
(polynomial), hats between its points (table).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # whose statistics load where they are asked for: they take a second
from scipy import optimize
from scipy.special import log_ndtr

from xbar.workloads.study.fit_choice import Choice, Estimate, by_cell, choose, held_out, minimise, sandwich

CELLS_AT_A_POINT = 8  # of a table, of those fitted, where targets themselves are its points
MOST_POINTS = 32
CELLS_BETWEEN = 40  # where they are not
LOG_ROOT = np.log(2 * np.pi) / 2
FLOOR = 1e-4  # of the residuals' spread: a spread that falls below is held here
TITLES = {
    "independent": "independent",
    "proportional": "proportional",
    "lognormal": "lognormal",
    "polynomial 1": "polynomial, degree 1",
    "polynomial 2": "polynomial, degree 2",
    "polynomial 3": "polynomial, degree 3",
    "table": "table",
}


@dataclass(frozen=True, eq=False)
class Writes:
    """Rows of a file of writes; conductances in siemens. read_variance: that of the one read of each row [S²]."""

    cell: np.ndarray
    target: np.ndarray
    conductance: np.ndarray
    read_variance: np.ndarray
    g_max: float

    def rows(self, chosen: np.ndarray) -> "Writes":
        """Those rows alone."""
        return Writes(self.cell[chosen], self.target[chosen], self.conductance[chosen], self.read_variance[chosen], self.g_max)

    @property
    def x(self) -> np.ndarray:
        """Targets over g_max."""
        return self.target / self.g_max


@dataclass(frozen=True, eq=False)
class WriteFit:
    """One model, fitted. `bias` (b0, b1, b2) and `theta` [g_max; lognormal: 1] are one vector with one covariance."""

    name: str
    g_min: float  # [S]
    g_max: float  # [S]
    points: np.ndarray  # of a table, over g_max; else empty
    bias: np.ndarray
    theta: np.ndarray
    covariance: np.ndarray
    cells: int
    hidden: bool = False  # the spread is not told apart from 0, that is from the read noise
    floor: float = 0.0  # of the spread while it is fitted [g_max]

    @property
    def freedom(self) -> int:
        """Cells less parameters."""
        return max(1, self.cells - len(self.theta) - len(self.bias))

    def sigma(self, target: np.ndarray) -> np.ndarray:
        """Standard deviation of a write to `target` [S], in siemens, as `Device.write_sigma` has it."""
        if self.name == "lognormal":
            return target * np.sqrt(np.expm1(self.theta[0] ** 2))
        return np.clip(basis(self.name, target / self.g_max, self.points) @ self.theta, 0, None) * self.g_max

    def sigma_error(self, target: np.ndarray) -> np.ndarray:
        """Standard error of `sigma` [S]."""
        part = self.covariance[len(self.bias) :, len(self.bias) :]
        slopes = target[:, None] / self.g_max if self.name == "lognormal" else basis(self.name, target / self.g_max, self.points)
        return np.sqrt(np.einsum("ij,jk,ik->i", slopes, part, slopes).clip(min=0)) * self.g_max

    def offset(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bias of a write to `target` [S], mean less target, and its standard error, in siemens."""
        powers = np.vander(target / self.g_max, len(self.bias), increasing=True)
        part = self.covariance[: len(self.bias), : len(self.bias)]
        error = np.sqrt(np.einsum("ij,jk,ik->i", powers, part, powers).clip(min=0))
        return powers @ self.bias * self.g_max, error * self.g_max

    def parameters(self) -> dict[str, Estimate]:
        """By the names of `Device`, in SI; of a table by its targets [S]."""
        errors = np.sqrt(np.diag(self.covariance).clip(min=0))[len(self.bias) :]
        found = [Estimate(float(v), float(e), self.freedom) for v, e in zip(self.theta, errors, strict=True)]
        if self.name == "independent":
            return {"programming_sigma": found[0].times(self.g_max / (self.g_max - self.g_min))}
        if self.name in ("proportional", "lognormal"):
            return {"programming_sigma": found[0]}
        names = [f"{x * self.g_max:.6g}" for x in self.points] if self.name == "table" else [f"programming_s{k}" for k in range(len(found))]
        return {name: each.times(self.g_max) for name, each in zip(names, found, strict=True)}

    def standardised(self, data: Writes, aimed: bool = False) -> np.ndarray:
        """Errors of rows over what the model says of their spread; normal where it is right. aimed: from the target, not from the mean
        that the bias leads to."""
        bias = np.zeros_like(self.bias) if aimed else self.bias
        mean, spread, value = _moments(self, data, bias, self.theta)
        return (value - mean) / spread

    def log_likelihood(self, data: Writes, aimed: bool = False) -> np.ndarray:
        """Of each row, per microsiemens [nats]. aimed: with the mean at the target, as a device file writes."""
        bias = np.zeros_like(self.bias) if aimed else self.bias
        return _rows(self, data, bias, self.theta)[0] - np.log(self.g_max * 1e6) * (data.conductance > 0)


def basis(name: str, x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(targets, parameters): what the parameters of a model's spread are multiplied by, at targets x over g_max."""
    if name == "table":
        return np.stack([np.interp(x, points, unit) for unit in np.eye(len(points))], axis=1)
    if name == "proportional":
        return x[:, None]
    return np.vander(x, 1 + (int(name[-1]) if name.startswith("polynomial") else 0), increasing=True)


def _moments(fit: WriteFit, data: Writes, bias: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and spread of each row's value, and the value: y, or ln y of lognormal."""
    x, y, noise = data.x, data.conductance / data.g_max, data.read_variance / data.g_max**2
    mean = x + np.vander(x, len(bias), increasing=True) @ bias
    if fit.name == "lognormal":
        return np.log(np.maximum(mean, 1e-12)) - theta[0] ** 2 / 2, np.sqrt(np.maximum(theta[0] ** 2 + noise / x**2, 1e-24)), np.log(y)
    sigma = np.maximum(basis(fit.name, x, fit.points) @ theta, fit.floor)
    return mean, np.sqrt(np.maximum(sigma**2 + noise, 1e-24)), y


def _rows(fit: WriteFit, data: Writes, bias: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood of each row, in units of g_max, and its derivatives by (bias, theta), (rows, parameters)."""
    mean, spread, value = _moments(fit, data, bias, theta)
    powers = np.vander(data.x, len(bias), increasing=True)
    z = (value - mean) / spread
    logs, by_mean, by_spread = -(z**2) / 2 - LOG_ROOT - np.log(spread), z / spread, (z**2 - 1) / spread
    if fit.name == "lognormal":
        level = np.maximum(data.x + powers @ bias, 1e-12)[:, None]
        by_theta = by_spread[:, None] * theta[0] / spread[:, None] - by_mean[:, None] * theta[0]
        return logs - value, np.hstack([by_mean[:, None] * powers / level, by_theta])
    zero = data.conductance <= 0
    if zero.any():  # held at 0 S: the chance of a draw below
        at = -mean[zero] / spread[zero]
        hazard = np.exp(-(at**2) / 2 - LOG_ROOT - log_ndtr(at))
        logs[zero] = log_ndtr(at)
        by_mean[zero], by_spread[zero] = -hazard / spread[zero], -hazard * at / spread[zero]
    matrix = basis(fit.name, data.x, fit.points)
    sigma = matrix @ theta
    live = sigma > fit.floor
    by_sigma = by_spread * np.where(live, sigma, 0.0) / spread
    return logs, np.hstack([by_mean[:, None] * powers, by_sigma[:, None] * matrix])


def why_not(name: str, data: Writes) -> str:
    """Why a model cannot be of these data; empty where it can."""
    targets = len(np.unique(data.target))
    if name in ("proportional", "lognormal") and data.target.min() <= 0:
        return "a target of 0 S, where it has no spread"
    if name == "lognormal" and data.conductance.min() <= 0:
        return "a cell reads 0 S, which it cannot be"
    if name.startswith("polynomial") and targets < 1 + int(name[-1]):
        return f"{targets} targets are too few for its degree"
    return ""


def table_points(data: Writes) -> np.ndarray:
    """Where a table has its points, over g_max: at the targets where each has cells enough, else where equally many cells lie between."""
    x, counts = np.unique(data.x, return_counts=True)
    if len(x) <= MOST_POINTS and counts.min() >= CELLS_AT_A_POINT:
        return x
    intervals = int(np.clip(len(data.x) // CELLS_BETWEEN, 1, 11))
    return np.unique(np.quantile(data.x, np.linspace(0, 1, intervals + 1)))


def fit_writes(name: str, data: Writes, g_min: float, points: np.ndarray | None = None) -> WriteFit:
    """One model, by maximum likelihood; its covariance also holds where a cell was written several times (`sandwich`)."""
    points = (table_points(data) if points is None else points) if name == "table" else np.empty(0)
    degree = min(2, len(np.unique(data.target)) - 1)
    x, y = data.x, data.conductance / data.g_max
    powers = np.vander(x, degree + 1, increasing=True)
    bias = np.linalg.lstsq(powers, y - x, rcond=None)[0]
    off = np.abs(y - x - powers @ bias)
    scale = max(float(np.sqrt(np.mean(off**2))), 1e-12)
    if name == "lognormal":
        theta, unit = np.array([max(float(np.std(np.log(y / x))), 1e-6)]), float(max(np.std(np.log(y / x)), 1e-6))
    else:
        matrix = basis(name, x, points)
        start = np.linalg.lstsq(matrix, off * np.sqrt(np.pi / 2), rcond=None)[0]  # the mean of |N| is sqrt(2 / pi)
        theta, unit = (start if (matrix @ start).min() > 0.1 * scale else _flat(name, matrix, scale)), scale
    begun = WriteFit(
        name,
        g_min,
        data.g_max,
        points,
        bias,
        theta,
        np.zeros((0, 0)),
        len(np.unique(data.cell)),
        floor=FLOOR * scale,
    )
    units, count = np.r_[np.full(len(bias), scale), np.full(len(theta), unit)], len(bias)

    def cost(given: np.ndarray) -> tuple[float, np.ndarray]:
        logs, scores = _rows(begun, data, given[:count] * units[:count], given[count:] * units[count:])
        return -float(logs.mean()), -scores.mean(0) * units

    lowest = None if name.startswith("polynomial") else 0.0
    bounds = [(None, None)] * count + [(lowest, None)] * len(theta)
    found = minimise(cost, np.r_[bias, theta] / units, bounds)
    best = found * units
    done = replace(begun, bias=best[:count], theta=best[count:])
    scores = _rows(done, data, done.bias, done.theta)[1]
    step = np.finfo(float).eps ** (1 / 3)
    hessian = np.array([(cost(found + step * unit)[1] - cost(found - step * unit)[1]) / (2 * step) for unit in np.eye(len(best))])
    hessian = len(x) * (hessian + hessian.T) / 2
    covariance = sandwich(hessian, scores * units, data.cell) * np.outer(units, units)
    return _with_hidden_error(replace(done, covariance=covariance), data)


def _with_hidden_error(fit: WriteFit, data: Writes) -> WriteFit:
    """Where one parameter of the spread is at 0, or as near as its error: the error is half of how far it may go up until twice the
    log-likelihood has lost 3.84, since the slope at 0 tells none."""
    sigma = float(fit.theta[0])
    if len(fit.theta) > 1 or sigma > 2 * np.sqrt(fit.covariance[-1, -1]) > 0:
        return fit
    top = float(_rows(fit, data, fit.bias, fit.theta)[0].sum())

    def beyond(more: float) -> float:
        return top - float(_rows(fit, data, fit.bias, fit.theta + more)[0].sum()) - scipy.stats.chi2.ppf(0.95, 1) / 2

    high = float(np.sqrt(np.mean(data.read_variance))) / data.g_max + fit.floor
    while beyond(high) < 0 and high < 1e3:
        high *= 2
    covariance = fit.covariance.copy()
    covariance[-1, :], covariance[:, -1] = 0.0, 0.0
    covariance[-1, -1] = (optimize.brentq(beyond, 0.0, high) / 2) ** 2
    return replace(fit, covariance=covariance, hidden=True)


def _flat(name: str, matrix: np.ndarray, scale: float) -> np.ndarray:
    """Parameters of a spread that is the same everywhere, or on the mean."""
    if name == "proportional":
        return np.array([scale / max(float(np.sqrt(np.mean(matrix**2))), 1e-12)])
    return np.full(matrix.shape[1], scale) if name == "table" else np.r_[scale, np.zeros(matrix.shape[1] - 1)]


def choose_writes(data: Writes, g_min: float, seed: int) -> tuple[Choice, dict[str, WriteFit], Writes]:
    """The choice among all models, each as fitted to two thirds of the cells, and the rows of the third that judged."""
    out = held_out(data.cell, data.target, seed)
    fitted, judging = data.rows(~out), data.rows(out)
    whole = {name: why_not(name, data) or why_not(name, fitted) for name in TITLES}
    inside = (fitted.target.min(), fitted.target.max()) == (data.target.min(), data.target.max())
    points = table_points(fitted)
    if not inside:  # a table reaches from the smallest target to the largest
        points = np.unique(np.r_[data.x.min(), points[1:-1], data.x.max()])
    fits = {name: fit_writes(name, fitted, g_min, points) for name, why in whole.items() if not why}
    scores = {name: by_cell(judging.cell, fit.log_likelihood(judging)) for name, fit in fits.items()}
    bad = {name: "its likelihood was not found" for name, score in scores.items() if not np.isfinite(score).all()}
    unfit = {name: why for name, why in whole.items() if why} | bad
    counts = {name: len(fit.theta) for name, fit in fits.items()}
    choice = choose({name: score for name, score in scores.items() if name not in bad}, counts, unfit)
    return choice, fits, judging


def with_read_error(fit: WriteFit, data: Writes, relative: float) -> WriteFit:
    """The fit with the error of the read noise in its own: `relative` standard error of the noise's sigma. Both ends are fitted."""
    if relative <= 0 or not data.read_variance.any():
        return fit
    ends = [replace(data, read_variance=data.read_variance * max(0.0, 1 + sign * relative) ** 2) for sign in (-1, 1)]
    low, high = (fit_writes(fit.name, end, fit.g_min, fit.points if len(fit.points) else None) for end in ends)
    change = (np.r_[high.bias, high.theta] - np.r_[low.bias, low.theta]) / 2
    return replace(fit, covariance=fit.covariance + np.outer(change, change))


def grouped(data: Writes, fewest: int = 12) -> Sequence[np.ndarray]:
    """Rows by target, neighbouring targets together until a group has `fewest` rows: indices of each group."""
    order = np.argsort(data.target, kind="stable")
    starts, groups, begin = np.flatnonzero(np.diff(data.target[order])) + 1, [], 0
    for end in (*starts, len(order)):
        if end - begin >= fewest:
            groups.append(order[begin:end])
            begin = int(end)
    if begin < len(order):
        rest = order[begin:]
        groups = [*groups[:-1], np.r_[groups[-1], rest]] if groups else [rest]
    return groups
