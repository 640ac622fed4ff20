"""Options of a training: each does what it says, and what stays at its default changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xbar.compression.layered import layered
from xbar.models import DigitsCNN, ResNet20
from xbar.workloads import training
from xbar.workloads.augment import augmented, draw, resized
from xbar.workloads.data import Dataset, first_samples, load_digits
from xbar.workloads.small_images import SmallImages
from xbar.workloads.teacher import Teacher, distillation
from xbar.workloads.training import Recipe, TrainingError, initialise, train_network

ALL = Recipe(3, 64, 5e-3, shift=1, smoothing=0.1, cutout=2, average=0.9, distil=0.5, views=2, schedule="constant", products=True)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return first_samples(load_digits(), 256)


def trained(data: Dataset, recipe: Recipe, checkpoint: Path | None = None, teacher: nn.Module | None = None) -> list[Tensor]:
    model = initialise(DigitsCNN, 0)
    train_network(model, data, recipe, 0, checkpoint, teacher=teacher)
    return list(model.state_dict().values())


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_options_at_their_defaults_are_told_nowhere() -> None:
    """Names of files that were trained before depend on the text of a recipe."""
    plain = Recipe(epochs=3, batch=64, learning_rate=0.01)
    assert repr(plain) == "Recipe(epochs=3, batch=64, learning_rate=0.01, weight_decay=0.01, shift=0, flip=False, bfloat16=False)"
    assert repr(replace(plain, cutout=8)).endswith("bfloat16=False, cutout=8)")
    assert "smoothing" not in plain.settings()


def test_all_options_together_resume_to_the_same_bits(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = initialise(DigitsCNN, 1).eval()
    whole = trained(digits, ALL, teacher=teacher)
    epoch, ran = training._epoch, []

    def interrupted(*arguments: object) -> float:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(1)
        return epoch(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(training, "_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(digits, ALL, tmp_path / "some.checkpoint", teacher)
    assert same(whole, trained(digits, ALL, tmp_path / "some.checkpoint", teacher))
    assert len(list(tmp_path.glob("teacher-*.npy"))) == 2
    with pytest.raises(TrainingError, match="teacher's mean is "):
        trained(digits, ALL, tmp_path / "some.checkpoint", initialise(DigitsCNN, 2))


def test_a_checkpoint_with_more_options_is_of_another_training(digits: Dataset, tmp_path: Path) -> None:
    """What stays at its default is in no identity, so that what is missing here must tell too."""
    data, plain = first_samples(digits, 64), Recipe(1, 64, 5e-3)
    trained(data, replace(plain, smoothing=0.3, average=0.9), tmp_path / "more.checkpoint")
    with pytest.raises(TrainingError, match=r"recipe.smoothing is 0.3 there, not set here; recipe.average is 0.9 there, not set here"):
        trained(data, plain, tmp_path / "more.checkpoint")
    trained(data, replace(plain, distil=0.5), tmp_path / "taught.checkpoint", initialise(DigitsCNN, 1))
    with pytest.raises(TrainingError, match=r"teacher's mean is \w+ there, not set here"):
        trained(data, plain, tmp_path / "taught.checkpoint")


@pytest.mark.parametrize("option", [{"smoothing": 0.2}, {"cutout": 3}, {"average": 0.5}, {"schedule": "constant"}])
def test_each_option_is_heeded(digits: Dataset, option: dict[str, object]) -> None:
    plain = Recipe(1, 64, 5e-3)
    assert not same(trained(digits, plain), trained(digits, replace(plain, **option)))  # type: ignore[arg-type]


def test_cutout_is_a_square_of_zeros_that_borders_cut() -> None:
    """Of 5 pixels: all 25, or fewer where the centre lies at a border, never fewer than 9 in a corner."""
    images = torch.ones(500, 2, 9, 9)
    found = augmented(images, draw(500, 9, 9, 0, False, 5, torch.Generator().manual_seed(0)), cutout=5)
    gone = (found[:, 0] == 0).sum((1, 2))
    assert torch.equal(found[:, 0], found[:, 1])
    assert set(gone.tolist()) == {a * b for a in (3, 4, 5) for b in (3, 4, 5)}


def test_an_image_looks_alike_alone_and_among_others() -> None:
    images = torch.rand(10, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    draws = draw(10, 6, 6, 2, True, 2, torch.Generator().manual_seed(1))
    rows = torch.tensor([7, 2])
    assert torch.equal(augmented(images, draws, 2, 2)[rows], augmented(images[rows], draws.of(rows), 2, 2))


def test_the_average_of_weights_is_what_training_ends_in(digits: Dataset) -> None:
    """Kept share 0.5 over two steps: the first step's weights begin it."""
    data, seen = first_samples(digits, 128), []

    class Watched(DigitsCNN):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.fc.bias.detach().clone())
            return super().forward(x)

    plain = initialise(DigitsCNN, 0)
    train_network(plain, data, Recipe(1, 64, 5e-3), 0)
    model = initialise(Watched, 0)
    train_network(model, data, Recipe(1, 64, 5e-3, average=0.5), 0)
    first, last = seen[1], plain.fc.bias
    assert torch.allclose(model.fc.bias, (first + last) / 2, atol=1e-7)


