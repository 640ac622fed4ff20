"""Samples of a cell technology for its page: writes by level, drift over years, read noise."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xbar.hw.cells.device import Device
from xbar.hw.chip.files import DeviceFile
from xbar.reports.devices import MOST_LEVELS, DeviceSheet
from xbar.reports.programming_error import write_error
from xbar.reports.times import TIMES

CELLS = 20_000  # a level
DRIFT_TARGETS = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the range


def device_sheet(file: DeviceFile, cells: int = CELLS, seed: int = 0) -> DeviceSheet:
    """What the device's page shows, from `cells` samples a level; the same seed gives the same sheet."""
    device, generator = file.device, torch.Generator().manual_seed(seed)
    levels = torch.linspace(0, device.levels - 1, min(device.levels, MOST_LEVELS)).round().long()
    targets = device.conductance(levels.double(), device.bits)
    written = device.program(targets.unsqueeze(1).expand(-1, cells).contiguous(), generator)
    fine = torch.linspace(device.g_min, device.g_max, 201, dtype=torch.float64)
    table = device.programming_table or ()
    return DeviceSheet(
        name=file.name, title=file.title, description=file.description, facts=_facts(device), levels=device.levels,
        written=pd.DataFrame({
            "target_S": targets.repeat_interleave(cells).numpy(), "conductance_S": written.conductance.flatten().numpy(),
        }),
        law=pd.DataFrame({"target_S": fine.numpy(), "sigma_S": device.write_sigma(fine).numpy()}),
        table=pd.DataFrame(list(table), columns=["target_S", "sigma_S"]),
        drift=_drift(device, cells, generator), noise=_noise(device, fine), drifts=device.drifts,
        sources=tuple(f"{source.cite} — {source.read}" for source in file.source.values()),
    )  # fmt: skip


def device_table(files: Sequence[DeviceFile]) -> pd.DataFrame:
    """One row a device: range, levels, spread of a write at mid range, what a year takes of it, read noise there."""
    rows = {}
    for file in files:
        device = file.device
        middle = torch.tensor([(device.g_min + device.g_max) / 2], dtype=torch.float64)
        held = "not given"
        if device.drifts and device.reference_time:
            elapsed = 1 + TIMES["1 year"] / device.reference_time
            held = f"{100 * elapsed ** -device.drift_law(middle)[0].item():.1f} %"
        rows[file.name] = {
            "range µS": f"{device.g_min * 1e6:g} to {device.g_max * 1e6:g}", "levels": device.levels,
            "write σ µS": f"{device.write_sigma(middle).item() * 1e6:.3f}", "after a year": held,
            "read σ µS": f"{device.read_variance(middle, middle, TIMES['1 s']).sqrt().item() * 1e6:.3f}",
            "technology": file.title,
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("preset")


def _drift(device: Device, cells: int, generator: torch.Generator) -> pd.DataFrame:
    """Mean and spread over cells of some targets, from 1 s to 10 years after programming."""
    share = torch.tensor(DRIFT_TARGETS, dtype=torch.float64)
    targets = device.g_min + share * (device.g_max - device.g_min)
    written = device.program(targets.unsqueeze(1).expand(-1, cells).contiguous(), generator)
    rows = []
    for time in np.geomspace(1.0, TIMES["10 years"], 49):
        held = device.conductance_at(written, float(time), generator)
        for target, mean, sigma in zip(targets.tolist(), held.mean(1).tolist(), held.std(1).tolist(), strict=True):
            rows.append((target, time, mean, sigma))
    return pd.DataFrame(rows, columns=["target_S", "time_s", "mean_S", "sigma_S"])


def _noise(device: Device, conductance: Tensor) -> pd.DataFrame:
    """Sigma of one read of cells that hold `conductance` [S], at several times where time matters."""
    names = ["1 s", "1 h", "1 day", "1 year"] if device.read_noise_model == "flicker" else ["1 s"]
    parts = [
        pd.DataFrame({
            "time_s": TIMES[name], "conductance_S": conductance.numpy(),
            "sigma_S": device.read_variance(conductance, conductance, TIMES[name]).sqrt().numpy(),
        })
        for name in names
    ]  # fmt: skip
    shown = pd.concat(parts)
    return shown if device.has_read_noise else shown.iloc[:0]


def _facts(device: Device) -> str:
    """Range, levels and what the file has, in one line."""
    low, high = device.g_min * 1e6, device.g_max * 1e6
    parts = [f"{low:g} to {high:g} µS", f"{device.levels} levels", f"write error: {write_error(device.programming_model)}"]
    if device.write_verify_tolerance is not None:
        parts.append(f"write-verify to {100 * device.write_verify_tolerance:g} % of the range")
    if device.device_to_device_sigma:
        parts.append(f"device to device {100 * device.device_to_device_sigma:g} %")
    if device.stuck_on_rate or device.stuck_off_rate:
        parts.append(f"stuck {100 * (device.stuck_on_rate + device.stuck_off_rate):g} %")
    if device.has_telegraph_noise:
        parts.append(f"telegraph noise in {100 * device.telegraph_share:g} %")
    return "  ·  ".join(parts)
