"""Where layers lie: every crossbar once, copies that balance, and by how much a chip is too small."""

import pytest
import torch
from torch import nn

from tests.hw.networks import residual, seeded, small_convolutional
from xbar.hw import CapacityError, Chip, ParameterError, place, trace


def test_every_crossbar_holds_one_block(edge: Chip) -> None:
    model, example = residual()
    placement = place(trace(model, example), edge)
    seen = set()
    for copies in placement.copies.values():
        for copy in copies:
            crossbars = placement.crossbars_of(copy)
            assert len(crossbars) == copy.crossbars == placement.geometry(copy.layer).crossbars
            for x in crossbars:
                assert (x.core, x.slot) not in seen
                seen.add((x.core, x.slot))
                assert 0 <= x.core < edge.cores
                assert 0 <= x.slot < edge.structure.crossbars_per_core
                assert x.tile == x.core // edge.structure.cores_per_tile
    assert len(seen) == placement.crossbars_used


def test_balance_gives_copies_to_the_bottleneck(isaac: Chip) -> None:
    """Three layers of 1024, 256 and 1 vectors of one core each: no layer can be helped further."""
    model = seeded(
        None,
        nn.Conv2d(1, 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(1024, 3),
    )
    chip = isaac.with_changes(structure={"tiles": 2})
    placement = place(trace(model, torch.rand(1, 1, 32, 32)), chip)
    copies = {name: len(group) for name, group in placement.copies.items()}
    assert copies["4"] == 1
    assert placement.cores_used == 24
    slowest = max(1024 / copies["0"], 256 / copies["2"], 1)
    assert all(max(1024 / a, 256 / (22 - 1 - a), 1) >= slowest for a in range(1, 21))


def test_never_more_copies_than_vectors(isaac: Chip) -> None:
    model, example = small_convolutional()
    placement = place(trace(model, example), isaac)
    assert {name: len(group) for name, group in placement.copies.items()} == {"0": 64, "3": 16, "7": 1}


def test_asked_copies(isaac: Chip) -> None:
    model, example = small_convolutional()
    network = trace(model, example)
    assert [len(c) for c in place(network, isaac, {"3": 5}).copies.values()] == [1, 5, 1]
    assert [len(c) for c in place(network, isaac, None).copies.values()] == [1, 1, 1]
    with pytest.raises(ParameterError, match="no layer 'x'; layers: 0, 3, 7"):
        place(network, isaac, {"x": 2})
    with pytest.raises(ParameterError, match="at least 1, got 0"):
        place(network, isaac, {"3": 0})


def test_a_chip_too_small_says_by_how_many_crossbars(edge: Chip) -> None:
    """1000 x 1000 on 128 x 64-output blocks: 8 x 16 = 128 crossbars fit; a 65th output column tile does not."""
    fits = seeded(None, nn.Linear(1000, 1000))
    assert place(trace(fits, torch.rand(1, 1000)), edge).crossbars_used == 128
    too_large = seeded(None, nn.Linear(1000, 1100), nn.ReLU(), nn.Linear(1100, 10))
    with pytest.raises(CapacityError, match="too small by 28 crossbars") as caught:
        place(trace(too_large, torch.rand(1, 1000)), edge)
    needed = 8 * 18 + 12  # 9 row tiles of the second layer take 3 whole cores of 4
    assert (caught.value.needed, caught.value.available, caught.value.missing) == (needed, 128, needed - 128)
    two_copies = trace(seeded(None, nn.Linear(1000, 600)), torch.rand(1, 1000))
    with pytest.raises(CapacityError, match="too small by 32 crossbars"):
        place(two_copies, edge, {"0": 2})
