"""What the project says of itself, in the files where people and programs look for it, agrees."""

from configparser import ConfigParser
from pathlib import Path

import yaml

import xbar
from xbar.workloads.workload import shipped_weights

ROOT = Path(__file__).parents[1]


def metadata() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def test_version_and_licence_are_one() -> None:
    said, cited = metadata()["metadata"], yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert said["version"] == cited["version"] == xbar.__version__
    assert said["license_expression"] == cited["license"] == "BSD-3-Clause"
    assert licence.startswith("BSD 3-Clause License\n\nCopyright (c) 2026, The xbar authors\n")
    assert [author["name"] for author in cited["authors"]] == ["The xbar authors"]
    assert said["license_files"] == "LICENSE"


def test_the_citation_has_what_the_format_wants() -> None:
    """Citation File Format 1.2.0, https://doi.org/10.5281/zenodo.5171937: these four must be, type is one of two words."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert len(cited["abstract"]) > 100


def test_shipped_weights_are_installed() -> None:
    assert metadata()["options.package_data"]["xbar.models"] == "weights/*.pt"
    for name in ("digits", "lenet5", "vit", "rows", "gpt"):
        path = shipped_weights(name)
        assert path is not None
        assert path.is_file()
    assert shipped_weights("lenet5-caffe") is None


def test_the_shipped_text_is_installed_with_its_licence() -> None:
    """It is not ours: the Python Software Foundation's licence goes with every copy, and LICENSE tells of it."""
    folder = ROOT / "workloads" / "text"
    assert metadata()["options.package_data"]["xbar.workloads.text"] == "*.txt.gz, LICENSE-python.txt"
    assert [path.name for path in folder.glob("*.txt.gz")] == ["pydoc_topics.txt.gz"]
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in (folder / "LICENSE-python.txt").read_text("utf-8")
    assert "workloads/text/LICENSE-python.txt" in (ROOT / "LICENSE").read_text("utf-8")
