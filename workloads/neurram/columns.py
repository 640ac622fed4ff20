"""Columns of single row segments on the simulated chip, as the chip's were measured: gain, offset and what a fit leaves."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.fitting import level_units
from xbar.workloads.data import DataError


@dataclass(frozen=True)
class Columns:
    """Fitted columns of a row segment of several chip instances.

    gain: ADC counts a unit of the ideal output, residual: standard deviation about the line in units of the ideal output, both
    (instances, columns); load: summed target conductance of each column [S] (columns,).
    """

    gain: np.ndarray
    residual: np.ndarray
    load: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Gain times the column's load, the same of all columns by the voltage law (instances, columns) [counts S a unit]."""
        return self.gain * self.load

    def summary(self) -> pd.DataFrame:
        """One row an instance: mean and spread of the residuals; spread of the gains, their standard deviation over their mean after the
        load is taken out [1]; correlation of gains with 1/load; mean of gain times load; correlation of residuals with the load."""
        pairs = zip(self.gain, self.residual, self.constant, strict=True)
        return pd.DataFrame([
            {
                "residual": residual.mean(), "residual_sd": residual.std(ddof=1), "gain_spread": constant.std() / constant.mean(),
                "gain_correlation": np.corrcoef(gain, 1 / self.load)[0, 1], "constant": constant.mean(),
                "residual_load_correlation": np.corrcoef(residual, self.load)[0, 1],
            }
            for gain, residual, constant in pairs
        ])  # fmt: skip


def measure(
    matrix: CrossbarMatrix, unit: float, segment: int, codes: np.ndarray, seeds: tuple[int, ...], columns: int | None = None
) -> Columns:
    """Fit the columns of a row segment of a layer to input codes (vectors, inputs of the segment), on chip instances `seeds`.

    unit: the input value of code 1. Only the segment is driven; the bias rows are, as always.
    """
    g = matrix.geometry
    own = g.inputs_of(segment) - g.bias_rows
    if codes.ndim != 2 or len(codes) < 2 or codes.shape[1] != own:
        raise DataError(f"input codes of segment {segment} must be (2 vectors or more, {own} inputs), got {codes.shape}")
    inputs = torch.zeros(len(codes), matrix.weight.shape[-1], dtype=torch.float64)
    first = segment * (g.inputs_per_crossbar - g.bias_rows)
    inputs[:, first : first + own] = torch.as_tensor(codes, dtype=torch.float64)
    matrix.program(seeds)
    shown: Tensor = inputs.expand(len(seeds), 1, *inputs.shape) if len(seeds) > 1 else inputs.unsqueeze(0)
    slope, _, residual = (each[:, segment] for each in matrix.fit_columns([shown]).line)
    level = level_units(matrix.mapped, matrix.channel)[0, segment] * unit  # units of the ideal output
    counts = slope / matrix.channel.adc.step[0] / level
    load = matrix.array.target()[0, segment, : g.inputs_of(segment)].sum(0).view(-1, 2).sum(1)
    kept = slice(columns)
    return Columns(counts.numpy()[:, kept], (residual * level).numpy()[:, kept], load.numpy()[kept])
