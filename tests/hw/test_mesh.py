"""The mesh: routes, links as servers (closed forms, M/D/1), flits that are the same for time and energy, nothing above 100 %."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.energies import LACKING, NETWORKS, traced
from tests.hw.hand_built import flow, layer, network, priced_as_it_was, with_rates
from tests.hw.networks import presets_of_networks, recommender, residual, small_convolutional
from xbar.hw import Arrivals, Chip, load_chip, place, simulate, trace
from xbar.hw.chip.cycle import ticks
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.mesh import EDGE, Links, Mesh

PICOSECOND = 1e-12


def sent(mesh: Mesh, source: int, bits: dict[int, float]):  # type: ignore[no-untyped-def]
    return mesh.shipment({source: {tile: {tile: count} for tile, count in bits.items()}})


class TestRoutes:
    @pytest.mark.parametrize("tiles", [1, 4, 5, 30, 168, 333])
    @pytest.mark.parametrize("per_router", [1, 4])
    def test_every_pair_by_the_shortest_way(self, isaac: Chip, tiles: int, per_router: int) -> None:
        mesh = Mesh(isaac.with_changes(structure={"tiles": tiles}, component={"router": {"shared_by": per_router}}))
        assert len(set(mesh.places)) == len(mesh.places) == -(-tiles // per_router)
        rng = np.random.default_rng(0)
        for source, target in rng.integers(EDGE, tiles, (200, 2)):
            links = mesh.route(int(source), int(target))
            if source == target:
                assert links == ()
                continue
            a, b = (mesh.places[0 if tile == EDGE else tile // per_router] for tile in (source, target))
            assert len(set(links)) == len(links) == 2 + abs(a[0] - b[0]) + abs(a[1] - b[1])
            assert mesh.injects(links[0])
            assert not any(mesh.injects(link) for link in links[1:])

    def test_along_the_row_first(self, isaac: Chip) -> None:
        mesh = Mesh(isaac)
        target = mesh.at[2, 1]
        names = [mesh.names[link] for link in mesh.route(0, 4 * target)]
        right = mesh.at[1, 0], mesh.at[2, 0]
        assert names == [
            "into the mesh, tile 0", f"router 0 to {right[0]}", f"router {right[0]} to {right[1]}",
            f"router {right[1]} to {target}", f"out of the mesh, tile {4 * target}",
        ]  # fmt: skip


class TestLinks:
    def test_one_packet_by_hand(self, isaac: Chip) -> None:
        """100 bits are 4 flits of 32; the head passes 3 routers of one clock each."""
        mesh, links = Mesh(isaac), Links(Mesh(isaac))
        shipment = sent(mesh, 0, {4 * mesh.at[1, 1]: 100.0})
        injected, arrived = links.send(shipment, 1000)
        assert injected == 1000 + ticks(4, 1.2e9)
        assert arrived == pytest.approx(1000 + ticks(3 + 4, 1.2e9), abs=3)
        assert shipment.router_bits == 3 * 4 * 32
        assert shipment.routers == 3
        assert sum(links.flits) == 4 * 4

    def test_two_flows_share_a_link(self, isaac: Chip) -> None:
        """Packets of two tiles of one router, at once and for one tile: its ejection port takes one after the other."""
        mesh, links = Mesh(isaac), Links(Mesh(isaac))
        arrived = [links.send(sent(mesh, source, {9: 320.0}), 0)[1] for source in (0, 1)]
        assert arrived[1] - arrived[0] == ticks(10, 1.2e9)
        both = [links.send(sent(mesh, 4, {source: 320.0}), 10**12)[1] for source in (0, 2)]
        assert both[1] - both[0] == ticks(10, 1.2e9), "one injection port"

    def test_a_gap_is_used_by_what_fits(self, isaac: Chip) -> None:
        """A packet from far away holds the ejection port from its arrival on; one from near by goes before it, or after."""
        mesh = Mesh(isaac)
        far, clock = 4 * mesh.at[6, 0], ticks(1, 1.2e9)
        for flits, before in ((3, True), (20, False)):
            links = Links(mesh)
            late = links.send(sent(mesh, far, {1: 32.0 * 50}), 0)[1]
            near = links.send(sent(mesh, 0, {1: 32.0 * flits}), 0)[1]
            assert (near < late) == before
            assert near == pytest.approx((1 + flits) * clock if before else late + flits * clock, abs=20)

    @given(
        packets=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 29), st.integers(0, 29), st.integers(1, 30)), max_size=40),
        multicast=st.booleans(),
    )
    def test_no_link_does_two_things_at_once(self, packets: list[tuple[int, int, int, int]], multicast: bool) -> None:
        """Every link's services lie apart, in whatever order packets are sent, and heads go forward."""
        chip = load_chip("isaac").with_changes(structure={"tiles": 30}, timing={"multicast": multicast})
        mesh = Mesh(chip)

        class Watched(Links):
            def _between(self, link: int, earliest: int, service: int, now: int) -> int:
                start = super()._between(link, earliest, service, now)
                assert start >= earliest
                return start

        links = Watched(mesh)
        for when, source, target, flits in sorted(packets):
            free = [list(gaps) for gaps in links.gaps], list(links.free)
            links.send(sent(mesh, source, {target: 32.0 * flits, (target + 7) % 30: 16.0}), when * 10**6)
            for link, gaps in enumerate(links.gaps):
                for begin, end in gaps:
                    inside = any(a <= begin and end <= b for a, b in free[0][link]) or begin >= free[1][link]
                    assert inside, "what was taken does not become free"
        assert all(busy <= free for busy, free in zip(links.busy, links.free, strict=True))

    @pytest.mark.parametrize("rho", [0.4, 0.8])
    def test_poisson_packets_wait_as_m_d_1(self, isaac: Chip, rho: float) -> None:
        """Mean wait rho S / (2 (1 - rho)) (Pollaczek-Khinchine) of equal packets on one route, from four tiles on one link."""
        mesh = Mesh(isaac)
        service, means = ticks(16, 1.2e9), []
        target = 4 * mesh.at[2, 0]
        shipments = [sent(mesh, source, {target: 512.0}) for source in range(4)]
        for seed in range(12):
            rng, links = np.random.default_rng(seed), Links(mesh)
            times = np.cumsum(rng.exponential(service / rho, 4000)).astype(int).tolist()
            alone = Links(mesh).send(shipments[0], 0)[1]
            waits = [links.send(shipments[rng.integers(4)], now)[1] - now - alone for now in times]
            means.append(np.mean(waits[500:]))
        expected = rho * service / (2 * (1 - rho))
        error = np.std(means, ddof=1) / np.sqrt(len(means))
        assert error < 0.15 * expected
        assert abs(np.mean(means) - expected) < 3 * error

    def test_multicast_carries_a_value_once(self, isaac: Chip) -> None:
        """Two tiles of one router need the same 10 flits: unicast sends them twice, multicast parts them at the router."""
        parts = {4: {"a": 320.0}, 5: {"a": 320.0}}
        apart, once = (
            Mesh(isaac.with_changes(timing={"multicast": multicast})).shipment({0: parts}) for multicast in (False, True)
        )
        far = len(Mesh(isaac).route(0, 4))
        assert len(apart.steps) == 2 * far
        assert len(once.steps) == far + 1
        assert (apart.router_bits, once.router_bits) == (2 * (far - 1) * 320, far * 320)
        other = Mesh(isaac.with_changes(timing={"multicast": True})).shipment({0: {4: {"a": 320.0}, 5: {"b": 320.0}}})
        assert sum(step.flits for step in other.steps) == sum(step.flits for step in apart.steps)


