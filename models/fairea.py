"""The scoring network of fair assignment: how well a candidate fits a position, from the features of both.

Two towers and a head, as in person-job fit (C. Zhu et al., "Person-Job Fit", ACM Trans. Manag. Inf. Syst. 9(3), 2018,
in outline: that paper's towers read text, ours read numbers; sizes are our own). A product of the towers' outputs, the
usual bilinear head, is no operation of crossbars, which hold one factor as conductances; so the head is a small
multilayer perceptron over both outputs side by side.
"""

import torch
from torch import Tensor, nn


class PairScorer(nn.Module):
    """Candidate features (n, candidate_features) and position features (n, position_features) to logits (n, 1)."""

    def __init__(
        self, candidate_features: int, position_features: int, tower: int = 32, hidden: tuple[int, int] = (64, 32)
    ):
        super().__init__()
        self.candidate = nn.Linear(candidate_features, tower)
        self.position = nn.Linear(position_features, tower)
        self.first = nn.Linear(2 * tower, hidden[0])
        self.second = nn.Linear(hidden[0], hidden[1])
        self.score = nn.Linear(hidden[1], 1)

    def forward(self, candidates: Tensor, positions: Tensor) -> Tensor:
        """Logits (n, 1) of pairs, row by row."""
        towers = torch.cat([torch.relu(self.candidate(candidates)), torch.relu(self.position(positions))], 1)
        return self.score(torch.relu(self.second(torch.relu(self.first(towers)))))
