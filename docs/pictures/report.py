"""The picture of the README, report.png: the first page of the report of `make demo`, with few colours so that it stays small.

xbar run digits --chip isaac --out out/digits-isaac; python docs/pictures/report.py out/digits-isaac
"""

import sys
from pathlib import Path

from PIL import Image

WIDTH, COLOURS = 1280, 256


def draw(results: Path, target: Path) -> None:
    """The page summary.png of a folder of results, WIDTH pixels wide, as `target`."""
    page = Image.open(results / "summary.png").convert("RGB")
    small = page.resize((WIDTH, round(WIDTH * page.height / page.width)), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(__file__).parent / "report.png")
