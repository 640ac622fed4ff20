"""Growth of FairEA, published and improved, with the network: 5 % of the positions open, four candidates to each.

Preferential attachment with homophily (assortativity 0.4, 30 % minority), fitness F1. The largest is 10,000 positions, 500
of them open, 2,000 candidates; it is to take less than 60 s in all. Then, of lists of feasible pairs (`workloads/fairea/large.py`),
100,000 positions, 10,000 open, 20,000 candidates and 50 of them feasible for each: 8 GB and five minutes at most.
"""

import resource
import time

import networkx as nx
import numpy as np

from xbar.workloads.fairea.exact import exact_front
from xbar.workloads.fairea.improved import improved_front
from xbar.workloads.fairea.large import LargeProblem, fittest_within, maximum_fitness, weighted_hungarian
from xbar.workloads.fairea.limits import Limits
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
    large()


def large(positions: int = 100_000, opened: int = 10_000, candidates: int = 20_000, feasible: int = 50) -> None:
    """Print processor seconds and peak memory of each step of a problem of pairs."""
    rng, start = np.random.default_rng(0), time.process_time()

    def told(what: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{time.process_time() - start:>7.1f} s {peak:>6.2f} GiB  {what}")

    graph = nx.barabasi_albert_graph(positions, 4, seed=0)
    held, group = (rng.random(positions) < 0.3).astype(int), (rng.random(candidates) < 0.35).astype(int)
    position = np.repeat(np.arange(opened), feasible)
    candidate = np.concatenate([rng.choice(candidates, feasible, replace=False) for _ in range(opened)])
    fitness = rng.random(len(candidate)).round(2) * np.where(group[candidate] == 1, 0.9, 1.0)  # one class scores a tenth less
    problem = LargeProblem.of(graph, held, rng.permutation(positions)[:opened], group, (position, candidate, fitness))
    told(f"{positions:,} positions, {opened:,} open, {candidates:,} candidates, {len(fitness):,} feasible pairs")
    for name, method in (("largest fitness", maximum_fitness), ("weighted Hungarian", weighted_hungarian)):
        chosen = method(problem)
        found = problem.measures(chosen)
        told(f"{name}: fitness {problem.total(chosen):,.1f}, |r| {found.distance:.4f}, selection ratio {found.selection_ratio:.2f}")
    within = fittest_within(problem, Limits(selection=0.8, distance=0.003))
    found = problem.measures(within.chosen)
    told(f"four fifths and |r| at most 0.003: fitness {within.fitness:,.1f}, at most {within.bound:,.1f} can be had; |r| "
         f"{found.distance:.4f}, selection ratio {found.selection_ratio:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
