"""A network of one's own on a chip: what it computes there, how long it takes, what it costs."""

import torch
from torch import nn

from xbar import Arrivals, convert, load_chip, place, simulate, trace

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
)
images = torch.rand(32, 3, 16, 16)
chip = load_chip("isaac", {"device.programming_sigma": "5"})  # per cent, the unit of the file

on_chip = convert(model, chip, images, seed=0)  # same call signature
with torch.no_grad():
    print("largest error of a score:", (on_chip(images) - model(images)).abs().max().item())

placement = place(trace(model, images), chip)
ledger = simulate(placement, Arrivals.poisson(per_second=3e5, requests=200, seed=0))
print(ledger.layers()[["copies", "crossbars", "energy_J", "utilisation"]])
print({name: value for name, value in ledger.summary().items() if name.startswith(("latency", "energy", "peak"))})
