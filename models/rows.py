"""A small recurrent network for 8 x 8 handwritten digits, read row by row."""

from torch import Tensor, nn


class RowLSTM(nn.Module):
    """An LSTM of 64 units (S. Hochreiter and J. Schmidhuber, 1997, with forget gates) that reads an image's eight rows of eight
    pixels from top to bottom, and a linear layer on its last output.

    Input (batch, 1, 8, 8), output (batch, 10) scores; 19,594 weights and biases.
    """

    def __init__(self, units: int = 64) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(8, units, batch_first=True), nn.Linear(units, 10)

    def forward(self, images: Tensor) -> Tensor:
        outputs, _ = self.lstm(images.squeeze(1))  # a row a step: (batch, 8, units)
        scores: Tensor = self.fc(outputs[:, -1])
        return scores
