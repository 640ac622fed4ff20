"""Search for mappings: against every mapping there is, on networks small enough; never worse than where it began; never below the bound."""

from itertools import product
from math import inf

import numpy as np
import pytest

from tests.hw.hand_built import flow, layer, network, with_rates
from tests.hw.networks import residual, small_convolutional
from xbar.hw import Arrivals, Chip, Network, ParameterError, place, simulate, trace
from xbar.hw.chip.copies import Deal
from xbar.hw.chip.placement import layer_geometry
from xbar.hw.errors import CapacityError
from xbar.hw.events.ledger import STATIC
from xbar.hw.events.mapping_bound import StageTimes, copies_for, least, least_latency, least_period, stage_times
from xbar.hw.events.mapping_search import ROW, Dataflow, Objective, helpful_copies, judge, search_mapping
from xbar.hw.events.vector_operation import VectorOperations

SHORT = 18  # requests of a row


def of(chip: Chip, crossbars: int) -> Chip:
    return chip.with_changes(structure={"tiles": 2, "cores_per_tile": 1, "crossbars_per_core": crossbars})


def every_product(network_: Network, chip: Chip, objective: Objective) -> list[float]:
    """Of all mappings: numbers of copies that help, numbers of strips, cores shared or not."""
    each = [list(helpful_copies(one.vectors, chip.crossbars)) for one in network_.layers]
    taken = [layer_geometry(chip, one).crossbars for one in network_.layers]
    found: dict[object, float] = {}
    for counts in (each for each in product(*each) if np.dot(each, taken) <= chip.crossbars):
        copies = dict(zip([one.name for one in network_.layers], counts, strict=True))
        for sharing, strips in product(("none", "cores"), (1, 2, 3, 4, 6, 8, 12)):
            try:
                placement = place(network_, chip, copies, sharing, strips)  # type: ignore[arg-type]
            except CapacityError:
                continue
            key = tuple((copy.layer, copy.index, tuple(copy.slots)) for group in placement.copies.values() for copy in group)
            if key not in found:
                found[key] = judge(placement, objective, SHORT).product
    return list(found.values())


@pytest.mark.parametrize(
    ("make", "crossbars", "objective", "budget"),
    [(small_convolutional, 3, "latency", 60), (small_convolutional, 4, "throughput", 40), (residual, 4, "latency", 40)],
)
def test_the_best_of_all_mappings_is_found(make: object, crossbars: int, objective: Objective, budget: int, edge: Chip) -> None:
    """Also with fewer simulations than there are mappings."""
    network_, chip = trace(*make()), of(edge, crossbars)  # type: ignore[operator]
    every = every_product(network_, chip, objective)
    found = search_mapping(network_, chip, objective, budget, rows=budget, row=SHORT)
    assert len(found.tried) <= budget
    assert found.best.product == pytest.approx(min(every), rel=1e-12, abs=0)
    assert found.best.product <= found.greedy.product
    assert judge(found.placement, objective, SHORT) == found.best
    ledger = simulate(place(network_, chip), Arrivals.batch(1))
    assert least(network_, chip, objective, ledger).product < min(every)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_no_bound_beyond_what_is_reached_where_digital_work_is_slowest(objective: Objective, edge: Chip) -> None:
    """Copies that lie apart do not share a tile's units."""
    network_ = network([layer("a", 20, 20, 4, None, {"activation": 4000.0})], [flow("", "a", 80, np.zeros(4, int))], 80, 80)
    for copies in (1, 2, 4):
        for sharing in ("none", "cores", "crossbars"):
            placement = place(network_, edge, {"a": copies}, sharing)
            assert least(network_, edge, objective, simulate(placement, Arrivals.batch(1))).product < judge(placement, objective).product


def test_the_bound_lets_layers_share_crossbars(edge: Chip) -> None:
    """Three small layers on one of four crossbars leave three to the large one, of 60 vectors: on crossbars of their own they leave one."""
    whole = [layer(name, 4, 4, 1) for name in "abc"]
    large = layer("d", 25, 100, 60, {name: np.ones(60, int) for name in "abc"})
    flows = [flow("", name, 4, np.zeros(1, int)) for name in "abc"] + [flow(name, "d", 2000, np.ones(60, int)) for name in "abc"]
    built, chip = network([*whole, large], flows, 4, 1500), with_rates(of(edge, 4), link=1e15)
    placement = place(built, chip, {"d": 3}, "crossbars")
    ledger = simulate(place(built, chip, None, "cores"), Arrivals.batch(1))
    bound = least(built, chip, "throughput", ledger, "crossbars").product
    assert bound < judge(placement, "throughput").product
    assert bound < least(built, chip, "throughput", ledger).product


