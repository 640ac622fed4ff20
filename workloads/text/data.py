"""Text as characters: the fixed extract of Python's documentation that ships with the project, split and cut into windows."""

import gzip
import hashlib
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from xbar.workloads.data import DataError, Dataset
from xbar.workloads.task import BITS_PER_CHARACTER, NEXT_TOKEN

PYDOC = Path(__file__).parent / "pydoc_topics.txt.gz"
PYDOC_SHA256 = "2a888b384f67d05a45ee199b810dd67b01842a67fe70eec3f76c022e0d31018a"  # of the text, in UTF-8
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
VOCABULARY = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1))) + UNKNOWN
"""The 97 signs that a token may be, in the order of their numbers: line end, what ASCII prints, and one for all else."""
VALIDATION_SHARE, TEST_SHARE = 0.05, 0.10  # of the characters; the rest, before them, is trained on
LENGTH = 128  # characters of a window


@dataclass(frozen=True)
class TextData:
    """A text as tokens, int64 (characters,), in three parts that follow each other, and the length of its windows."""

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    length: int = LENGTH

    def __post_init__(self) -> None:
        if self.length < 1:
            raise DataError(f"{self.name}: length of a window must be 1 or more, got {self.length}")
        for part in ("train", "validation", "test"):
            tokens = getattr(self, part)
            if tokens.dtype != torch.int64 or tokens.dim() != 1 or len(tokens) <= self.length:
                raise DataError(f"{self.name}: {part} must be int64 (characters,), more than a window of {self.length}, "
                                f"got {tokens.dtype} {tuple(tokens.shape)}")  # fmt: skip
            if int(tokens.min()) < 0 or int(tokens.max()) >= len(VOCABULARY):
                raise DataError(f"{self.name}: {part} must hold tokens from 0 to {len(VOCABULARY) - 1}")

    @property
    def train_windows(self) -> tuple[Tensor, Tensor]:
        """As `windows`, of the part that is trained on: for calibration."""
        return windows(self.train, self.length)

    @property
    def validation_windows(self) -> tuple[Tensor, Tensor]:
        """As `windows`, of the part by which a recipe is chosen."""
        return windows(self.validation, self.length)

    @property
    def test_windows(self) -> tuple[Tensor, Tensor]:
        """As `windows`, of the part that neither training nor choosing looks at."""
        return windows(self.test, self.length)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all tokens and the window's length, for names of files that depend on the data."""
        hashed = hashlib.sha256(f"{self.length}".encode())
        for part in (self.train, self.validation, self.test):
            hashed.update(part.numpy().tobytes())
        return hashed.hexdigest()


def windows_of(data: TextData) -> Dataset:
    """Windows that do not overlap, of the part that is trained on and of the test part, judged by bits per character."""
    task = replace(NEXT_TOKEN, metric=BITS_PER_CHARACTER)
    return Dataset(data.name, *data.train_windows, *data.test_windows, task, "windows")


def windows(tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, int64 (n, length) each, of windows that do not overlap: the target of a token is the one after it. What
    no longer fills a window at the end is left out."""
    count = (len(tokens) - 1) // length
    return tokens[: count * length].view(count, length), tokens[1 : count * length + 1].view(count, length)


def encode(text: str) -> Tensor:
    """Tokens, int64 (characters,): places in VOCABULARY, of characters that are not there UNKNOWN's."""
    places = {sign: place for place, sign in enumerate(VOCABULARY)}
    return torch.tensor([places.get(sign, places[UNKNOWN]) for sign in text], dtype=torch.int64)


def decode(tokens: Tensor) -> str:
    """The text of tokens (characters,)."""
    return "".join(VOCABULARY[token] for token in tokens.tolist())


def pydoc_text(path: Path = PYDOC) -> str:
    """The extract of CPython 3.13.0's `pydoc_data.topics`, 418,334 characters (README.md tells how it was made); raises DataError
    where the file is not that."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != PYDOC_SHA256:
        raise DataError(f"{path}: SHA-256 of the text is {found}, that of the one which ships {PYDOC_SHA256}")
    return raw.decode()


def load_pydoc(length: int = LENGTH) -> TextData:
    """The shipped extract of Python's documentation in windows of `length` characters.

    Its last tenth is the test part, the twentieth before that the validation part, each from the beginning of a paragraph on.
    """
    text = pydoc_text()
    first, second = (
        text.index("\n\n", round(len(text) * share)) + 2 for share in (1 - TEST_SHARE - VALIDATION_SHARE, 1 - TEST_SHARE)
    )
    return TextData("Python's documentation", encode(text[:first]), encode(text[first:second]), encode(text[second:]), length)
