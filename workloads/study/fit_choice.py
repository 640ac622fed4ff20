"""What every fit to measured cells shares: estimates with their errors, cells held out, and the choice among models.

Models are fitted to two thirds of the cells and judged by the other third: by the mean log-likelihood of a held-out cell [nats].
The model with the fewest parameters wins whose judgement lies behind the best one's by no more than one standard error of that
difference, cell by cell: the rule of one standard error (L. Breiman et al., Classification and Regression Trees, 1984, section 3.4.3),
with the error of the difference in place of the error of the best, because both judge the same cells. Nested models
differ by so little that one in six would win by chance alone: what lies less than NEGLIGIBLE behind counts as within, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
from scipy import optimize
from threadpoolctl import ThreadpoolController

HELD_OUT = 3  # one cell of so many
CONFIDENCE = 0.95
NEGLIGIBLE = 0.002  # nats a cell behind: what a spread costs that is 4.5 % off, since one off by a share e costs e²


@dataclass(frozen=True)
class Estimate:
    """A number found in data: value, standard error, degrees of freedom that the error rests on."""

    value: float
    error: float
    freedom: float = np.inf

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval: Student's t times the standard error."""
        return float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, max(self.freedom, 1.0))) * self.error

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + self.half

    def times(self, factor: float) -> "Estimate":
        """The same in another unit."""
        return Estimate(self.value * factor, self.error * abs(factor), self.freedom)


@dataclass(frozen=True, eq=False)
class Choice:
    """Models beside each other. `table`, by name: parameters, held_out (mean log-likelihood of a held-out cell [nats]), held_out_error,
    behind (of the best), behind_error, and `why` a model has no numbers; `name` is the one chosen."""

    name: str
    best: str
    table: pd.DataFrame
    cells: int  # that judged


def held_out(cells: np.ndarray, by: np.ndarray, seed: int) -> np.ndarray:
    """True for the rows of one third of the cells, drawn at random among neighbours in the mean of `by`, so that both parts have all of the
    range. The same seed draws the same cells."""
    means = pd.Series(by).groupby(pd.Series(cells), sort=True).mean()
    random = np.random.default_rng(seed)
    order = means.index.to_numpy()[np.lexsort((random.permutation(len(means)), means.to_numpy()))]
    judges = {
        group[random.integers(len(group))] for group in np.split(order, range(HELD_OUT, len(order), HELD_OUT)) if len(group) == HELD_OUT
    }
    return pd.Series(cells).isin(judges).to_numpy()


def choose(scores: Mapping[str, np.ndarray], parameters: Mapping[str, int], unfit: Mapping[str, str] | None = None) -> Choice:
    """The choice among models by their log-likelihoods of the same held-out cells; unfit: models that cannot be, with the reason."""
    means = {name: float(np.mean(score)) for name, score in scores.items()}
    best = max(means, key=lambda name: means[name])
    rows: dict[str, dict[str, Any]] = {}
    for name, score in scores.items():
        behind = scores[best] - score
        rows[name] = {
            "parameters": parameters[name],
            "held_out": means[name],
            "held_out_error": _error(score),
            "behind": float(behind.mean()),
            "behind_error": _error(behind),
            "why": "",
        }
    near = [name for name, row in rows.items() if row["behind"] <= max(row["behind_error"], NEGLIGIBLE)]
    chosen = min(near, key=lambda name: (parameters[name], name == "table", -means[name]))
    for name, why in (unfit or {}).items():
        rows[name] = {
            "parameters": parameters.get(name, 0),
            **dict.fromkeys(("held_out", "held_out_error", "behind", "behind_error"), np.nan),
            "why": why,
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    return Choice(chosen, best, table, len(scores[best]))


def _error(score: np.ndarray) -> float:
    return float(np.std(score, ddof=1) / np.sqrt(len(score))) if len(score) > 1 else 0.0


def by_cell(cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of rows over cells, in the order of the cells' names."""
    return pd.Series(values).groupby(pd.Series(cells), sort=True).sum().to_numpy()


def sandwich(hessian: np.ndarray, scores: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Covariance of a maximum of likelihood that also holds where rows of a cell go together and errors are not normal:
    H^-1 (sum over cells of s s') H^-1 times n / (n - p), H minus the second derivatives of the sum (p, p), s a cell's first derivatives
    (rows, p) summed (H. White, Econometrica 50, 1-25, 1982). No variance is below that of H^-1 alone: of few cells the other is too
    small by chance."""
    summed = pd.DataFrame(scores).groupby(pd.Series(cells), sort=True).sum().to_numpy()
    n, p = summed.shape
    inverse = np.linalg.pinv(hessian, hermitian=True)
    robust = inverse @ (summed.T @ summed) @ inverse * n / max(n - p, 1)
    own, least = np.diag(robust).clip(min=1e-300), np.diag(inverse).clip(min=0) * n / max(n - p, 1)
    raised = np.sqrt(np.maximum(1.0, least / own))
    return robust * np.outer(raised, raised)


def share(count: int, cells: int) -> tuple[float, float, float]:
    """A share and its 95 % interval after Clopper and Pearson (Biometrika 26, 404-413, 1934)."""
    low, high = scipy.stats.binomtest(count, max(cells, 1)).proportion_ci(CONFIDENCE, method="exact")
    return count / max(cells, 1), float(low), float(high)


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def minimise(
    cost: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, bounds: Sequence[tuple[float | None, float | None]]
) -> np.ndarray:
    """Where a cost with its derivatives is smallest. On one thread: of a few parameters others only wait, which was 20 times slower."""
    with _threads().limit(limits=1, user_api="blas"):
        options = {"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-7}
        return np.asarray(optimize.minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x)
