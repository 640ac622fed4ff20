"""Search for numbers of copies: against every mapping there is, on networks small enough; never worse than where it began."""

from itertools import product

import numpy as np
import pytest

from tests.hw.hand_built import flow, layer, network, with_rates
from tests.hw.networks import residual, small_convolutional
from xbar.hw import Arrivals, Chip, ParameterError, place, simulate, trace
from xbar.hw.chip.placement import layer_geometry
from xbar.hw.events.ledger import STATIC
from xbar.hw.events.mapping_search import ROW, Objective, helpful_copies, judge, least, search_mapping


def of(chip: Chip, crossbars: int) -> Chip:
    return chip.with_changes(structure={"tiles": 2, "cores_per_tile": 1, "crossbars_per_core": crossbars})


@pytest.mark.parametrize(
    ("make", "crossbars", "objective"),
    [(small_convolutional, 3, "latency"), (small_convolutional, 4, "throughput"), (residual, 4, "latency")],
)
def test_the_best_of_all_mappings_is_found(make: object, crossbars: int, objective: Objective, edge: Chip) -> None:
    network, chip = trace(*make()), of(edge, crossbars)  # type: ignore[operator]
    sizes = [layer_geometry(chip, layer).crossbars for layer in network.layers]
    each = [list(helpful_copies(layer.vectors, chip.crossbars)) for layer in network.layers]
    fitting = [counts for counts in product(*each) if sum(c * s for c, s in zip(counts, sizes, strict=True)) <= chip.crossbars]
    names = [layer.name for layer in network.layers]
    every = {counts: judge(place(network, chip, dict(zip(names, counts, strict=True))), objective).product for counts in fitting}
    found = search_mapping(network, chip, objective, budget=60)
    assert 6 <= len(every) <= 60
    assert found.best.product == min(every.values())
    assert found.best.product <= found.greedy.product
    assert judge(found.placement, objective) == found.best
    ledger = simulate(place(network, chip), Arrivals.batch(1))
    assert least(network, chip, objective, ledger) < min(every.values())


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_no_bound_beyond_what_is_reached_where_digital_work_is_slowest(objective: Objective, edge: Chip) -> None:
    """Copies that lie apart do not share a tile's units."""
    network_ = network([layer("a", 20, 20, 4, None, {"activation": 4000.0})], [flow("", "a", 80, np.zeros(4, int))], 80, 80)
    for copies in (1, 2, 4):
        for sharing in ("none", "cores", "crossbars"):
            placement = place(network_, edge, {"a": copies}, sharing)
            assert least(network_, edge, objective, simulate(placement, Arrivals.batch(1))) < judge(placement, objective).product


def test_the_bound_lets_layers_share_crossbars(edge: Chip) -> None:
    """Three small layers on one of four crossbars leave three to the large one, of 60 vectors: on crossbars of their own they leave one."""
    whole = [layer(name, 4, 4, 1) for name in "abc"]
    large = layer("d", 25, 100, 60, {name: np.ones(60, int) for name in "abc"})
    flows = [flow("", name, 4, np.zeros(1, int)) for name in "abc"] + [flow(name, "d", 2000, np.ones(60, int)) for name in "abc"]
    built, chip = network([*whole, large], flows, 4, 1500), with_rates(of(edge, 4), link=1e15)
    placement = place(built, chip, {"d": 3}, "crossbars")
    bound = least(built, chip, "throughput", simulate(placement, Arrivals.batch(1)))
    assert bound < judge(placement, "throughput").product
    assert bound < least(built, chip, "throughput", simulate(place(built, chip, None, "cores"), Arrivals.batch(1)))


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
    network, chip = trace(*residual()), of(edge, 8)
    one, two = (search_mapping(network, chip, budget=12, seed=3) for _ in range(2))
    assert one.tried.equals(two.tried)
    assert len(one.tried) == 12
    assert one.best.product == one.tried["product_Js"].min()
    assert "smaller" in repr(one)


def test_copies_that_help() -> None:
    assert list(helpful_copies(10, 100)) == [1, 2, 3, 4, 5, 10]
    assert list(helpful_copies(10, 4)) == [1, 2, 3, 4]
    assert list(helpful_copies(1, 8)) == [1]


def test_what_cannot_be_searched_is_refused(edge: Chip) -> None:
    network = trace(*small_convolutional())
    with pytest.raises(ParameterError, match="objective must be latency or throughput, got 'area'"):
        search_mapping(network, edge, "area")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="budget must be 1 mapping or more, got 0"):
        search_mapping(network, edge, budget=0)
