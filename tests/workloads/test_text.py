"""Text: what ships is what is stated, its parts are apart, training is the same bits again, and references are right."""

import gzip
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xbar.models import CharacterGPT
from xbar.workloads.data import DataError
from xbar.workloads.text import training
from xbar.workloads.text.data import PYDOC, UNKNOWN, VOCABULARY, TextData, decode, encode, load_pydoc, pydoc_text
from xbar.workloads.text.extract import extract
from xbar.workloads.text.references import compressed_bits, ngram_bits
from xbar.workloads.text.training import TextRecipe, bits_per_character, train_language_model
from xbar.workloads.training import TrainingError, initialise
from xbar.workloads.workload import load_weights, shipped_weights

RECIPE = TextRecipe(epochs=3, steps=4, batch=4, learning_rate=5e-3)


@pytest.fixture(scope="module")
def pydoc() -> TextData:
    return load_pydoc()


@pytest.fixture(scope="module")
def short() -> TextData:
    """A text of period 6, in windows of 8."""
    tokens = encode("abcdef" * 40)
    return TextData("alphabet", tokens[:120], tokens[120:180], tokens[180:], length=8)


def small() -> nn.Module:
    return CharacterGPT(context=8, width=8, layers=1, heads=2, dropout=0.2)


class TestData:
    def test_the_text_is_the_one_stated(self, tmp_path: Path) -> None:
        text = pydoc_text()  # raises where its SHA-256 is another
        assert len(text) == 418_334
        other = tmp_path / "other.txt.gz"
        other.write_bytes(gzip.compress(text.replace("Python", "python", 1).encode()))
        with pytest.raises(DataError, match=r"other\.txt\.gz: SHA-256 of the text is \w{64}, that of the one which ships 2a888b38"):
            pydoc_text(other)
        other.write_bytes(PYDOC.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"other\.txt\.gz: cannot be read"):
            pydoc_text(other)

    def test_parts_are_apart_and_together_the_text(self, pydoc: TextData) -> None:
        assert [len(part) for part in (pydoc.train, pydoc.validation, pydoc.test)] == [355_688, 21_114, 41_532]
        text = pydoc_text()
        known = "".join(sign if sign in VOCABULARY else UNKNOWN for sign in text)
        assert decode(torch.cat([pydoc.train, pydoc.validation, pydoc.test])) == known
        assert sum(a != b for a, b in zip(text, known, strict=True)) == 3

    def test_hardly_anything_of_the_test_part_stands_in_the_others(self, pydoc: TextData) -> None:
        """Strings of 64 characters: less than one in a hundred."""
        before, test = decode(torch.cat([pydoc.train, pydoc.validation])), decode(pydoc.test)
        known = {before[begin : begin + 64] for begin in range(len(before) - 63)}
        assert sum(test[begin : begin + 64] in known for begin in range(len(test) - 63)) < 0.01 * len(test)

    def test_windows_do_not_overlap_and_targets_follow(self, pydoc: TextData) -> None:
        for part, (inputs, targets) in ((pydoc.train, pydoc.train_windows), (pydoc.validation, pydoc.validation_windows),
                                        (pydoc.test, pydoc.test_windows)):  # fmt: skip
            assert inputs.shape == targets.shape == ((len(part) - 1) // 128, 128)
            assert inputs.dtype == targets.dtype == torch.int64
            assert torch.equal(inputs.flatten(), part[: inputs.numel()])
            assert torch.equal(targets.flatten(), part[1 : targets.numel() + 1])
        assert len(pydoc.test_windows[0]) == 324

    def test_signs(self) -> None:
        assert len(VOCABULARY) == len(set(VOCABULARY)) == 97
        assert torch.equal(encode("\n ~ß"), torch.tensor([0, 1, 95, 96]))
        assert decode(encode("for x in y:\n")) == "for x in y:\n"

    @pytest.mark.parametrize(("wrong", "said"), [
        ({"length": 0}, "length of a window must be 1 or more, got 0"), ({"test": torch.zeros(8, dtype=torch.int64)}, "test must be int64"),
        ({"train": torch.zeros(99)}, r"train must be int64 .*got torch\.float32 \(99,\)"),
        ({"validation": torch.full((99,), 97)}, "validation must hold tokens from 0 to 96"),
    ])  # fmt: skip
    def test_what_is_no_text(self, short: TextData, wrong: dict[str, object], said: str) -> None:
        with pytest.raises(DataError, match=f"alphabet: {said}"):
            replace(short, **wrong)  # type: ignore[arg-type]

    def test_an_extract_has_each_paragraph_once(self) -> None:
        """Whatever its line ends; short ones, and what is code, stay."""
        long = "A paragraph that is long enough to tell of others."
        topics = {"one": f"{long}\n\n   x = “1”…\n", "two": f"Two\n***\n\n{long.replace(' is', chr(10) + 'is')}\n\n\n   x = ‘1’\n"}
        found = extract(topics)
        assert " ".join(found.split()).count(long) == 1
        assert found.count("\n\n") == 3
        assert all(kept in found for kept in ("Two\n***\n", '   x = "1"...\n', "   x = '1'\n"))
        assert found == extract(dict(reversed(topics.items())))


class TestTraining:
    def trained(self, data: TextData, checkpoint: Path | None = None, recipe: TextRecipe = RECIPE, seed: int = 0) -> list[torch.Tensor]:
        model = initialise(small, 0)
        train_language_model(model, data, recipe, seed, checkpoint)
        assert not model.training
        return [value.clone() for value in model.state_dict().values()]

    def test_same_bits_also_after_an_interrupt(self, short: TextData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Windows and dropout follow the seed alone; torch's global generator is left as it was."""
        before = torch.random.get_rng_state()
        whole = self.trained(short)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(7)
        assert not all(map(torch.equal, whole, self.trained(short, seed=1)))
        checkpoint, epoch, ran = tmp_path / "gpt.checkpoint", training._epoch, []

        def interrupted(*arguments: object) -> float:
            if len(ran) == 2:
                raise KeyboardInterrupt
            ran.append(1)
            return epoch(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(training, "_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            self.trained(short, checkpoint)
        monkeypatch.setattr(training, "_epoch", epoch)
        assert all(map(torch.equal, whole, self.trained(short, checkpoint)))
        with pytest.raises(TrainingError, match=r"recipe\.batch is 4 there, 5 here"):
            self.trained(short, checkpoint, replace(RECIPE, batch=5))
        with pytest.raises(TrainingError, match=r"\(data is "):
            self.trained(replace(short, train=short.train.flip(0)), checkpoint)

    def test_it_learns(self, short: TextData) -> None:
        """A text of period 6 is foretold from its last character."""
        model = initialise(small, 0)
        train_language_model(model, short, TextRecipe(epochs=1, steps=150, batch=16, learning_rate=2e-2), 0)
        assert bits_per_character(model, *short.test_windows) < 0.1

    @pytest.mark.parametrize(
        ("name", "value"), [("epochs", 0), ("steps", -1), ("batch", 0), ("learning_rate", math.nan), ("weight_decay", -1)]
    )
    def test_wrong_recipes(self, name: str, value: float) -> None:
        with pytest.raises(TrainingError, match=name):
            replace(RECIPE, **{name: value})  # type: ignore[arg-type]


class TestBits:
    def test_of_known_probabilities(self) -> None:
        """1/2 and 1/8: 2 bits on the mean; the batches make no difference."""
        logits = torch.tensor([[0.5, 0.5], [0.125, 0.875]]).log()
        inputs, targets = torch.tensor([[0, 1]] * 3), torch.zeros(3, 2, dtype=torch.int64)
        for batch in (1, 2, 3):
            assert bits_per_character(lambda x: logits[x], inputs, targets, batch) == pytest.approx(2.0, rel=1e-6)

    def test_what_does_not_fit(self) -> None:
        one = torch.zeros(1, 2, dtype=torch.int64)
        for inputs, targets, batch, said in ((one, one[:, :1], 1, "a target for each input"), (one[:0], one[:0], 1, "one or more"),
                                             (one, one, 0, "batch must be 1 or more")):  # fmt: skip
            with pytest.raises(TrainingError, match=said):
                bits_per_character(lambda x: F.one_hot(x, 2).float(), inputs, targets, batch)

    def test_the_shipped_weights_reach_what_is_told(self, pydoc: TextData) -> None:
        """2.067 bits per character on all test windows, as models/weights/README.md has it."""
        path = shipped_weights("gpt")
        assert path is not None
        assert path.stat().st_size < 2.5e6
        model = load_weights(CharacterGPT(), path).eval()
        assert bits_per_character(model, *pydoc.test_windows) == pytest.approx(2.0672, abs=1e-3)

    def test_references(self, pydoc: TextData, short: TextData) -> None:
        """As workloads/text/README.md has them; compressors differ a little from version to version."""
        assert compressed_bits(pydoc) == pytest.approx({"bz2": 1.792, "lzma": 1.867}, abs=0.02)
        assert ngram_bits(pydoc, 0) == pytest.approx(4.818, abs=1e-3)
        assert ngram_bits(pydoc, 3) == pytest.approx(2.539, abs=1e-3)

    def test_counts_are_mixed_as_the_method_has_it(self) -> None:
        """Of "abab" + "aaaa" trained, "b" after "a" by hand: order 0 has a 6 of 8 and b 2, and 2 signs seen; after a came b 2 times
        and a 3 (its last has no successor)."""
        tokens = encode("ababaaaa")
        data = TextData("hand", tokens, tokens, encode("ab"), length=1)
        zero = (2 + 2 / 97) / (8 + 2)
        assert ngram_bits(data, 0) == pytest.approx(-math.log2(zero))
        assert ngram_bits(data, 1) == pytest.approx(-math.log2((2 + 2 * zero) / (5 + 2)))
