"""Node voltages of a crossbar: linear cells by elimination, others by Newton's method on it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xbar.hw.array.nodes import Network, eliminated, load_of
from xbar.hw.cells.law import CellLaw, Linear
from xbar.hw.errors import ConvergenceError

EPSILON = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class State:
    """Drops [V] (batch, vectors, wordlines, word nodes) and (..., bit nodes, bitlines); currents [A]."""

    word: Tensor
    bit: Tensor
    current: Tensor  # (batch, vectors, wordlines, bitlines)
    missing: Tensor  # (batch, vectors, all nodes), word nodes first

    @classmethod
    def along_vectors(cls, parts: list["State"]) -> "State":
        return cls(*(torch.cat([getattr(part, name) for part in parts], dim=1) for name in cls.__annotations__))


class Factors:
    """The eliminated network for cells (batch, wordlines, bitlines) of these slopes [S]: drops from currents."""

    def __init__(self, cells: Tensor, network: Network):
        self.cells, self.network = cells, network
        self.inverse = network.word.inverse(network.at_word(cells))
        grouped = cells.unflatten(1, (network.bit.nodes, network.rows))
        inverses = self.inverse.unflatten(1, (network.bit.nodes, network.rows))
        seen = cells.new_zeros(len(cells), network.bitlines, network.bitlines)
        self.blocks = []
        for node in range(network.bit.nodes):
            block, seen = eliminated(node, load_of(grouped[:, node], inverses[:, node]), seen, network.bit)
            self.blocks.append(block)

    def drops(self, at_word: Tensor, at_bit: Tensor) -> tuple[Tensor, Tensor]:
        """Drops (batch, vectors, wordlines, word nodes), (..., bit nodes, bitlines) that supply these currents."""
        network, cells = self.network, self.cells.unsqueeze(1)
        word = self._along_words(at_word)
        bit = self._down_bits(at_bit - network.at_bit(cells * word))
        return word - self._along_words(network.at_word(cells * network.to_cells(bit))), bit

    def _along_words(self, currents: Tensor) -> Tensor:
        return (self.inverse @ currents.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _down_bits(self, currents: Tensor) -> Tensor:
        segment = self.network.bit.segment
        above = torch.zeros_like(currents[:, :, 0]).mT
        held = []
        for node, block in enumerate(self.blocks):
            above = block @ (currents[:, :, node].mT + segment * above)
            held.append(above)
        for node in reversed(range(len(held) - 1)):
            held[node] = held[node] + segment * (self.blocks[node] @ held[node + 1])
        return torch.stack(held, dim=1).permute(0, 3, 1, 2)


def linear_state(cells: Tensor, voltages: Tensor, network: Network, factors: Factors) -> State:
    """Linear cells (batch, wordlines, bitlines), voltages (batch, vectors, wordlines): solved, then refined once."""
    state = _start(cells, voltages, Linear(), network)
    for _ in range(2):
        word, bit = _step(state, factors)
        state = _evaluated(state.word + word, state.bit + bit, cells, voltages, Linear(), network)
    return state


def _start(cells: Tensor, voltages: Tensor, law: CellLaw, network: Network) -> State:
    """Ideal wires: no drops."""
    batch, vectors, wordlines = voltages.shape
    word = cells.new_zeros(batch, vectors, wordlines, network.word.nodes)
    bit = cells.new_zeros(batch, vectors, network.bit.nodes, network.bitlines)
    return _evaluated(word, bit, cells, voltages, law, network)


def _evaluated(word: Tensor, bit: Tensor, cells: Tensor, voltages: Tensor, law: CellLaw, network: Network) -> State:
    """Currents at these drops, and what is missing at the nodes."""
    current = law.current(network.across(voltages, word, bit), cells.unsqueeze(1))
    missing = torch.cat([part.flatten(2) for part in network.missing(current, word, bit)], dim=2)
    return State(word, bit, current, missing)


def _step(state: State, factors: Factors) -> tuple[Tensor, Tensor]:
    """Newton step of the drops, word and bit."""
    words = state.word[0, 0].numel()
    at_word, at_bit = state.missing[..., :words], state.missing[..., words:]
    return factors.drops(-at_word.reshape(state.word.shape), -at_bit.reshape(state.bit.shape))


def newton_state(
    cells: Tensor, voltages: Tensor, law: CellLaw, network: Network, tolerance: float, most_iterations: int
) -> tuple[State, int]:
    """Solution for items (batch, wordlines, bitlines) with one vector each, (batch, 1, wordlines)."""
    state = _start(cells, voltages, law, network)
    for iteration in range(most_iterations + 1):
        if not bool(torch.isfinite(state.missing).all()):
            raise ConvergenceError(f"currents of the cells are not finite after {iteration} iterations")
        rounding = _rounding(state, cells, voltages, law, network)
        excess = _excess(state, network, rounding).amax(1)
        active = torch.nonzero(~(excess <= tolerance * _largest_current(state)[:, 0])).flatten()
        if len(active) == 0:
            return state, iteration
        if iteration == most_iterations:
            break
        part = State(*(field[active] for field in vars(state).values()))
        improved = _improved(part, cells[active], voltages[active], law, network, rounding[active])
        for field, values in zip(vars(state).values(), vars(improved).values(), strict=True):
            field[active] = values
    raise ConvergenceError(
        f"{len(active)} of {len(cells)} vectors did not converge in {most_iterations} iterations: "
        f"{relative_missing(state).max().item():g} of the largest current is missing at a node, allowed {tolerance:g}"
    )


def _improved(
    part: State, cells: Tensor, voltages: Tensor, law: CellLaw, network: Network, rounding: Tensor
) -> State:
    """One Newton step of every item, each halved until less current is missing than before."""
    slope = law.slope(network.across(voltages, part.word, part.bit)[:, 0], cells)
    word, bit = _step(part, Factors(slope, network))
    before = _excess(part, network, rounding).square().sum(1)
    length = torch.ones_like(before)
    for _ in range(60):
        scale = length[:, None, None, None]
        trial = _evaluated(part.word + scale * word, part.bit + scale * bit, cells, voltages, law, network)
        after = _excess(trial, network, rounding).square().sum(1)
        worse = ~(after < before)  # also where not finite
        if not bool(worse.any()):
            return trial
        length = torch.where(worse, length / 2, length)
    raise ConvergenceError(
        f"no Newton step lessens the current missing at the nodes of {int(worse.sum())} vectors: "
        f"{relative_missing(part)[worse].max().item():g} of the largest current"
    )


def _largest_current(state: State) -> Tensor:
    """Of any line or cell, (batch, vectors) [A]."""
    sizes = [state.current.abs().amax((-1, -2)), state.current.sum(-1).abs().amax(-1)]
    return torch.stack([*sizes, state.current.sum(-2).abs().amax(-1)]).amax(0)


def relative_missing(state: State) -> Tensor:
    """Largest current missing at a node over the largest current, (batch, vectors)."""
    largest, missing = _largest_current(state), state.missing.abs().amax(-1)
    return torch.where(missing > 0, missing / largest, missing)


def _rounding(state: State, cells: Tensor, voltages: Tensor, law: CellLaw, network: Network) -> Tensor:
    """Current [A] that rounding alone makes appear missing, (items, 2): at a node, along a whole line."""
    slope = law.slope(network.across(voltages, state.word, state.bit)[:, 0], cells).abs()
    of_lines = torch.maximum(slope.sum(1).amax(1), slope.sum(2).amax(1)) * voltages.abs().amax((1, 2))
    stiffest = [line.matrix.diagonal().max().item() for line in (network.word, network.bit)]
    of_wires = stiffest[0] * state.word.abs().amax((1, 2, 3)) + stiffest[1] * state.bit.abs().amax((1, 2, 3))
    return 4 * EPSILON * torch.stack([of_lines + of_wires, of_lines], dim=1)


def _excess(state: State, network: Network, rounding: Tensor) -> Tensor:
    """Current [A] missing beyond rounding: at every node, and along every line, where segments cancel; (items, all).

    Where segments are stiff, the nodes alone would not tell a solution from one whose lines lack current.
    """
    words = state.word[0].numel()
    at_word = state.missing[:, 0, :words].reshape(state.word[:, 0].shape)
    at_bit = state.missing[:, 0, words:].reshape(state.bit[:, 0].shape)
    lines = torch.cat([at_word.sum(2), at_bit.sum(1)], dim=1)
    beyond = [state.missing[:, 0].abs() - rounding[:, :1], lines.abs() - rounding[:, 1:]]
    return torch.cat(beyond, dim=1).clamp(min=0.0)