# ---- a teacher


def test_a_teacher_is_asked_once_for_each_view(digits: Dataset, tmp_path: Path) -> None:
    asked = []

    class Asked(DigitsCNN):
        def forward(self, x: Tensor) -> Tensor:
            asked.append(len(x))
            return super().forward(x)

    teacher = initialise(Asked, 1)
    first = trained(digits, ALL, tmp_path / "a.checkpoint", teacher)
    assert sum(asked) == 2 * 256
    (tmp_path / "a.checkpoint").unlink()
    assert same(first, trained(digits, ALL, tmp_path / "a.checkpoint", teacher))
    assert sum(asked) == 2 * 256
    assert teacher.training


def test_a_teacher_s_scores_are_the_mean_over_its_views(digits: Dataset, tmp_path: Path) -> None:
    model = initialise(DigitsCNN, 1).eval()
    teacher = Teacher(model, digits.train_inputs, 2, 1, False, 3, folder=tmp_path)
    with torch.no_grad():
        each = [model(augmented(digits.train_inputs, teacher.draws(view), 1, 3)) for view in (0, 1)]
    assert not torch.allclose(*each, atol=2e-3)
    assert torch.allclose(teacher.scores, (each[0] + each[1]) / 2, atol=2e-3)
    rows, flat = digits.train_inputs[:, 0], initialise(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 0)
    with torch.no_grad():
        assert torch.allclose(Teacher(flat, rows, 2, 1, False, 3, folder=tmp_path / "rows").scores, flat(rows), atol=2e-3)
    assert len(list((tmp_path / "rows").iterdir())) == 1  # what is not drawn has one view


def test_a_taught_network_sees_what_an_untaught_one_sees(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images are drawn anew in every epoch, whatever views the teacher saw."""
    seen: list[Tensor] = []
    drawn = training.augmented
    monkeypatch.setattr(training, "augmented", lambda images, *how: seen.append(drawn(images, *how)) or seen[-1])
    data, recipe = first_samples(digits, 64), Recipe(2, 64, 5e-3, shift=1, cutout=2)
    trained(data, recipe)
    trained(data, replace(recipe, distil=0.5, views=1), teacher=initialise(DigitsCNN, 1))
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0].sum(0), seen[1].sum(0))


def test_distillation_is_hintons() -> None:
    """Gradient (softmax(z / T) - softmax(v / T)) T, whose size at high T does not depend on it (section 2.1)."""
    scores, taught = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True), torch.tensor([[0.0, 1.0, 3.0]])
    assert float(distillation(taught, taught, 3.0)) == pytest.approx(0.0, abs=1e-6)
    distillation(scores, taught, 3.0).backward()
    expected = 3.0 * (functional.softmax(scores / 3, 1) - functional.softmax(taught / 3, 1))
    assert scores.grad is not None
    assert torch.allclose(scores.grad, expected, atol=1e-6)


# ---- small images, and few positions


@pytest.mark.parametrize(("shape", "layer"), [
    ((3, 8, 4, 4), nn.Conv2d(8, 6, 3, padding=1, bias=False)), ((3, 8, 2, 2), nn.Conv2d(8, 6, 3, padding=1)),
    ((2, 4, 7, 4), nn.Conv2d(4, 3, (3, 2), stride=(2, 1), padding=(0, 1))), ((2, 4, 4, 4), nn.Conv2d(4, 3, 4)),
])  # fmt: skip
def test_a_convolution_as_one_product_is_the_convolution(shape: tuple[int, ...], layer: nn.Conv2d) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    plain = layer(x)
    with SmallImages(products=True, pools=False):
        found = layer(x)
    assert "Conv" in type(plain.grad_fn).__name__
    assert "Conv" not in type(found.grad_fn).__name__
    assert torch.allclose(found, plain, atol=1e-6)
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), (x, layer.weight)) for y in (plain, found)), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_what_products_are_not_for_stays_a_convolution() -> None:
    x = torch.randn(1, 4, 8, 8)
    for layer, given in ((nn.Conv2d(4, 4, 3, padding=1), x), (nn.Conv2d(4, 4, 3, groups=2), x[..., :4, :4]),
                         (nn.Conv2d(4, 4, 1), x[..., :4, :4]), (nn.Conv2d(4, 4, 3, dilation=2), x)):  # fmt: skip
        with SmallImages(products=True, pools=True):
            assert "Conv" in type(layer(given).grad_fn).__name__


def test_pools_take_smaller_images_and_are_as_they_were_at_full_size() -> None:
    x = torch.randn(2, 3, 8, 8)
    for pool in (nn.MaxPool2d(2), nn.AvgPool2d(8)):
        with SmallImages(products=False, pools=True):
            whole, small = pool(x), pool(x[..., :5, :5])
        assert torch.equal(whole, pool(x))
        assert small.shape[2:] == ((3, 3) if isinstance(pool, nn.MaxPool2d) else (1, 1))


@pytest.mark.parametrize(("pool", "size"), [(nn.MaxPool2d(2), 3), (nn.AvgPool2d(8), 1)])
def test_pools_of_captured_networks_take_smaller_images_too(pool: nn.Module, size: int) -> None:
    """There they are calls of torch's own operators."""
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool).eval()
    captured = layered(plain, x)
    with torch.no_grad(), SmallImages(products=False, pools=True):
        assert torch.equal(captured(x), plain(x))
        assert captured(x[..., :5, :5]).shape[2:] == (size, size)
        assert torch.equal(captured(x[..., :5, :5]), plain(x[..., :5, :5]))


