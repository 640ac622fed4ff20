#!/usr/bin/env python3
"""Train VGG-16 or ResNet-18 on CIFAR-10 to its end: the uncompressed networks that compression is judged against.

    python results/baselines/train.py vgg16 --data path/to/cifar-10-batches-bin

Needs torch and numpy alone and imports nothing of the project, so that no change of it breaks a checkpoint. The last 5,000
training images are never trained on: validation, for every baseline and every compressed network alike. Training goes on
where it stopped, at most a minute back, from the checkpoint in --keep (by default the user's cache). What it leaves
there: NAME.pt, a plain state dict of the averaged weights, and NAME.csv, a row an epoch; after each epoch NAME.begun, a sixth
of the checkpoint's size, to go on from on another computer (--begun): weights in bfloat16, without the momentum and the average,
which begin anew there. Test images are looked at once, at the end.

The recipe: SGD with Nesterov momentum under a one-cycle rate, label smoothing, shifts, mirroring, cutout (T. DeVries and
G. Taylor, arXiv 1708.04552), the first half of the epochs at 24 pixels, an exponential average of the weights; bfloat16
and channels_last where the processor computes in it.
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as the project's loader normalises
TRAIN_IMAGES = 45_000  # of 50,000; the rest is validation
BATCH, RATE, WARM, MOMENTUM, DECAY = 128, 0.1, 0.2, 0.9, 5e-4
SMOOTHING, SHIFT, HOLE, SMALL = 0.1, 4, 8, 24  # label smoothing; pixels of shifts, of the cut-out square, of small images
AVERAGED = 0.998  # of the averaged weights kept at each step
KEEP_SECONDS = 60.0
FEW = 16  # positions of an image up to which a convolution is computed as one matrix product
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Convolution(nn.Conv2d):
    """3 x 3, padded by 1. Of images of few positions as one matrix product: on processors a step of VGG-16 takes 0.6 of the time."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__(channels, width, 3, stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        if height * width > FEW or self.stride != (1, 1) or x.is_cuda:
            return super().forward(x)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        taps = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        rows = torch.cat(taps, -1).view(n * height * width, 9 * channels)
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, 9 * channels)
        return F.linear(rows, weight).view(n, height, width, -1).permute(0, 3, 1, 2)


