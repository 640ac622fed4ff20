"""How the text that ships was made of CPython's documentation: each topic once, in an order that mixes them."""

import hashlib
import re
from collections.abc import Mapping

# typographic signs that ASCII has a form of
_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "…": "..."})
_SHORTEST = 40  # characters of a paragraph whose repetition is dropped: shorter ones are headings and lines of examples


def extract(topics: Mapping[str, str]) -> str:
    """One text of `pydoc_data.topics.topics` (topic -> text): topics in the order of the SHA-256 of their names, paragraphs
    apart by one empty line.

    Many topics hold others whole. A paragraph of 40 characters or more that stood before, but for spaces and line ends, is left
    out, so that no part of the text tells of another by repeating it. Typographic quotes, dashes and dots become ASCII.
    """
    seen: set[str] = set()
    kept = []
    for name in sorted(topics, key=lambda name: hashlib.sha256(name.encode()).digest()):
        for paragraph in re.split(r"\n\s*\n", topics[name].translate(_PLAIN)):
            words = " ".join(paragraph.split())
            if words and not (len(words) >= _SHORTEST and words in seen):
                seen.add(words)
                kept.append("\n".join(line.rstrip() for line in paragraph.strip("\n").splitlines()))
    return "\n\n".join(kept) + "\n"
