"""The torch module that stands for a whole network on a chip: what the crossbars compute."""

from xbar.hw.analog.convert import convert, memory_needed
from xbar.hw.analog.layers import AnalogEmbedding, AnalogLayer
from xbar.hw.analog.operate import (
    LayerQuality,
    analog_layers,
    compensate_drift,
    copy_weights,
    fit_columns,
    keep_steps,
    layer_quality,
    program,
    read_energies,
    recalibrate,
    saturated_shares,
    set_time,
    write_pulses,
)

__all__ = [
    "AnalogEmbedding",
    "AnalogLayer",
    "LayerQuality",
    "analog_layers",
    "compensate_drift",
    "convert",
    "copy_weights",
    "fit_columns",
    "keep_steps",
    "layer_quality",
    "memory_needed",
    "program",
    "read_energies",
    "recalibrate",
    "saturated_shares",
    "set_time",
    "write_pulses",
]
