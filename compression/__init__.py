"""Passes over a torch model, each with the hardware constraint it serves.

Prune towards sets that the crossbars are cut by (`Admm`, or magnitude pruning), keep masks, `shrink` to a smaller dense
network, fold batch norm (`folded`), `quantise` to the device's levels, retrain with device mismatch, `bake`.
"""

from xbar.compression.admm import Admm, Balanced, FarFromSetsWarning, Rho
from xbar.compression.constraints import (
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
from xbar.compression.errors import CompressionError
from xbar.compression.export import load_integers, save_integers, save_onnx, save_program
from xbar.compression.joint import Joint, Stream, cut_all, streams
from xbar.compression.layered import layered
from xbar.compression.least_squares import reconstruct
from xbar.compression.magnitude import Gradual, OneShot, global_masks, iterative, magnitude_masks, one_shot
from xbar.compression.masks import (
    attach,
    bake,
    baked,
    choose_threshold,
    compression_ratio,
    hold_zeros,
    masks_of,
    nonzero_masks,
    packed_masks,
    purify,
)
from xbar.compression.packing import crossbars_needed, packing, used_arrays, weights_in_cells
from xbar.compression.paths import remove_unused_paths, silence, unused_path_masks
from xbar.compression.quantise import (
    folded,
    hold_levels,
    inject_mismatch,
    learn_input_steps,
    programming_error,
    quantise,
    take_input_ranges,
)
from xbar.compression.shrink import shrink
from xbar.compression.state import rebuild, small_state

__all__ = [
    "Admm",
    "Balanced",
    "Channel",
    "Column",
    "CompressionError",
    "ConstraintSet",
    "CrossbarBlock",
    "CrossbarLines",
    "FarFromSetsWarning",
    "Filter",
    "Gradual",
    "Joint",
    "Levels",
    "OneShot",
    "PruningSet",
    "Rho",
    "Stream",
    "Weights",
    "attach",
    "bake",
    "baked",
    "choose_threshold",
    "compression_ratio",
    "crossbars_needed",
    "cut_all",
    "folded",
    "global_masks",
    "hold_levels",
    "hold_zeros",
    "inject_mismatch",
    "iterative",
    "layered",
    "learn_input_steps",
    "load_integers",
    "magnitude_masks",
    "masks_of",
    "nonzero_masks",
    "one_shot",
    "packed_masks",
    "packing",
    "programming_error",
    "purify",
    "quantise",
    "rebuild",
    "reconstruct",
    "remove_unused_paths",
    "save_integers",
    "save_onnx",
    "save_program",
    "shrink",
    "silence",
    "small_state",
    "streams",
    "take_input_ranges",
    "unused_path_masks",
    "used_arrays",
    "weights_in_cells",
]