class VGG16(nn.Module):
    """The project's VGG-16 by its names; pools round up, so that images of 24 pixels last to the end."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in STAGES:
            for width in stage:
                layers += [Convolution(channels, width), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class Block(nn.Module):
    """A basic block of the project's ResNet-18 by its names."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        stride = 2 if width != channels else 1
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
        self.conv1, self.bn1 = Convolution(channels, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = Convolution(width, width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


class ResNet18(nn.Module):
    """The project's ResNet-18 by its names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = Convolution(3, 64), nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        for i in range(4):
            stage = nn.Sequential(Block(widths[i], widths[i + 1]), Block(widths[i + 1], widths[i + 1]))
            self.add_module(f"layer{i + 1}", stage)
        self.linear = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.linear(x.mean((2, 3)))


NETWORKS: dict[str, type[nn.Module]] = {"vgg16": VGG16, "resnet18": ResNet18}


def read(folder: Path, names: list[str]) -> tuple[Tensor, Tensor]:
    """Pixels (n, 3, 32, 32) and labels (n,), bytes, of files of the binary version."""
    records = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(-1, 3073) for name in names])
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(records[:, 0].astype(np.int64))


def normalised(pixels: Tensor) -> Tensor:
    """Images around 0 from bytes."""
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def augmented(images: Tensor, generator: torch.Generator, size: int) -> Tensor:
    """Each image shifted, mirrored by chance, a square of it set to the mean, and made `size` pixels wide."""
    n, _, height, width = images.shape
    down, right, top, left = (torch.randint(0, m, (n,), generator=generator) for m in (2 * SHIFT + 1, 2 * SHIFT + 1, height, width))
    mirrored = torch.rand(n, generator=generator) < 0.5
    down, right, top, left, mirrored = (each.to(images.device) for each in (down, right, top, left, mirrored))
    rows = torch.arange(height, device=images.device) + down[:, None]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(mirrored[:, None], columns.flip(0), columns) + right[:, None]
    padded = F.pad(images, (SHIFT,) * 4)
    every = torch.arange(n, device=images.device)[:, None, None]
    images = padded.permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    across = (torch.arange(width, device=images.device) - left[:, None]).abs() <= HOLE // 2
    along = (torch.arange(height, device=images.device) - top[:, None]).abs() <= HOLE // 2
    images = images.masked_fill((along[:, :, None] & across[:, None, :])[:, None], 0.0)
    return images if size == height else F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def accuracy(model: nn.Module, pixels: Tensor, labels: Tensor, device: torch.device) -> float:
    """Share of images whose largest score is their label's."""
    model.eval()
    with torch.no_grad():
        hits = sum(
            int((model(normalised(x.to(device))).argmax(1).cpu() == y).sum())
            for x, y in zip(pixels.split(500), labels.split(500), strict=True)
        )
    return hits / len(labels)


def save(state: object, path: Path) -> None:
    """Written whole or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    os.replace(part, path)


def kept_in() -> Path:
    """The user's cache, as the project finds it: XBAR_CACHE, XDG_CACHE_HOME/xbar, or ~/.cache/xbar."""
    given = os.environ.get("XBAR_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xbar"


def main() -> None:
    """Train, and say how it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10's binary version")
    parser.add_argument("--epochs", type=int, default=54)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=kept_in() / "baselines", help="folder of checkpoint and results")
    parser.add_argument("--begun", type=Path, help="NAME.begun to go on from where --keep has no checkpoint")
    parser.add_argument("--precision", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    half = given.precision == "bfloat16" or (given.precision == "auto" and fast)
    pixels, labels = read(given.data, [f"data_batch_{i}.bin" for i in range(1, 6)])
    test = read(given.data, ["test_batch.bin"])
    seen, validation = pixels[:TRAIN_IMAGES], (pixels[TRAIN_IMAGES:], labels[TRAIN_IMAGES:])
    given.keep.mkdir(parents=True, exist_ok=True)
    title = given.network if given.seed == 0 else f"{given.network}-seed{given.seed}"
    paths = {ending: given.keep / f"{title}.{ending}" for ending in ("pt", "csv", "json", "checkpoint", "begun")}

    torch.manual_seed(given.seed)
    model = NETWORKS[given.network]().to(device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED), use_buffers=True
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True, fused=True)
    batches = TRAIN_IMAGES // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=given.epochs * batches, pct_start=WARM)
    identity = {"network": given.network, "epochs": given.epochs, "seed": given.seed, "images": TRAIN_IMAGES}
    done, rows, spent, total = 0, [], 0.0, 0.0
    source = paths["checkpoint"] if paths["checkpoint"].is_file() else given.begun
    if source is not None:
        state = torch.load(source, weights_only=True, map_location=device)
        if state["identity"] != identity:
            raise SystemExit(f"{source}: is of {state['identity']}, asked is {identity}; leave it out to begin anew")
        done, rows, spent, total = state["done"], state["rows"], state["spent"], state["total"]
        for name, part in (("model", model), ("average", average), ("optimiser", optimiser), ("schedule", schedule)):
            if name in state:
                part.load_state_dict(state[name])
        if "average" not in state:
            average.module.load_state_dict(model.state_dict())
        print(f"going on at epoch {done // batches + 1} of {given.epochs}, batch {done % batches + 1}", flush=True)
    print(f"{title}: {given.epochs} epochs on {device.type}, {'bfloat16' if half else 'float32'}", flush=True)

    def keep() -> None:
        state = {"identity": identity, "done": done, "rows": rows, "spent": spent, "total": total}
        if done % batches == 0:
            short = {name: value.bfloat16() if value.is_floating_point() else value for name, value in model.state_dict().items()}
            rates = {"state": {}, "param_groups": optimiser.state_dict()["param_groups"]}
            save(state | {"model": short, "optimiser": rates, "schedule": schedule.state_dict()}, paths["begun"])
        parts = {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule}
        save(state | {name: part.state_dict() for name, part in parts.items()}, paths["checkpoint"])

    began = kept = time.monotonic()
    processor = time.process_time()
    first = done
    while done < given.epochs * batches:
        epoch, batch = divmod(done, batches)
        if batch == 0:
            total = 0.0
        order = torch.randperm(TRAIN_IMAGES, generator=torch.Generator().manual_seed(1000 * given.seed + epoch))
        generator = torch.Generator().manual_seed(10**6 * (given.seed + 1) + done)
        chosen = order[batch * BATCH : (batch + 1) * BATCH]
        size = SMALL if epoch < given.epochs // 2 else 32
        model.train()
        images = augmented(normalised(seen[chosen].to(device)), generator, size).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            scores = model(images)
        loss = F.cross_entropy(scores.float(), labels[chosen].to(device), label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
        total += float(loss.detach())
        done += 1
        if done % batches == 0:
            row = {"epoch": epoch + 1, "size": size, "loss": total / batches,
                   "validation": accuracy(average.module, *validation, device)}  # fmt: skip
            spent += time.process_time() - processor
            processor = time.process_time()
            rows.append(row | {"processor_minutes": spent / 60})
            left = (time.monotonic() - began) / (done - first) * (given.epochs * batches - done)
            print(f"epoch {epoch + 1} of {given.epochs}: {size} px, loss {row['loss']:.4f}, validation "
                  f"{row['validation']:.2%}, {spent / 60:.0f} processor minutes, about {left / 60:.0f} min left", flush=True)  # fmt: skip
        if done % batches == 0 or time.monotonic() - kept > KEEP_SECONDS:
            kept = time.monotonic()
            spent += time.process_time() - processor
            processor = time.process_time()
            keep()
    save({name: value.contiguous().cpu() for name, value in average.module.state_dict().items()}, paths["pt"])
    with paths["csv"].open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    found = {"test": accuracy(average.module, *test, device), "validation": rows[-1]["validation"],
             "epochs": given.epochs, "processor_minutes": spent / 60, "precision": "bfloat16" if half else "float32"}  # fmt: skip
    paths["json"].write_text(json.dumps(found, indent=1) + "\n")
    print(f"{title}: {found}; weights in {paths['pt']}")


if __name__ == "__main__":
    main()
