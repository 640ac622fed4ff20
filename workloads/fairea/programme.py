"""Mixed-integer programmes by HiGHS, searched as far as a count allows and not a clock, so that the same programme has the same solution on
any machine, busy or not."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from xbar.workloads.fairea.problem import Floats

# Nodes of the search times entries of the matrix. 331 variables with 17,614 entries (mean ties of two classes within 0.9 of each other, 150
# positions of which 30 are open) took 20 ms a node on a core of 2023: these are 567 nodes, 11 s.
WORK = 1e7
SECONDS = 120.0  # by the clock, after which a search is given up that has not come so far, as where the first node takes long
TIME_LIMIT = 1  # scipy's status


class StoppedByClockWarning(UserWarning):
    """A programme was given up by the clock: a run on another machine, or on a busier one, may find another solution."""


def solved(
    cost: Floats, integral: Floats, top: Floats, constraints: Sequence[LinearConstraint], gap: float, seconds: float = SECONDS
) -> OptimizeResult:
    """What scipy's milp gives for the least cost of variables from 0 to `top`, whole where `integral`: to a relative gap, or to the best
    that is found in WORK; with a StoppedByClockWarning where `seconds` were up before, and status TIME_LIMIT."""
    entries = sum(each.A.nnz for each in constraints)
    nodes = max(1, int(WORK // max(entries, 1)))
    options: Any = {"node_limit": nodes, "time_limit": seconds, "mip_rel_gap": gap}
    found = milp(cost, integrality=integral, bounds=Bounds(0, top), constraints=constraints, options=options)
    if found.status == TIME_LIMIT:
        warnings.warn(f"a programme of {len(np.atleast_1d(cost)):,} variables was stopped by the clock, after {seconds:g} s and before the "
                      f"{nodes:,} nodes that it may take: another run may find another solution", StoppedByClockWarning,
                      stacklevel=3)  # fmt: skip
    return found
