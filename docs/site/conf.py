"""How Sphinx makes the guide a site: `make docs`, into build/docs.

The source folder is the project's, so that relative links between chapters, READMEs and files are the same on the site and in the
source. The navigation is the table of docs/README.md, and the pages of docs/reference; docstrings are plain text with names in
single backticks, as the source has them, and are handed to Sphinx as such.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from words import chapters, readmes, reference_pages, restructured

import xbar
from xbar.hw import analog

ROOT = Path(__file__).parents[2]

project = "xbar"
author = "The xbar authors"
copyright = "2026, The xbar authors"
version = release = xbar.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "docs/*.md", "docs/reference/*.rst", "*/README.md", "results/*/README.md"]
exclude_patterns = ["build", "out", ".*"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_heading_anchors = 4  # links to headings, as GitHub names them

default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "furo"  # one theme that asks nobody else for fonts or scripts
html_title = "xbar"
html_show_sphinx = False
html_copy_source = False


def navigation(app: Any, name: str, source: list[str]) -> None:
    """Give the front page the navigation, which on other pages and in the source is the table of docs/README.md."""
    if name == root_doc:
        parts = {
            "The guide": ["docs/README", *(f"docs/{Path(each).stem}" for each in chapters(ROOT))],
            "Reference": [f"docs/reference/{each}" for each in reference_pages(ROOT)],
            "The rooms of the code": sorted(page for page in readmes(ROOT) if page != "docs/README"),
            "Changes": ["CHANGELOG"],
        }
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n" for caption, pages in parts.items()
        )


def plain(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def told_elsewhere(app: Any, what: str, name: str, thing: object, skip: bool, options: Any) -> bool | None:
    """Leave out of the page of xbar.hw what the pages of xbar and xbar.hw.analog have."""
    both = {*xbar.__all__, *analog.__all__}
    return True if what == "module" and app.env.current_document.docname == "docs/reference/hw" and name in both else None


def front(app: Any, error: Exception | None) -> None:
    """index.html, for who opens the folder."""
    if error is None:
        (Path(app.outdir) / "index.html").write_text('<!doctype html><meta http-equiv="refresh" content="0; url=README.html">\n', "utf-8")


def setup(app: Any) -> None:
    app.connect("source-read", navigation)
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-skip-member", told_elsewhere)
    app.connect("build-finished", front)
