"""VGG-16 (32 x 32) on ISAAC: one image start to end and 100 images pipelined; events next to a bare SimPy loop."""

import resource
import time
from collections.abc import Iterator

import simpy

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
    start = time.perf_counter()
    env.run()
    return TIMEOUTS / (time.perf_counter() - start)


def main() -> None:
    """Print times, event rates and memory."""
    start = time.perf_counter()
    placement = place(trace(*untrained("vgg16")), load_chip("isaac"))
    print(f"trace and place: {time.perf_counter() - start:.2f} s, {placement.crossbars_used:,} crossbars")
    for images in (1, 100):
        start = time.perf_counter()
        ledger = simulate(placement, Arrivals.batch(images))
        spent = time.perf_counter() - start
        bare = bare_loop()
        print(
            f"{images:>4} images: {spent:6.2f} s, {ledger.events:>9,} events, {ledger.events / spent:>9,.0f} events/s, "
            f"bare SimPy timeouts {bare:>9,.0f}/s ({bare / (ledger.events / spent):.1f} x)"
        )
        start = time.perf_counter()
        summary = ledger.summary()
        print(
            f"             ledger {time.perf_counter() - start:.2f} s; latency of the first {ledger.latency[0] * 1e6:.1f} µs, "
            f"{summary['energy_per_request_J'] * 1e3:.3f} mJ per image, {summary['throughput_per_s']:,.0f} images/s; "
            f"busiest: link {ledger.busiest_link[0]} {ledger.busiest_link[1]:.0%}, {ledger.busiest_unit[0]} {ledger.busiest_unit[1]:.0%}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
