"""A transformer on a chip: digits read row by row, as a sequence of eight vectors. Weights are random: it shows how, not how well."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from xbar import Arrivals, convert, load_chip, place, simulate, trace


class RowTransformer(nn.Module):
    """Rows of an 8 x 8 image, (batch, 8, 8), to scores of ten classes."""

    def __init__(self, width: int = 32, heads: int = 4):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.1 * torch.randn(8, width))
        self.encoder = nn.TransformerEncoderLayer(width, heads, dim_feedforward=64, activation="gelu", batch_first=True)
        self.score = nn.Linear(width, 10)

    def forward(self, rows: Tensor) -> Tensor:
        """Scores (batch, 10)."""
        return self.score(self.encoder(self.embed(rows) + self.position).mean(1))


torch.manual_seed(0)
rows = torch.tensor(load_digits().images[:64] / 16, dtype=torch.float32)
model, chip = RowTransformer().eval(), load_chip("edge")

network = trace(model, rows)
ledger = simulate(place(network, chip), Arrivals.batch(10))
print(ledger.layers()[["copies", "crossbars", "energy_J"]])
summary = ledger.summary()
print(f"energy of a request {summary['energy_per_request_J'] * 1e6:.3g} µJ, latency {ledger.latency[0] * 1e6:.3g} µs")
for where, share in network.operations_shares.items():
    print(f"{where}: {share:.1%}")

on_chip = convert(model, chip, rows, seed=0)
with torch.no_grad():
    wanted, found = model(rows), on_chip(rows)
error, same = (found - wanted).std() / wanted.std(), (found.argmax(1) == wanted.argmax(1)).float().mean()
print(f"scores: error {error:.1%} of their spread, same class for {same:.0%}")
