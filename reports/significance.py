"""Whether the scores of two runs differ by more than chance."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy  # whose statistics load where they are asked for: they take a second

from xbar.reports.metric import ShownMetric

CONFIDENCE = 0.95
ACCURACY = "accuracy"  # the metric that counts samples which are right
Meta = Mapping[str, Any]


def score_difference(old: Meta, new: Meta) -> dict[str, Any]:
    """Whether two scores differ by more than chance: difference (new less old), low, high (95 %), method, verdict, text.

    verdict: "same", "within" or "beyond" noise, or "open" where what is kept cannot tell.
    - paired: both judged chip instances of the same seeds, two or more: Student's t of the differences by seed.
    - independent: instances of other seeds: Welch's t; a chip whose instances are all the same has no spread.
    - samples: no chip instance differs from another on either: what is left is the choice of test samples. On the same n of them a
      difference of d samples has at least d and at most all errors of both discordant; the exact sign test of paired
      hits (McNemar 1947) is taken at both ends, and where they disagree it is open. On other samples Fisher's exact test.
      Of metrics other than accuracy it is open.
    - ranges: the folder keeps no score by instance. That all of m instances lie on one side of all of n happens by chance
      with probability 2 / C(n + m, n), either side; where that is not rare enough, or they overlap, it is open.
    """
    a, b, shown = old["score"], new["score"], ShownMetric.of(new)
    if ShownMetric.of(old) != shown:
        return _noise("open", math.nan, "none", f"One was judged by {ShownMetric.of(old).word}, the other by {shown.word}.")
    if not all(_is_number(each.get("chip")) for each in (a, b)):
        return _noise("open", math.nan, "none", f"{shown.title} is not known for both.")
    lists = [_by_instance(meta) for meta in (old, new)]
    same_samples = _same_samples(old, new)
    apart_too = "" if same_samples else f"; {_why_other(old, new)}, which is not in it"
    if all(len(each) > 1 for each in lists):
        shared = [seed for seed in lists[0] if seed in lists[1]]
        if len(shared) > 1 and same_samples:
            return _paired(np.array([lists[1][seed] - lists[0][seed] for seed in shared]), shown)
        return _welch([np.array(list(each.values())) for each in lists], apart_too, shown)
    fixed = [_one_for_all(meta) for meta in (old, new)]
    if all(fixed) and shown.name == ACCURACY:
        return _hits(old, new, same_samples)
    if all(len(each) > 1 or one for each, one in zip(lists, fixed, strict=True)):
        known = [list(each.values()) or [meta["score"]["chip"]] for each, meta in zip(lists, (old, new), strict=True)]
        return _welch([np.array(each) for each in known], apart_too, shown)
    difference = b["chip"] - a["chip"]
    if difference == 0:
        return _noise("same", 0.0, "none", f"{shown.title} is the same.")
    ranges = [(each.get("chip_worst"), each.get("chip_best")) for each in (a, b)]
    if all(each.get("instances", 1) > 1 for each in (a, b)) and all(_is_number(value) for pair in ranges for value in pair):
        ranges = [(min(pair), max(pair)) for pair in ranges]
        apart = max(ranges[0][0], ranges[1][0]) > min(ranges[0][1], ranges[1][1])
        n, m = (int(each["instances"]) for each in (a, b))
        rare = 2 / math.comb(n + m, n) <= 1 - CONFIDENCE
        told = "overlap" if not apart else "do not overlap: beyond noise" if rare else f"do not overlap, as chance has it of {n} and {m}"
        return _noise("beyond" if apart and rare else "open", difference, "ranges",
                      f"{shown.title} differs by {_change(difference, shown)}; smallest to largest of chip instances {told}.")  # fmt: skip
    return _noise("open", difference, "none", f"{shown.title} changed by {_change(difference, shown)}; one chip instance was judged, "
                  "so how much instances differ is not known.")  # fmt: skip


def _noise(verdict: str, difference: float, method: str, text: str, low: float = math.nan, high: float = math.nan) -> dict[str, Any]:
    return {"verdict": verdict, "difference": difference, "low": low, "high": high, "method": method, "text": text}


def _change(difference: float, shown: ShownMetric) -> str:
    return f"{100 * difference:+.2f} points" if shown.is_share else f"{difference:+.3g} {shown.unit}"


def _by_instance(meta: Meta) -> dict[int, float]:
    """Score by seed of the chip instances, empty where it is not kept."""
    found, seed = meta["score"].get("by_instance"), meta["study"].get("seed")
    if not isinstance(found, list) or not isinstance(seed, int) or not all(map(_is_number, found)):
        return {}
    return {seed + place: float(value) for place, value in enumerate(found)}


def _one_for_all(meta: Meta) -> bool:
    """True where one instance was judged though more were asked for: all are the same."""
    return meta["score"].get("instances") == 1 and meta["study"].get("instances", 1) > 1


def _same_samples(old: Meta, new: Meta) -> bool:
    """By the digest of the samples that were judged; of results that keep none by the name of the data, seed and numbers."""
    digests = [each["score"].get("samples_digest") for each in (old, new)]
    if all(digests):
        return digests[0] == digests[1]
    names = (("workload", "data"), ("study", "seed"), ("score", "samples"), ("score", "test_samples"))
    return all(old[part].get(name) == new[part].get(name) for part, name in names)


def _why_other(old: Meta, new: Meta) -> str:
    """In what the test samples differ, in words."""
    named = [each["workload"].get("data") for each in (old, new)]
    digests = [each["workload"].get("data_digest") for each in (old, new)]
    if all(digests) and digests[0] != digests[1] and named[0] == named[1]:
        return f"the data are called {named[0]} in both and differ in content, so that the test {_samples(new)} are not the same"
    return f"the test {_samples(new)} are not the same"


def _paired(differences: np.ndarray, shown: ShownMetric) -> dict[str, Any]:
    count, mean, spread = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    how = f"paired by the seeds of {count} chip instances"
    if not differences.any():
        return _noise("same", 0.0, "paired", f"{shown.title} is the same on each of {count} chip instances.", 0.0, 0.0)
    if spread <= 1e-12:  # no width: the sign test instead
        sure = 2 * 0.5**count <= 1 - CONFIDENCE
        told = "beyond noise" if sure else "too few to tell from chance"
        text = f"{shown.title} changed by {_change(mean, shown)} on each instance, {how}: {told}."
        return _noise("beyond" if sure else "open", mean, "paired", text)
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread / math.sqrt(count)
    return _band(mean, half, "paired", how, "", shown)


def _welch(samples: list[np.ndarray], apart_too: str, shown: ShownMetric) -> dict[str, Any]:
    """Difference of two means; a sample of one has no spread."""
    mean = float(samples[1].mean() - samples[0].mean())
    parts = [float(each.var(ddof=1)) / len(each) if len(each) > 1 else 0.0 for each in samples]
    told = [f"{len(each)} chip instances" if len(each) > 1 else "a chip whose instances are all the same" for each in samples]
    how = f"Welch's t of {told[0]} against {told[1]}"
    if sum(parts) == 0:
        verdict = "same" if mean == 0 else "open"
        text = f"Mean {shown.word} changed by {_change(mean, shown)}; the instances do not spread{apart_too}."
        return _noise(verdict, mean, "independent", text)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(each) - 1) for part, each in zip(parts, samples, strict=True) if len(each) > 1)
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(sum(parts))
    return _band(mean, half, "independent", how, apart_too, shown)


def _band(mean: float, half: float, method: str, how: str, apart_too: str, shown: ShownMetric) -> dict[str, Any]:
    inside = abs(mean) <= half
    low, high = (f"{100 * end:+.2f}" if shown.is_share else f"{end:+.3g}" for end in (mean - half, mean + half))
    text = (f"Mean {shown.word} changed by {_change(mean, shown)}, 95 % band {low} to {high}, {how}"
            f"{apart_too}: {'within' if inside else 'beyond'} noise.")  # fmt: skip
    return _noise("within" if inside else "beyond", mean, method, text, mean - half, mean + half)


def _samples(meta: Meta) -> str:
    """What the samples of a run are called."""
    return str(meta["score"].get("of", "samples"))


def _hits(old: Meta, new: Meta, same: bool) -> dict[str, Any]:
    """Two chips without spread, judged on test samples."""
    a, b, samples = old["score"], new["score"], _samples(new)
    counts = [int(each["samples"]) for each in (a, b)]
    hits = [round(each["chip"] * count) for each, count in zip((a, b), counts, strict=True)]
    difference = b["chip"] - a["chip"]
    if same:
        if difference == 0:
            return _noise("same", 0.0, "samples", f"{ShownMetric().title} is the same.")
        apart = abs(hits[1] - hits[0])
        wrong = [counts[0] - each for each in hits]
        both = max(0, sum(wrong) - counts[0])  # samples that both have wrong at least
        least, most = (float(scipy.stats.binomtest(k, n).pvalue) for k, n in ((apart, apart), (max(wrong) - both, sum(wrong) - 2 * both)))
        verdict = "within" if least > 1 - CONFIDENCE else "beyond" if most <= 1 - CONFIDENCE else "open"
        told = {"within": "within noise", "beyond": "beyond noise",
                "open": f"which {samples} they are would tell whether that is noise, and is not kept"}[verdict]  # fmt: skip
        change = _change(difference, ShownMetric())
        text = (f"Accuracy changed by {change}, {apart} of {counts[0]:,} test {samples}; nothing differs between chip instances. "
                f"Exact sign test of paired {samples}: {told}.")  # fmt: skip
        return _noise(verdict, difference, "samples", text)
    p = float(scipy.stats.fisher_exact([[hits[0], counts[0] - hits[0]], [hits[1], counts[1] - hits[1]]])[1])
    verdict = "within" if p > 1 - CONFIDENCE else "beyond"
    change = _change(difference, ShownMetric())
    text = f"Accuracy changed by {change}; {_why_other(old, new)}; Fisher's exact test, p = {p:.2g}: {verdict} noise."
    return _noise(verdict, difference, "samples", text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
