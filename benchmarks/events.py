"""VGG-16 (32 x 32) on ISAAC: one image start to end and 100 images pipelined; a Poisson stream to a recommender; by SimPy and by the
compiled loop, processor time next to a bare SimPy loop.

A ratio is the processor time over that of as many timeouts of the bare loop as there were events.
"""

import resource
import time
from collections.abc import Iterator

import simpy
from ratios import told

from xbar.hw import Arrivals, load_chip, place, simulate, trace
from xbar.workloads.workload import untrained

TIMEOUTS = 500_000


def bare_loop() -> float:
    """Events per second of a SimPy process that only waits."""
    env = simpy.Environment()

    def waiting() -> Iterator[simpy.Event]:
        for _ in range(TIMEOUTS):
            yield env.timeout(1)

    env.process(waiting())
    start = time.process_time()
    env.run()
    return TIMEOUTS / (time.process_time() - start)


def main() -> None:
    """Print times, event rates, ratios and memory."""
    bare, ratios = bare_loop(), {}
    print(f"bare SimPy timeouts {bare:,.0f}/s")
    vgg, recommender = (place(trace(*untrained(name)), load_chip("isaac")) for name in ("vgg16", "recommender"))
    simulate(recommender, Arrivals.batch(2), engine="compiled")  # compiles, once on a machine, or loads what was compiled
    capacity = simulate(recommender, Arrivals.batch(100)).steady_throughput
    for name, placement, arrivals, engine in (
        ("VGG-16, 1 image, SimPy", vgg, Arrivals.batch(1), "simpy"), ("VGG-16, 100 images, SimPy", vgg, Arrivals.batch(100), "simpy"),
        ("VGG-16, 100 images, compiled", vgg, Arrivals.batch(100), "compiled"),
        ("recommender, 10,000 Poisson requests, SimPy", recommender, Arrivals.poisson(0.8 * capacity, 10_000, 0), "simpy"),
        ("recommender, 100,000 Poisson requests, compiled", recommender, Arrivals.poisson(0.8 * capacity, 100_000, 0), "compiled"),
    ):  # fmt: skip
        start = time.process_time()
        ledger = simulate(placement, arrivals, engine=engine)  # type: ignore[arg-type]
        spent = time.process_time() - start
        ratios[name] = spent * bare / ledger.events
        print(f"{name}: {spent:.2f} s, {ledger.events:,} events, {ledger.events / spent:,.0f}/s, {ratios[name]:.2f} x the bare loop")
        start = time.process_time()
        summary = ledger.summary()
        print(
            f"    ledger {time.process_time() - start:.2f} s; latency of the first {ledger.latency[0] * 1e6:.1f} µs, "
            f"{summary['energy_per_request_J'] * 1e3:.3g} mJ a request, {summary['throughput_per_s']:,.0f} requests/s; "
            f"busiest: link {ledger.busiest_link[0]} {ledger.busiest_link[1]:.0%}, {ledger.busiest_unit[0]} {ledger.busiest_unit[1]:.0%}"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GiB")
    told("events", ratios)


if __name__ == "__main__":
    main()
