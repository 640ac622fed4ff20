"""A teacher's scores for training images, computed once for fixed views of them and kept.

Knowledge distillation: besides its labels a network learns the softened scores of a larger one (G. Hinton, O. Vinyals and
J. Dean, Distilling the knowledge in a neural network, arXiv 1503.02531, 2015; not opened). The teacher's forward pass is the
dearest part of such training; so there are only so many views, each a fixed draw of shifts, mirroring and cutout for every
image, gone through in turn epoch by epoch, and both networks see an image as its view has it.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xbar.workloads.augment import Draws, augmented, draw

AT_ONCE = 500  # images that the teacher is given together


class Teacher:
    """Scores of `model` for views of training images.

    folder: where scores are kept, a file `teacher-<hash>-<view>.npy` each, float16 (n, classes), read where they are by memory map;
    None keeps them in memory. The hash is of teacher, images and how views are drawn. `model` is used in evaluation mode and left
    alone; it computes in bfloat16 where asked.
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
        self._kept: dict[int, np.ndarray] = {}

    def draws(self, epoch: int) -> Draws:
        """What is decided for every image in the view of that epoch."""
        if self.inputs.dim() != 4:
            return Draws()
        generator = torch.Generator().manual_seed(7919 * (epoch % self.views) + 1)
        return draw(len(self.inputs), *self.inputs.shape[2:], *self.how, generator)

    def scores(self, epoch: int) -> np.ndarray:
        """Scores (n, classes), float16, of all images in the view of that epoch; computed where there are none yet."""
        view = epoch % self.views
        if view not in self._kept:
            path = None if self.folder is None else self.folder / f"teacher-{self.digest}-{view}.npy"
            if path is None or not path.is_file():
                found = self._computed(view)
                if path is not None:
                    _save(found, path)
            self._kept[view] = found if path is None else np.load(path, mmap_mode="r")
        return self._kept[view]

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
