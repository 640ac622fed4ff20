"""Growth of FairEA, published and improved, with the network: 5 % of the positions open, four candidates to each.

Preferential attachment with homophily (assortativity 0.4, 30 % minority), fitness F1. The largest is 10,000 positions, 500
of them open, 2,000 candidates; it is to take less than 60 s in all.
"""

import time

import numpy as np

from xbar.workloads.fairea.exact import exact_front
from xbar.workloads.fairea.improved import improved_front
from xbar.workloads.fairea.metrics import MixingMatrix
from xbar.workloads.fairea.networks import make_problem, open_at_random, scale_free
from xbar.workloads.fairea.published import fairea

SIZES = (1_000, 2_000, 5_000, 10_000)


def main() -> None:
    """Print seconds of each step and the ends of the front, by size."""
    print("positions  open  candidates  problem  published  improved     all   points   fitness and |r| at the front's ends")
    for size in SIZES:
        graph = scale_free(size, 0.3, 0.4, seed=0)
        opened = open_at_random(graph, 0.05, seed=0)
        start = time.perf_counter()
        problem = make_problem(graph, "class", opened, pool=4, kind="F1", seed=0)
        _ = problem.compact
        made = time.perf_counter()
        published = fairea(problem)
        found = time.perf_counter()
        front = improved_front(problem)
        end = time.perf_counter()
        points = front.points
        print(
            f"{size:>9,} {len(opened):>5} {len(problem.candidates):>11,} {made - start:>8.2f} {found - made:>10.2f} "
            f"{end - found:>9.2f} {end - start:>7.2f} {len(points):>8}   "
            f"{points[0, 0]:.1f} {points[0, 1]:.4f}, {points[-1, 0]:.1f} {points[-1, 1]:.4f}; published "
            f"{published.fitness:.1f} {abs(MixingMatrix(problem.compact, published.labels).r):.4f}"
        )
    graph = scale_free(1_000, 0.3, 0.4, seed=0)
    spent = []
    for seed in range(5):
        problem = make_problem(graph, "class", open_at_random(graph, 0.015, seed=seed), pool=2, kind="F1", seed=seed)
        start = time.perf_counter()
        exact_front(problem)
        spent.append(time.perf_counter() - start)
    print(f"exact front of 15 open positions, 30 candidates: {np.median(spent) * 1e3:.0f} ms (median of {len(spent)})")


if __name__ == "__main__":
    main()
