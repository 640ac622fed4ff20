"""Which chip instances an array is of, and the random numbers that follow from that."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from xbar.hw.errors import ParameterError
from xbar.hw.randomness import CountedNormals, generator_of, key_of, words_of

CELLS, INSTANCE, TELEGRAPH, ADC, READ, LASTING, CELL_ERROR = range(7)  # what a random draw is for


@dataclass(frozen=True)
class Draws:
    """Chip instances by seed, each drawn apart; `layer` keeps layers' draws apart. What is fixed in a chip (stuck cells,
    differences between devices, errors of ADCs) depends on its seed and layer; what differs each time that it is
    written, on `write` as well. Raises ParameterError for no seeds and for numbers below 0."""

    seeds: tuple[int, ...]
    layer: int = 0
    write: int = 0

    def __post_init__(self) -> None:
        numbers = [*self.seeds, self.layer, self.write]
        if not self.seeds or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ParameterError(
                f"program needs at least one seed; seeds, layer and write are whole numbers from 0 on, got {list(self.seeds)}, "
                f"{self.layer} and {self.write}"
            )

    def of_writing(self, seed: int, device: torch.device) -> torch.Generator:
        """For the pulses of this write, drawn on a torch device."""
        return generator_of(seed, self.layer, CELLS, self.write, device=device)

    def of_instance(self, seed: int, device: torch.device) -> torch.Generator:
        """For what is fixed in the cells of a chip."""
        return generator_of(seed, self.layer, INSTANCE, device=device)

    def of_telegraph(self, seed: int, device: torch.device) -> torch.Generator:
        """For the states of telegraph cells after a time."""
        return generator_of(seed, self.layer, TELEGRAPH, self.write, device=device)

    def of_cell_errors(self, seed: int, device: torch.device) -> torch.Generator:
        """For what cells are off by in products beyond their device's own errors, after this write."""
        return generator_of(seed, self.layer, CELL_ERROR, self.write, device=device)

    def of_adcs(self, seed: int) -> torch.Generator:
        """For the errors of a chip's ADCs."""
        return generator_of(seed, self.layer, ADC)

    def words(self, what: int) -> list[tuple[int, int]]:
        """Key of each instance's normals for READ or LASTING noise, in two words of 32 bits."""
        return [words_of(_key(seed, self.layer, what, self.write)) for seed in self.seeds]

    def fill(self, normal: Tensor, first: int, what: int, stream: int = 0, tile: int = 0) -> None:
        """Normals (instances x units, vectors, columns) for vectors from `first` on, each instance's its own, for READ or
        LASTING noise, by input slice and row tile."""
        units = normal.shape[0] // len(self.seeds)
        for instance, seed in enumerate(self.seeds):
            normals = CountedNormals(_key(seed, self.layer, what, self.write), normal.shape[2], stream, tile)
            normals.fill(normal[instance * units : (instance + 1) * units], first)


@lru_cache(4096)
def _key(*parts: int) -> int:
    """`key_of`, which takes as long as some hundred normals."""
    return key_of(*parts)