def test_what_is_judged_is_the_ledgers(edge: Chip) -> None:
    placement = place(trace(*small_convolutional()), edge)
    alone = simulate(placement, Arrivals.batch(1))
    assert judge(placement, "latency").product == alone.total_energy * alone.latency[0]
    row = simulate(placement, Arrivals.batch(ROW))
    found = judge(placement, "throughput")
    assert found.time == pytest.approx((row.finish_fs[2 * ROW // 3] - row.finish_fs[ROW // 3]) * 1e-15 / (ROW // 3))
    dynamic = row.energy.drop(index=STATIC).to_numpy().sum() / ROW
    assert found.energy == pytest.approx(dynamic + edge.static_power * found.time)


def test_results_and_samples_share_links_in_a_long_row(edge: Chip) -> None:
    """Eight layers deep, samples and results of one size on slow links: not the pace of the last results, when no more comes."""
    all_, once = np.full(4, 4), np.zeros(4, int)
    layers = [layer(f"l{k}", 60, 60, 4, {f"l{k - 1}": all_} if k else {}) for k in range(8)]
    flows = [flow(f"l{k - 1}" if k else "", f"l{k}", 240, all_ if k else once) for k in range(8)]
    slow = with_rates(edge, link=edge.costs["link"].unit_rate / 10)
    placement = place(network(layers, flows, 240, 240), slow, None)
    finish = simulate(placement, Arrivals.batch(1200)).finish_fs
    found = judge(placement, "throughput").time
    assert found == pytest.approx((finish[1100] - finish[100]) * 1e-15 / 1000, rel=0.005)
    assert found >= 2 * 240 * 8 / (slow.costs["link"].units * slow.costs["link"].unit_rate)  # links cannot be busier than always


def test_same_seed_same_search(edge: Chip) -> None:
    network_, chip = trace(*residual()), of(edge, 8)
    one, two = (search_mapping(network_, chip, budget=12, seed=3) for _ in range(2))
    assert one.tried.equals(two.tried)
    assert len(one.tried) == 12
    assert one.best.product == one.tried["product_Js"].min()
    assert "smaller" in repr(one)


def test_copies_that_share_crossbars_are_searched_too(edge: Chip) -> None:
    found = search_mapping(trace(*small_convolutional()), of(edge, 2), budget=6, sharing="crossbars")
    assert found.placement.sharing == "crossbars"
    assert len(found.tried) == 6
    assert found.best.product <= found.greedy.product


def drawn_network(random: np.random.Generator) -> Network:
    """Three to five layers, each of which follows one or two before it, row by row or all at once."""
    layers, flows = [], []
    for k in range(int(random.integers(3, 6))):
        vectors, width = int(random.choice([4, 9, 16])), int(random.choice([20, 60, 100]))
        before = sorted({int(random.integers(k)) for _ in range(2)}) if k else []
        needs = {}
        for one in before:
            counts = np.minimum((np.arange(vectors) + random.integers(1, 4)) * layers[one].vectors // vectors + 1, layers[one].vectors)
            needs[f"l{one}"] = counts.astype(np.int64)
        layers.append(layer(f"l{k}", width, width, vectors, needs))
        reads = [(f"l{one}", needs[f"l{one}"]) for one in before] or [("", np.zeros(vectors, int))]
        values = width * vectors / len(reads)
        flows += [flow(source, f"l{k}", values, after, addend=number > 0) for number, (source, after) in enumerate(reads)]
    return network(layers, flows, flows[0].values, layers[-1].outputs * layers[-1].vectors)


def test_nothing_comes_below_the_bound(edge: Chip) -> None:
    """Drawn networks, copies, strips and sharing; the time of each mapping by what reads it alone is not above the simulation's either."""
    random = np.random.default_rng(7)
    reached = []
    for _ in range(12):
        network_ = drawn_network(random)
        alone = simulate(place(network_, edge, None), Arrivals.batch(1))
        bounds = {objective: least(network_, edge, objective, alone) for objective in ("latency", "throughput")}
        times = [stage_times(edge, one) for one in network_.layers]
        flow_ = Dataflow(network_, [time.held for time in times], [time.delay for time in times])
        for _ in range(3):
            copies = {one.name: int(random.integers(1, one.vectors + 1)) for one in network_.layers}
            sharing, strips = ("none", "cores")[int(random.integers(2))], int(2 ** random.integers(3))
            try:
                placement = place(network_, edge, copies, sharing, strips)  # type: ignore[arg-type]
            except CapacityError:
                continue
            ledger = simulate(placement, Arrivals.batch(1))
            dynamic = ledger.total_energy - ledger.static_energy
            bound = bounds["latency"]
            assert bound.time <= ledger.latency[0]
            assert bound.energy - edge.static_power * bound.time <= dynamic
            operations = VectorOperations(placement, True)
            links = operations.image_in(0).hold + operations.result_out(0).hold
            assert (flow_.latency(tuple(copies.values())) + links) * 1e-15 <= ledger.latency[0] * (1 + 1e-12)
            busiest = max(ledger.units()["busy_s"].max(), ledger.links()["busy_s"].max())
            assert bounds["throughput"].time <= busiest * (1 + 1e-12)
            reached.append(bound.time / ledger.latency[0])
    assert len(reached) > 20
    assert max(reached) > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_the_least_time_between_results_is_the_best_of_all_numbers_of_copies(seed: int) -> None:
    random = np.random.default_rng(seed)
    layers = [layer(f"l{k}", 4, 4, int(random.integers(2, 12))) for k in range(3)]
    network_ = network(layers, [flow("", one.name, 1, np.zeros(one.vectors, int)) for one in layers], 3, 12)
    held = {one.name: int(random.integers(50, 200)) for one in layers}
    each = {one.name: float(random.integers(1, 4)) for one in layers}
    room = sum(each.values()) + 12
    best = inf
    for counts in product(range(1, 20), repeat=3):
        if sum(count * size for count, size in zip(counts, each.values(), strict=True)) <= room:
            best = min(best, max(Deal(one.vectors, count).longest * held[one.name] for one, count in zip(layers, counts, strict=True)))
    assert least_period(network_, held, each, room) == np.ceil(best)


@pytest.mark.parametrize("seed", range(4))
def test_the_least_latency_is_below_the_best_of_all_numbers_of_copies(seed: int) -> None:
    """And equal to it where there is room for as many copies as vectors."""
    random = np.random.default_rng(seed)
    network_ = drawn_network(random)
    times = {one.name: StageTimes(int(random.integers(50, 200)), int(random.integers(200, 400)), 0, 0, 0) for one in network_.layers}
    flow_ = Dataflow(network_, [time.held for time in times.values()], [time.delay for time in times.values()])
    each = {one.name: float(random.integers(1, 4)) for one in network_.layers}
    room = sum(each.values()) + 6
    fitting = [
        counts for counts in product(range(1, 8), repeat=len(each))
        if sum(count * size for count, size in zip(counts, each.values(), strict=True)) <= room
    ]  # fmt: skip
    bound, best = least_latency(network_, times, each, room), min(flow_.latency(counts) for counts in fitting)
    assert 0.6 * best < bound <= best
    plenty = sum(size * one.vectors for size, one in zip(each.values(), network_.layers, strict=True))
    most = flow_.latency(tuple(one.vectors for one in network_.layers))
    assert least_latency(network_, times, each, plenty) == pytest.approx(most)


def test_fewest_copies() -> None:
    assert [copies_for(10, 100, time) for time in (1000, 999, 500, 100, 99, 50)] == [1, 2, 2, 10, 11, 20]


def test_copies_that_help() -> None:
    assert list(helpful_copies(10, 100)) == [1, 2, 3, 4, 5, 10]
    assert list(helpful_copies(10, 4)) == [1, 2, 3, 4]
    assert list(helpful_copies(1, 8)) == [1]


def test_what_cannot_be_searched_is_refused(edge: Chip) -> None:
    network = trace(*small_convolutional())
    with pytest.raises(ParameterError, match="objective must be latency or throughput, got 'area'"):
        search_mapping(network, edge, "area")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="budget and rows must be 1 or more, got 0 and 4"):
        search_mapping(network, edge, budget=0)
    with pytest.raises(ParameterError, match="row must be 3 requests or more, got 2"):
        search_mapping(network, edge, "throughput", row=2)
    with pytest.raises(ParameterError, match="has 2 crossbars, one copy of each layer takes"):
        least(network, of(edge, 1), "latency", simulate(place(network, edge), Arrivals.batch(1)))
