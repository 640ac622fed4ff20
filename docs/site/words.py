"""What the site is made of besides Sphinx: which chapters and pages there are, and docstrings as reStructuredText."""

import re
from itertools import groupby
from pathlib import Path

NAME = re.compile(r"`([^`]+)`")


def chapters(root: Path) -> list[str]:
    """File names of the guide's chapters, in the order of the table in docs/README.md."""
    return re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\)", (root / "docs" / "README.md").read_text("utf-8"), re.MULTILINE)


def readmes(root: Path) -> list[str]:
    """The READMEs of the project's folders, as Sphinx names them."""
    found = [*root.glob("[a-z]*/README.md"), *root.glob("results/*/README.md")]
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in found)


def reference_pages(root: Path) -> list[str]:
    """Names of the pages of docs/reference, the first by what most want."""
    first = ["xbar", "hw", "analog", "compression", "workloads", "study", "reports"]
    found = {path.stem for path in (root / "docs" / "reference").glob("*.rst")}
    return [name for name in first if name in found] + sorted(found - {*first})


def restructured(lines: list[str]) -> list[str]:
    """A docstring, plain text with names in single backticks, as reStructuredText: paragraphs, lists of "- " and indented blocks as
    they stand, all other signs as themselves."""
    found: list[str] = []
    for blank, group in groupby(lines, lambda line: not line.strip()):
        if not blank:
            found += [*_paragraph(list(group)), ""]
    return found


def _paragraph(lines: list[str]) -> list[str]:
    if all(line.startswith(" ") for line in lines):
        return ["::", "", *(f"    {line}" for line in lines)]
    if not lines[0].startswith("- "):
        first = next((index for index, line in enumerate(lines) if line.startswith("- ")), len(lines))
        rest = _paragraph(lines[first:]) if first < len(lines) else []
        return [_text(" ".join(line.strip() for line in lines[:first])), *([""] if rest else []), *rest]
    items: list[str] = []
    for line in lines:
        if line.startswith("- "):
            items.append(line[2:].strip())
        else:
            items[-1] += " " + line.strip()
    return [f"- {_text(item)}" for item in items]


def _text(text: str) -> str:
    parts = NAME.split(text)
    return "".join(f"``{part.strip()}``\\ " if index % 2 else re.sub(r"([\\*|_`<>])", r"\\\1", part) for index, part in enumerate(parts))
