"""Passes over a torch model, each with the hardware constraint it serves.

Prune towards sets that the crossbars are cut by (`Admm`, or magnitude pruning), keep masks, `shrink` to a smaller dense
network, fold batch norm (`folded`), `quantise` to the device's levels, retrain with device mismatch, `bake`.
"""

from compression.admm import Admm, Rho
from compression.constraints import (
    Channel,
    Column,
    ConstraintSet,
    CrossbarBlock,
    CrossbarLines,
    Filter,
    Levels,
    PruningSet,
    Weights,
)
from compression.errors import CompressionError
from compression.magnitude import global_masks, iterative, magnitude_masks, one_shot
from compression.masks import (
    attach,
    bake,
    baked,
    choose_threshold,
    compression_ratio,
    hold_zeros,
    masks_of,
    nonzero_masks,
    purify,
)
from compression.packing import crossbars_needed, packing, used_arrays
from compression.paths import remove_unused_paths, silence, unused_path_masks
from compression.quantise import folded, hold_levels, inject_mismatch, programming_error, quantise
from compression.shrink import rebuild, shrink, small_state

__all__ = [
    "Admm",
    "Channel",
    "Column",
    "CompressionError",
    "ConstraintSet",
    "CrossbarBlock",
    "CrossbarLines",
    "Filter",
    "Levels",
    "PruningSet",
    "Rho",
    "Weights",
    "attach",
    "bake",
    "baked",
    "choose_threshold",
    "compression_ratio",
    "crossbars_needed",
    "folded",
    "global_masks",
    "hold_levels",
    "hold_zeros",
    "inject_mismatch",
    "iterative",
    "magnitude_masks",
    "masks_of",
    "nonzero_masks",
    "one_shot",
    "packing",
    "programming_error",
    "purify",
    "quantise",
    "rebuild",
    "remove_unused_paths",
    "shrink",
    "silence",
    "small_state",
    "unused_path_masks",
    "used_arrays",
]