def check_shares(ledger: Ledger) -> None:
    """Nothing is busier than all the time, and the router's bits are those of the links that routers send over."""
    for table in (ledger.components(), ledger.layers(), ledger.links(), ledger.units()):
        assert table["utilisation"].max() <= 1 + 1e-9, table["utilisation"].idxmax()
    links = ledger.links()
    assert links.loc[~links["injects"], "bits"].sum() == pytest.approx(ledger.actions["router"].sum(), rel=1e-12)
    assert ledger.busiest_link[1] == ledger.summary()["busiest_link_share"]
    assert ledger.busiest_unit[1] == ledger.summary()["busiest_unit_share"]


@pytest.mark.parametrize("preset", presets_of_networks())
@pytest.mark.parametrize("name", [*NETWORKS, "vgg16", "resnet18"])
def test_nothing_is_busier_than_all_the_time(preset: str, name: str) -> None:
    if name in ("vgg16", "resnet18") and preset != "isaac":
        pytest.skip("too large for the chip, or as on isaac")
    if (preset, name) in LACKING:
        pytest.skip("refused: tests/golden")
    check_shares(simulate(place(traced(name), load_chip(preset)), Arrivals.batch(3)))


@pytest.mark.parametrize("multicast", [False, True])
@pytest.mark.parametrize("adcs", [1, 4, 16])
@pytest.mark.parametrize("built", [small_convolutional, residual, recommender])
def test_nor_with_too_few_of_anything(edge: Chip, adcs: int, multicast: bool, built) -> None:  # type: ignore[no-untyped-def]
    """One shift-and-add unit for 16 ADCs, a slow bus, slow digital units, one bit a flit: what is slow sets the time."""
    chip = edge.with_changes(component={"adc": {"columns": 512 // adcs}}, timing={"multicast": multicast})
    chip = priced_as_it_was(chip, timing={"flit_width": 1})
    by = {"bus": 40, "accumulator": 30, "dac": 3, "sample_hold": 5, "tile_register": 50, "shift_add": adcs}
    chip = with_rates(chip, **{name: chip.costs[name].unit_rate / less for name, less in by.items()})
    for copies in ("balance", None):
        check_shares(simulate(place(trace(*built()), chip, copies), Arrivals.batch(5)))  # type: ignore[arg-type]


def test_a_link_bounds_throughput(isaac: Chip) -> None:
    """12 cores make 128 results of 16 bits each every 1.6 us and more, which one flit a clock cannot take from the tile; the
    injection port is busy all the time but for the beginning and the end."""
    vectors = 200
    layers = [layer("a", 128, 100, vectors), layer("b", 4, 128, vectors, {"a": np.arange(1, vectors + 1)})]
    flows = [flow("", "a", 100 * vectors, np.zeros(vectors, int)), flow("a", "b", 128 * vectors, np.arange(1, vectors + 1))]
    chip = priced_as_it_was(isaac, timing={"flit_width": 1})
    placement = place(network(layers, flows, 100 * vectors, 4 * vectors), chip, {"a": 12, "b": 1})
    ledger = simulate(placement, Arrivals.batch(4), off_chip_io=False)
    name, share = ledger.busiest_link
    assert name == "into the mesh, tile 0"
    assert 0.9 < share <= 1
    flits = 4 * vectors * 128 * 16
    assert ledger.links().loc[name, "flits"] == flits
    assert ledger.span >= flits / 1.2e9
