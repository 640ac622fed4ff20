"""A teacher's scores for training images, computed once for fixed views of them, and kept.

Knowledge distillation: besides its labels a network learns the softened scores of a larger one (G. Hinton, O. Vinyals and
J. Dean, Distilling the knowledge in a neural network, arXiv 1503.02531, 2015; not opened). The teacher's forward pass is the
dearest part of such training; so it sees only so many views, each a fixed draw of shifts, mirroring and cutout for every
image, and what is learned is the mean of its scores for them, whatever the network sees of the image: other shifts and squares in every
epoch. (A network that saw the teacher's own views, in turn, with the scores of each, learnt these views: a small VGG-16 on 12,800 images
of CIFAR-10, 32 epochs, 8 views, one seed, 80.7 % of 5,000 validation images where the mean gives 81.3 %.)
"""

import hashlib
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xbar.workloads.augment import Draws, augmented, draw

AT_ONCE = 500  # images that the teacher is given together


class Teacher:
    """Scores of `model` for training images, the mean over `views` of them.

    folder: where scores are kept, a file `teacher-<hash>-<view>.npy` for each view, float16 (n, classes); None keeps none. The hash is of
    teacher, images and how views are drawn. `model` is used in evaluation mode and left alone; it computes in bfloat16 where asked.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, views: int, shift: int, flip: bool, cutout: int, bfloat16: bool = False,
        folder: Path | None = None,
    ):  # fmt: skip
        self.model, self.inputs, self.views, self.bfloat16, self.folder = model, inputs, views, bfloat16, folder
        self.how = shift, flip, cutout
        hashed = hashlib.sha256(repr((self.how, bfloat16, tuple(inputs.shape))).encode())
        hashed.update(inputs.numpy().tobytes())
        for name, value in model.state_dict().items():
            hashed.update(name.encode() + value.cpu().numpy().tobytes())
        self.digest = hashed.hexdigest()[:16]

    @cached_property
    def scores(self) -> Tensor:
        """Scores (n, classes) float32 of all images, the mean over views; of each view computed where there are none yet."""
        total = torch.zeros(())
        views = self.views if self.inputs.dim() == 4 else 1  # others are not drawn
        for view in range(views):
            path = None if self.folder is None else self.folder / f"teacher-{self.digest}-{view}.npy"
            if path is not None and path.is_file():
                found = np.load(path)
            else:
                found = self._computed(view)
                if path is not None:
                    _save(found, path)
            total = total + torch.from_numpy(found).float()
        return total / views

    def draws(self, view: int) -> Draws:
        """What is decided for every image in a view."""
        if self.inputs.dim() != 4:
            return Draws()
        generator = torch.Generator().manual_seed(7919 * view + 1)
        return draw(len(self.inputs), *self.inputs.shape[2:], *self.how, generator)

    @torch.no_grad()
    def _computed(self, view: int) -> np.ndarray:
        draws, found = self.draws(view), []
        shift, _, cutout = self.how
        device, training = next(self.model.parameters()).device, self.model.training
        self.model.eval()
        for rows in torch.arange(len(self.inputs)).split(AT_ONCE):
            images = self.inputs[rows]
            images = augmented(images, draws.of(rows), shift, cutout) if images.dim() == 4 else images
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
                found.append(self.model(images.to(device)).float().half().cpu())
        self.model.train(training)
        return torch.cat(found).numpy()


def _save(found: np.ndarray, path: Path) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.save(file, found)
    os.replace(part, path)


def distillation(scores: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """temperature² times the mean Kullback-Leibler divergence of the softened scores (n, classes) from the teacher's: the factor
    keeps gradients as large as those of the labels (Hinton et al., section 2)."""
    soft = functional.log_softmax(scores / temperature, 1)
    target = functional.log_softmax(taught / temperature, 1)
    return temperature**2 * functional.kl_div(soft, target, reduction="batchmean", log_target=True)
