"""The character-level decoder: its size, that no position sees what comes after it, and that the hardware can read it."""

import pytest
import torch

from xbar.hw import load_chip, place, trace
from xbar.hw.errors import MissingComponentError
from xbar.models import CharacterGPT
from xbar.models.transformer import Block
from xbar.workloads.training import initialise

VOCABULARY, LENGTH = 97, 128


@pytest.fixture(scope="module")
def model() -> CharacterGPT:
    return initialise(CharacterGPT, 0).eval()  # type: ignore[return-value]


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (2, LENGTH), generator=torch.Generator().manual_seed(0))


def test_size_and_shape(model: CharacterGPT, tokens: torch.Tensor) -> None:
    assert sum(p.numel() for p in model.parameters()) == 834_657
    with torch.no_grad():
        assert model(tokens).shape == (2, LENGTH, VOCABULARY)
        assert torch.allclose(model(tokens[:, :40]), model(tokens)[:, :40], atol=1e-5)  # shorter than its context


@pytest.mark.parametrize("place_", [1, 64, LENGTH - 1])
def test_a_later_token_never_changes_earlier_logits(model: CharacterGPT, tokens: torch.Tensor, place_: int) -> None:
    changed = tokens.clone()
    changed[:, place_] = (changed[:, place_] + 1) % VOCABULARY
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.allclose(before[:, :place_], after[:, :place_], atol=1e-6)
    assert (before[:, place_:] != after[:, place_:]).any(2).all()  # and every later position sees it


def test_a_block_that_is_not_causal_sees_what_follows() -> None:
    block, x = Block(8, 2, 2), torch.rand(1, 3, 8, generator=torch.Generator().manual_seed(0))
    changed = x + torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1) * torch.arange(8)
    assert not torch.allclose(block(x)[:, 0], block(changed)[:, 0])


def test_width_goes_into_heads() -> None:
    with pytest.raises(ValueError, match="width 8 must be a multiple of the 3 heads"):
        Block(8, 3, 2)


def test_the_hardware_reads_it(model: CharacterGPT, tokens: torch.Tensor) -> None:
    """A table, 16 matrices of the blocks and the last one. They fit chip edge; chip isaac has no digital units for it."""
    network = trace(model, tokens[:, :16])
    assert len(network.layers) == 18
    weights = 4 * 12 * 128 * 128 + 128 * VOCABULARY
    assert network.operations == 2 * 16 * weights
    pairs = 2  # columns a weight: 128 x 128 weights lie on two crossbars
    assert place(network, load_chip("edge"), None).crossbars_used == pairs * (1 + 4 * (3 + 1 + 4 + 4) + 1)
    with pytest.raises(MissingComponentError, match="chip isaac has no multiplier and no product in its tiles"):
        place(network, load_chip("isaac"))
