"""How far the mean of a few chips over a few samples may be from that of all: chips and samples are both drawn, and each chip sees the
same samples.

The variance of the mean over k chips and n samples is at most the variance of the chips' means over k and that of the samples' means
over n, added up: their sum is right but for 1 / (k n) of what chip and sample have together, which it counts twice (A. Owen, The
pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007; not opened). Degrees of freedom are Satterthwaite's. Samples that are
right or wrong, and differences of these, get two more that stand apart, one each way, as adjusted Wald intervals have them (D. Bonett
and R. Price, Adjusted Wald confidence interval for a difference of binomial proportions based on paired data, Journal of Educational
and Behavioral Statistics 37(4), 2012; not opened): else forty samples without a mistake would say that there are none.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # whose statistics load where they are asked for: they take a second

from xbar.hw.errors import ParameterError


@dataclass(frozen=True)
class MeanError:
    """Standard error of a mean, in its unit, and the degrees of freedom of the estimate."""

    error: float
    freedom: float


def mean_error(values: np.ndarray, apart: tuple[float, float] | None = None, chips_vary: bool = True) -> MeanError:
    """The error of the mean of `values` (chips, samples) as one of all chips and samples; infinite where one chip stands for chips that
    vary, or one sample for all.

    apart: values of the two samples that are added. chips_vary: whether chips differ at all. Raises ParameterError for other shapes.
    """
    if values.ndim != 2 or not values.size:
        raise ParameterError(f"values must be (chips, samples), one or more of each, got shape {values.shape}")
    by_chip, by_sample = values.mean(1), np.concatenate([values.mean(0), apart or ()])
    if (chips_vary and len(by_chip) < 2) or len(by_sample) < 2:
        return MeanError(math.inf, 1.0)
    parts = [(float(each.var(ddof=1)) / len(each), len(each) - 1) for each in (by_chip, by_sample) if len(each) > 1]
    whole = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return MeanError(math.sqrt(whole), whole**2 / below if below else float(parts[-1][1]))


def half_band(error: float, freedom: float, confidence: float) -> float:
    """How far, one-sided, the true value is from the mean at most, at that confidence: Student's t times the error."""
    if not 0.5 <= confidence < 1:
        raise ParameterError(f"confidence must be from 0.5 and below 1, got {confidence}")
    if not error:
        return 0.0
    return math.inf if math.isinf(error) else float(scipy.stats.t.ppf(confidence, freedom)) * error