def test_the_first_epochs_see_smaller_images_where_the_network_takes_them(digits: Dataset) -> None:
    sizes = []

    class Seen(ResNet20):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(tuple(x.shape[2:]))
            return super().forward(x)

    x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    train_network(initialise(Seen, 0), Dataset("drawn", x, y, x, y), Recipe(2, 8, 1e-3, small=24), 0)
    assert sizes == [(24, 24), (24, 24), (32, 32)]  # the first is a trial before training
    with pytest.raises(TrainingError, match=r"recipe.small = 4: the network does not take images of so many pixels"):
        trained(digits, Recipe(1, 64, 1e-3, small=4))
    assert resized(x, 32) is x


@pytest.mark.parametrize(("option", "said"), [
    ({"smoothing": 1.0}, "recipe.smoothing must be 0"), ({"average": -0.1}, "recipe.average"), ({"distil": 2.0}, "recipe.distil"),
    ({"schedule": "cosine"}, "recipe.schedule must be of one-cycle, constant, got cosine"), ({"views": 0}, "recipe.views"),
    ({"cutout": -1}, "recipe.cutout"), ({"temperature": float("inf")}, "recipe.temperature must be above 0 and finite, got inf"),
    ({"weight_decay": float("nan")}, "weight_decay must be 0 or more and finite"),
])  # fmt: skip
def test_wrong_options(option: dict[str, object], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        Recipe(1, 1, 0.1, **option)  # type: ignore[arg-type]


def test_what_data_or_teacher_do_not_allow_is_told(digits: Dataset) -> None:
    with pytest.raises(TrainingError, match=r"recipe.distil = 0.5 needs a teacher"):
        trained(digits, replace(ALL, average=0.0))
    with pytest.raises(TrainingError, match=r"recipe.distil = 0 has no use for a teacher"):
        trained(digits, Recipe(1, 64, 1e-3), teacher=initialise(DigitsCNN, 0))
    with pytest.raises(TrainingError, match=r"recipe.small, 9 pixels, must be at most the images' own"):
        trained(digits, Recipe(1, 64, 1e-3, small=9))
    flat = Dataset("flat", torch.rand(8, 4), torch.arange(8) % 2, torch.rand(8, 4), torch.arange(8) % 2)
    with pytest.raises(TrainingError, match=r"recipe.cutout and small change images"):
        train_network(nn.Linear(4, 2), flat, Recipe(1, 4, 1e-3, cutout=2), 0)
