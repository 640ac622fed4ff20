"""Whether the accuracies of two runs differ by more than chance."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
Meta = Mapping[str, Any]


def accuracy_difference(old: Meta, new: Meta) -> dict[str, Any]:
    """Whether two accuracies differ by more than chance: difference (new less old), low, high (95 %), method, verdict, text.

    verdict: "same", "within" or "beyond" noise, or "open" where what is kept cannot tell.
    - paired: both judged chip instances of the same seeds, two or more: Student's t of the differences by seed.
    - independent: instances of other seeds: Welch's t; a chip whose instances are all the same has no spread.
    - images: no chip instance differs from another on either: what is left is the choice of test images. On the same n images a
      difference of d images has at least d and at most all errors of both discordant; the exact sign test of paired
      hits (McNemar 1947) is taken at both ends, and where they disagree it is open. On other images Fisher's exact test.
    - ranges: the folder keeps no accuracy by instance. That all of m instances lie on one side of all of n happens by chance
      with probability 2 / C(n + m, n), either side; where that is not rare enough, or they overlap, it is open.
    """
    a, b = old["accuracy"], new["accuracy"]
    if not all(_is_number(each.get("chip")) for each in (a, b)):
        return _noise("open", math.nan, "none", "Accuracies are not known for both.")
    lists = [_by_instance(meta) for meta in (old, new)]
    same_images = _same_images(old, new)
    images = "" if same_images else "; the test images are not the same, which is not in it"
    if all(len(each) > 1 for each in lists):
        shared = [seed for seed in lists[0] if seed in lists[1]]
        if len(shared) > 1 and same_images:
            return _paired(np.array([lists[1][seed] - lists[0][seed] for seed in shared]))
        return _welch([np.array(list(each.values())) for each in lists], images)
    fixed = [_one_for_all(meta) for meta in (old, new)]
    if all(fixed):
        return _images(old, new, same_images)
    if all(len(each) > 1 or one for each, one in zip(lists, fixed, strict=True)):
        known = [list(each.values()) or [meta["accuracy"]["chip"]] for each, meta in zip(lists, (old, new), strict=True)]
        return _welch([np.array(each) for each in known], images)
    difference = b["chip"] - a["chip"]
    if difference == 0:
        return _noise("same", 0.0, "none", "The accuracies are the same.")
    ranges = [(each.get("chip_smallest"), each.get("chip_largest")) for each in (a, b)]
    if all(each.get("instances", 1) > 1 for each in (a, b)) and all(_is_number(value) for pair in ranges for value in pair):
        apart = max(ranges[0][0], ranges[1][0]) > min(ranges[0][1], ranges[1][1])
        n, m = (int(each["instances"]) for each in (a, b))
        rare = 2 / math.comb(n + m, n) <= 1 - CONFIDENCE
        told = "overlap" if not apart else "do not overlap: beyond noise" if rare else f"do not overlap, as chance has it of {n} and {m}"
        return _noise("beyond" if apart and rare else "open", difference, "ranges",
                      f"Accuracies differ by {_points(difference)}; smallest to largest of the chip instances {told}.")  # fmt: skip
    return _noise("open", difference, "none", f"Accuracy changed by {_points(difference)}; one chip instance was judged, "
                  "so how much instances differ is not known.")  # fmt: skip


def _noise(verdict: str, difference: float, method: str, text: str, low: float = math.nan, high: float = math.nan) -> dict[str, Any]:
    return {"verdict": verdict, "difference": difference, "low": low, "high": high, "method": method, "text": text}


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points"


def _by_instance(meta: Meta) -> dict[int, float]:
    """Accuracy by seed of the chip instances, empty where it is not kept."""
    found, seed = meta["accuracy"].get("by_instance"), meta["study"].get("seed")
    if not isinstance(found, list) or not isinstance(seed, int) or not all(map(_is_number, found)):
        return {}
    return {seed + place: float(value) for place, value in enumerate(found)}


def _one_for_all(meta: Meta) -> bool:
    """True where one instance was judged though more were asked for: all are the same."""
    return meta["accuracy"].get("instances") == 1 and meta["study"].get("instances", 1) > 1


def _same_images(old: Meta, new: Meta) -> bool:
    names = (("workload", "data"), ("study", "seed"), ("accuracy", "images"), ("accuracy", "test_images"))
    return all(old[part].get(name) == new[part].get(name) for part, name in names)


def _paired(differences: np.ndarray) -> dict[str, Any]:
    count, mean, spread = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    how = f"paired by the seeds of {count} chip instances"
    if not differences.any():
        return _noise("same", 0.0, "paired", f"The accuracies are the same on each of {count} chip instances.", 0.0, 0.0)
    if spread <= 1e-12:  # no width: the sign test instead
        sure = 2 * 0.5**count <= 1 - CONFIDENCE
        told = "beyond noise" if sure else "too few to tell from chance"
        return _noise("beyond" if sure else "open", mean, "paired", f"Accuracy changed by {_points(mean)} on each instance, {how}: {told}.")
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread / math.sqrt(count)
    return _band(mean, half, "paired", how, "")


def _welch(samples: list[np.ndarray], images: str) -> dict[str, Any]:
    """Difference of two means; a sample of one has no spread."""
    mean = float(samples[1].mean() - samples[0].mean())
    parts = [float(each.var(ddof=1)) / len(each) if len(each) > 1 else 0.0 for each in samples]
    told = [f"{len(each)} chip instances" if len(each) > 1 else "a chip whose instances are all the same" for each in samples]
    how = f"Welch's t of {told[0]} against {told[1]}"
    if sum(parts) == 0:
        verdict = "same" if mean == 0 else "open"
        return _noise(verdict, mean, "independent", f"Mean accuracy changed by {_points(mean)}; the instances do not spread{images}.")
    freedom = sum(parts) ** 2 / sum(part**2 / (len(each) - 1) for part, each in zip(parts, samples, strict=True) if len(each) > 1)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(sum(parts))
    return _band(mean, half, "independent", how, images)


def _band(mean: float, half: float, method: str, how: str, images: str) -> dict[str, Any]:
    inside = abs(mean) <= half
    text = (f"Mean accuracy changed by {_points(mean)}, 95 % band {100 * (mean - half):+.2f} to {100 * (mean + half):+.2f}, {how}"
            f"{images}: {'within' if inside else 'beyond'} noise.")  # fmt: skip
    return _noise("within" if inside else "beyond", mean, method, text, mean - half, mean + half)


def _images(old: Meta, new: Meta, same: bool) -> dict[str, Any]:
    """Two chips without spread, judged on test images."""
    a, b = old["accuracy"], new["accuracy"]
    counts = [int(each["images"]) for each in (a, b)]
    hits = [round(each["chip"] * count) for each, count in zip((a, b), counts, strict=True)]
    difference = b["chip"] - a["chip"]
    if same:
        if difference == 0:
            return _noise("same", 0.0, "images", "The accuracies are the same.")
        apart = abs(hits[1] - hits[0])
        wrong = [counts[0] - each for each in hits]
        both = max(0, sum(wrong) - counts[0])  # images that both have wrong at least
        least, most = (float(stats.binomtest(k, n).pvalue) for k, n in ((apart, apart), (max(wrong) - both, sum(wrong) - 2 * both)))
        verdict = "within" if least > 1 - CONFIDENCE else "beyond" if most <= 1 - CONFIDENCE else "open"
        told = {"within": "within noise", "beyond": "beyond noise",
                "open": "which images they are would tell whether that is noise, and is not kept"}[verdict]  # fmt: skip
        text = (f"Accuracy changed by {_points(difference)}, {apart} of {counts[0]:,} test images; nothing differs between chip "
                f"instances. Exact sign test of paired images: {told}.")  # fmt: skip
        return _noise(verdict, difference, "images", text)
    p = float(stats.fisher_exact([[hits[0], counts[0] - hits[0]], [hits[1], counts[1] - hits[1]]])[1])
    verdict = "within" if p > 1 - CONFIDENCE else "beyond"
    text = f"Accuracy changed by {_points(difference)} on other test images; Fisher's exact test, p = {p:.2g}: {verdict} noise."
    return _noise(verdict, difference, "images", text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
