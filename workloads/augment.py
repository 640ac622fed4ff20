"""Images of a training batch, changed by chance: shifts, mirroring, cutout, a smaller size.

What chance decides is drawn apart from its use (`draw`, `augmented`), one row an image: a teacher's scores belong to fixed draws,
whose rows are looked up again.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Draws:
    """What is decided for each of n images. down, right: pixels moved, from 0 to twice the most, (n,); mirrored: bool (n,); top,
    left: the centre of the square that is cut out, (n,); None where none of it is done."""

    down: Tensor | None = None
    right: Tensor | None = None
    mirrored: Tensor | None = None
    top: Tensor | None = None
    left: Tensor | None = None

    def of(self, rows: Tensor) -> "Draws":
        """Those of some images."""
        return Draws(**{name: None if value is None else value[rows] for name, value in vars(self).items()})


def draw(count: int, height: int, width: int, shift: int, flip: bool, cutout: int, generator: torch.Generator) -> Draws:
    """For `count` images of height x width: shifts of up to `shift` pixels, every other one mirrored, a square of `cutout` pixels."""
    found: dict[str, Tensor] = {}
    if shift:
        found["down"], found["right"] = torch.randint(0, 2 * shift + 1, (2, count), generator=generator)
    if flip:
        found["mirrored"] = torch.rand(count, generator=generator) < 0.5
    if cutout:
        found["top"] = torch.randint(0, height, (count,), generator=generator)
        found["left"] = torch.randint(0, width, (count,), generator=generator)
    return Draws(**found)


def augmented(images: Tensor, draws: Draws, shift: int = 0, cutout: int = 0) -> Tensor:
    """Images (n, channels, height, width) moved, mirrored and cut as drawn; zeros move in, and fill the square.

    Cutout: the square's centre lies anywhere, so that at borders part of it falls outside (T. DeVries and G. Taylor, Improved
    regularization of convolutional neural networks with cutout, arXiv 1708.04552, 2017; not opened).
    """
    n, channels, height, width = images.shape
    if draws.down is not None and draws.right is not None:
        padded = nn.functional.pad(images, (shift,) * 4)
        rows = (torch.arange(height).view(1, 1, -1, 1) + draws.down.view(-1, 1, 1, 1)).expand(-1, channels, -1, padded.shape[3])
        columns = (torch.arange(width).view(1, 1, 1, -1) + draws.right.view(-1, 1, 1, 1)).expand(-1, channels, height, -1)
        images = padded.gather(2, rows).gather(3, columns)
    if draws.mirrored is not None:
        images = torch.where(draws.mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    if draws.top is not None and draws.left is not None:
        along = _within(draws.top, height, cutout).view(n, 1, height, 1)
        across = _within(draws.left, width, cutout).view(n, 1, 1, width)
        images = images.masked_fill(along & across, 0.0)
    return images


def _within(centre: Tensor, length: int, size: int) -> Tensor:
    """bool (n, length): the `size` places around each centre."""
    first = centre.unsqueeze(1) - size // 2
    at = torch.arange(length)
    return (at >= first) & (at < first + size)


def resized(images: Tensor, size: int) -> Tensor:
    """Square images of `size` pixels, smoothed where they get smaller."""
    if images.shape[2:] == (size, size):
        return images
    return nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
