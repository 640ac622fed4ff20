"""The recommender: data, learning, store, quality, chip."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score
from torch import Tensor, nn

from xbar.hw import convert, load_chip, trace
from xbar.hw.analog import program
from xbar.models.limaml import CandidateScorer, LookupScorer
from xbar.workloads.data import DataError
from xbar.workloads.recommender.committee import part_of, together
from xbar.workloads.recommender.interactions import Interactions, Taste, load_described, load_movielens, synthetic
from xbar.workloads.recommender.learning import (
    EMBEDDING,
    FEATURES,
    GIVEN,
    Batch,
    Learner,
    MetaRecipe,
    Tables,
    Weights,
    meta_train,
    plain_scores,
    stretches,
)
from xbar.workloads.recommender.methods import METHODS, OF, RECIPES, adapted_scores, fit
from xbar.workloads.recommender.on_chip import (
    calibration_of,
    examples,
    judged_chip,
    mapping_costs,
    refresh_costs,
    retrain_with_noise,
    training_examples,
)
from xbar.workloads.recommender.over_time import ends_at, refresh_study
from xbar.workloads.recommender.quality import (
    METRICS,
    Ranking,
    Split,
    joint_bands,
    resamples,
    staleness,
    study_quality,
    table,
)
from xbar.workloads.recommender.run import RecommenderStudy, TwoClasses, run_recommender
from xbar.workloads.training import TrainingError

SIGNED = torch.linspace(-1, 1, 80).reshape(4, 20)  # inputs of a global block, of both signs
SMALL = MetaRecipe(epochs=2, tasks=16, support=12, query=4, steps=2, size=6, hidden=(12, 8), batch=64)
GRADIENT = replace(SMALL, adapt="meta", newton=False, each_rate=False, recency=0.0, history=False)


@pytest.fixture(scope="module")
def data() -> Interactions:
    return synthetic(Taste(members=30, items=40, interactions=15), seed=3)


@pytest.fixture(scope="module")
def split(data: Interactions) -> Split:
    return Split.of(data, data.split_by_history())


@pytest.fixture(scope="module")
def learner(split: Split) -> Learner:
    return meta_train(split.tables, split.test_begins, SMALL, seed=1).eval()


def everyone(split: Split, learner: Learner) -> Tensor:
    members = np.arange(split.tables.data.users)
    return learner.embeddings(members, split.tables.support(members, split.test_begins, learner.recipe.support))


# ---- data


def write_100k(folder: Path, ratings: str, users: str = "1|24|M|writer|1\n7|53|F|other|2\n") -> Path:
    films = "".join(
        f"{n}|Film {n} (199{n})|01-Jan-199{n}|||" + "|".join("1" if g == n else "0" for g in range(19)) + "\n"
        for n in (1, 2, 3)
    )
    for name, text in (("u.data", ratings), ("u.item", films), ("u.user", users)):
        (folder / name).write_text(text, "latin-1")
    return folder


RATINGS = "1\t2\t4\t50\n7\t1\t3\t10\n1\t1\t5\t20\n1\t3\t1\t20\n"


def test_movielens_100k_is_read_in_order_of_user_and_time(tmp_path: Path) -> None:
    found = load_movielens(write_100k(tmp_path, RATINGS))
    assert found.user.tolist() == [0, 0, 0, 1]
    assert found.item.tolist() == [0, 2, 1, 0]
    assert found.liked.tolist() == [True, False, True, False]
    assert found.time.tolist() == [20, 20, 50, 10]
    assert found.user_features[0, found.user_columns.index("gender M")] == 1
    assert found.item_features[1, found.item_columns.index("genre 2")] == 1
    assert found.item_features[:, -1] == pytest.approx([-0.1, 0.0, 0.1])  # decades from the median year, 1992


def test_the_other_official_forms_hold_the_same_interactions(tmp_path: Path) -> None:
    (tmp_path / "users.dat").write_text("1::M::18::16::1\n7::F::50::2::2\n")
    (tmp_path / "movies.dat").write_text("".join(f"{n}::Film {n} (199{n})::Drama|War\n" for n in (1, 2, 3)), "latin-1")
    (tmp_path / "ratings.dat").write_text(RATINGS.replace("\t", "::"))
    million = load_movielens(tmp_path)
    other = tmp_path / "latest"
    other.mkdir()
    (other / "movies.csv").write_text(
        "movieId,title,genres\n" + "".join(f'{n},"Film, {n} (199{n})",Drama|War\n' for n in (1, 2, 3))
    )
    (other / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + RATINGS.replace("\t", ","))
    latest = load_movielens(other)
    for name in ("user", "item", "time", "liked"):
        assert getattr(million, name).tolist() == getattr(latest, name).tolist()
    assert million.item_columns == latest.item_columns
    assert latest.user_features.shape == (2, 0)


def test_unknown_and_repeated_rows_are_counted(tmp_path: Path) -> None:
    found = load_movielens(write_100k(tmp_path, RATINGS + "9\t1\t4\t60\n1\t9\t4\t60\n1\t1\t2\t70\n"))
    assert len(found) == 4
    assert found.dropped == {"unknown user": 1, "unknown item": 1, "same user and item again": 1}


@pytest.mark.parametrize(
    ("row", "told"),
    [("1\t2\t6\t50", "line 1: rating must be from 0.5 to 5, got '6'"), ("1\t2\tnan\t50", "rating must be"), ("1\t2\t4", "needs 4 fields"),
     ("1\t2\t4\t-5", "time stamp must be a whole number"), ("1\t2\t4\t5.5", "time stamp"), ("9\t2\t4\t5", "no rating of a known")],
)  # fmt: skip
def test_rows_that_cannot_be_read_are_named(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        load_movielens(write_100k(tmp_path, row + "\n"))


def test_a_folder_without_movielens_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no u\.data, ratings\.dat or ratings\.csv"):
        load_movielens(tmp_path)


def test_a_csv_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A (1991),War\n2,B (1992),War\n", "utf-8-sig")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\r\n5,2,4.5,7\r\n5,1,0.5,9\r\n", "utf-8-sig")
    found = load_movielens(tmp_path)
    assert found.rating is not None
    assert (found.item.tolist(), found.rating.tolist(), found.user_ids) == ([1, 0], [4.5, 0.5], ("5",))
    (tmp_path / "ratings.csv").write_text("user,movieId,rating,timestamp\n5,2,4.5,7\n")
    with pytest.raises(DataError, match="needs a header that begins with userId, got 'user'"):
        load_movielens(tmp_path)


def test_pieces_of_a_file_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_100k(tmp_path, RATINGS + "1\t1\t2\t70\n")
    whole = load_movielens(folder)
    monkeypatch.setattr("xbar.workloads.recommender.interactions.ROWS_AT_ONCE", 2)
    assert load_movielens(folder).digest == whole.digest
    with pytest.raises(DataError, match=r"line 6: rating must be from .* to 5, got '9'"):
        load_movielens(write_100k(tmp_path, RATINGS + "1\t1\t2\t70\n1\t1\t9\t70\n"))


CLICKS = "1\tad7\tu2\t30\t5.5\tx\n0\tad7\tu1\t20\t1.5\ty\n0\tad9\tu2\t10\t9\tz\n1\tad7\tu2\t40\t3.5\tx\n"
DESCRIBED = """
file = "clicks.tsv"
separator = "\\t"
columns = ["click", "ad", "who", "when", "age", "place"]
user = "who"
item = "ad"
time = "when"
liked = "click"
user_features = ["age", "place"]
again = true
"""


def test_a_table_of_ones_own_is_read_by_its_description(tmp_path: Path) -> None:
    path = tmp_path / "clicks.toml"
    path.write_text(DESCRIBED)
    (tmp_path / "clicks.tsv").write_text(CLICKS)
    found = load_described(path)
    assert found.user_ids == ("u2", "u1")
    assert found.item.tolist() == [1, 0, 0, 0]
    assert found.time.tolist() == [10, 30, 40, 20]
    assert found.liked.tolist() == [False, True, True, False]
    assert found.rating is None
    assert found.user_features[:, found.user_columns.index("place x")].tolist() == [1, 0]  # of a user's first row
    path.write_text(DESCRIBED.replace("again = true", ""))
    assert load_described(path).dropped == {"same user and item again": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [(('user = "who"', 'user = "whom"'), "no column 'whom'"), (('liked = "click"', ""), "needs one of liked and rating"),
     (("again = true", 'again = "yes"'), "again = 'yes': allowed are"),
     (('liked = "click"', 'liked = "age"'), "line 1: age must be a whole"),
     (('file = "clicks.tsv"', 'file = "no.tsv"'), "no.tsv is not there"), (('again = true', 'agian = true'), "agian = True")],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_told(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    path = tmp_path / "clicks.toml"
    path.write_text(DESCRIBED.replace(*change))
    (tmp_path / "clicks.tsv").write_text(CLICKS)
    with pytest.raises(DataError, match=told):
        load_described(path)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 3))
def test_a_split_by_history_is_in_order_and_leaves_one_to_train_on(counts: list[int], validation: int) -> None:
    user = np.repeat(np.arange(len(counts)), counts)
    n = len(user)
    found = Interactions("made", user, np.zeros(n, int), np.zeros(n, int), np.zeros(n, bool), np.zeros((len(counts), 1), np.float32),
                         np.zeros((1, 1), np.float32), ("a",), ("b",), tuple(map(str, range(len(counts)))), ("x",))  # fmt: skip
    shares = (0.8 - validation / 10, validation / 10, 0.2)
    parts = found.split_by_history(shares)
    for member, count in enumerate(counts):
        mine = parts[user == member]
        assert (np.diff(mine) >= 0).all()
        assert mine[0] == 0
        assert (mine == 2).sum() == (max(1, round(0.2 * count)) if count > 1 else 0)


def test_a_split_by_date_is_one_moment_for_all(data: Interactions) -> None:
    parts = data.split_by_date(0.7)
    assert data.time[parts == 0].max() < data.time[parts == 2].min()


def test_synthetic_preferences_can_be_learned_and_are_the_seeds_alone() -> None:
    first, again, other = (synthetic(Taste(members=20, items=15, interactions=8), seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert first.synthetic
    with pytest.raises(DataError, match=r"taste\.sharpness"):
        Taste(sharpness=-1)
    sharp = synthetic(Taste(members=150, items=30, interactions=60, sharpness=8.0), seed=3)
    split = Split.of(sharp, sharp.split_by_history())
    rows, own = split.test_rows, replace(RECIPES["mf"], epochs=12, batch=256, networks=1)
    ends = split.test_begins[sharp.user[rows]]
    auc = {name: roc_auc_score(sharp.liked[rows], fit(name, split.tables, split.test_begins, 0, recipe).score(rows, ends))
           for name, recipe in (("mf", own), ("popularity", None))}  # fmt: skip
    assert auc["mf"] > 0.75 > 0.6 > auc["popularity"]  # 0.80 and 0.54: tastes differ, and are learned


# ---- learning


def test_zero_inner_steps_equal_the_ordinary_network(split: Split, learner: Learner) -> None:
    tables, rows = split.tables, split.test_rows
    ends = split.test_begins[tables.data.user[rows]]
    plain = Learner(learner.model, replace(SMALL, history=False), learner.member_features, learner.item_features).eval()
    plain.seen, history = learner.seen, plain.model.meta.history
    plain.model.meta.history = None
    try:
        unadapted = adapted_scores(plain, tables, rows, ends, steps=0)
        assert unadapted == pytest.approx(plain_scores(plain, tables, rows), abs=1e-5)
        assert np.abs(adapted_scores(plain, tables, rows, ends) - unadapted).max() > 1e-3
    finally:
        plain.model.meta.history = history


def test_only_what_belongs_to_a_member_moves_in_the_inner_loop(split: Split) -> None:
    members = torch.arange(5)
    support = split.tables.support(np.arange(5), split.test_begins[:5], 12)
    blocks = {f"globals.{layer}.{kind}" for layer in ("first", "second", "score") for kind in ("weight", "bias")}
    moved_by = {"meta": {"meta.hidden.weight", "meta.hidden.bias", "meta.out.weight", "meta.out.bias"}, "globals": blocks,
                "embedding": {EMBEDDING}}  # fmt: skip
    for adapt, names in moved_by.items():
        found = Learner.build(split.tables, replace(GRADIENT, adapt=adapt), 0)
        before = {name: value.clone() for name, value in found.state_dict().items()}
        weights = found.adapted(members, support)
        assert set(weights) - {FEATURES, GIVEN} == names
        for name in names - {EMBEDDING}:
            assert not torch.equal(weights[name], before[f"model.{name}"].expand_as(weights[name])), name
        assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())


def test_newtons_steps_end_where_the_support_loss_and_its_prior_are_least(split: Split) -> None:
    for graded in (True, False):
        recipe = replace(SMALL, hidden=(), steps=12, graded=graded)
        found = Learner.build(split.tables, recipe, 0)
        data = replace(split.tables.data, rating=np.where(split.tables.data.liked, 5, 2).astype(np.float32))
        support = Tables(data).support(np.arange(4), split.test_begins[:4], 12)
        start = found.embeddings(np.arange(4), support, steps=0)
        best = found.embeddings(np.arange(4), support).requires_grad_()
        losses = found.losses(found._scored(best, found.rest(support)), support.liked, support.grades)
        loss = (losses * found.weighed(support.mask)).sum() + (found.rates["prior"].exp() * (best - start).square()).sum() / 2
        (slope,) = torch.autograd.grad(loss, best)
        assert slope[:, :-1].abs().max() < 1e-4  # the last number is 1, which the item's bias is multiplied by
        assert (best[:, -1] == 1).all()
        assert (best - start).abs().max() > 1e-3


def test_a_product_with_biases_is_a_factorisation(split: Split) -> None:
    recipe = replace(SMALL, hidden=(), adapt="meta", newton=False, history=False)
    model = Learner.build(split.tables, recipe, 0).model
    features, items = split.tables.member_features[:3], torch.tensor([4, 5, 6])
    member, item = model.meta(features, torch.arange(3)), model.item(items) + model.item_tower(split.tables.item_features[items])
    wanted = (member[:, :4] * item[:, :4]).sum(1) + member[:, 4] + item[:, 5]
    found = model(features, torch.arange(3), items, split.tables.item_features[items], torch.zeros(3, 4))
    assert found.detach() == pytest.approx(wanted.detach(), abs=1e-6)


def test_networks_side_by_side_score_as_the_mean_of_each(split: Split) -> None:
    tables, rows = split.tables, split.test_rows
    ends = split.test_begins[tables.data.user[rows]]
    for hidden in ((12, 8), ()):
        recipe = replace(SMALL, epochs=1, hidden=hidden, networks=2)
        parts = [meta_train(tables, split.test_begins, part_of(recipe), seed) for seed in (0, 1)]
        assert parts[0].recipe.size == 3
        joint = together(parts, tables, recipe)
        apart = np.mean([adapted_scores(each, tables, rows, ends, steps=0) for each in parts], axis=0)
        assert adapted_scores(joint, tables, rows, ends, steps=0) == pytest.approx(apart, abs=1e-6)
        plain = np.mean([plain_scores(each, tables, rows) for each in parts], axis=0)
        assert plain_scores(joint, tables, rows) == pytest.approx(plain, abs=1e-6)
        # one network twice: its embedding at the same prior, twice over
        twice, alone = together([parts[0]] * 2, tables, recipe), parts[0]
        found, one = everyone(split, twice), everyone(split, alone)
        assert found == pytest.approx(torch.cat([one, one], 1), abs=1e-4)


def test_several_networks_of_any_method_count_by_their_mean(split: Split) -> None:
    tables, rows = split.tables, split.test_rows
    ends = split.test_begins[tables.data.user[rows]]
    own = replace(RECIPES["mf"], epochs=1)
    each = [fit("mf", tables, split.train_ends, seed, replace(own, networks=1)).score(rows, ends) for seed in (2, 3)]
    assert fit("mf", tables, split.train_ends, 1, replace(own, networks=2)).score(rows, ends) == pytest.approx(np.mean(each, axis=0))


class Quadratic(Learner):
    """A task loss of a (w - c)^2 / 2 in one weight, to compare with derivatives by hand."""

    a, c = 0.8, 2.0

    def support_loss(self, moved: Weights, *_: object) -> Tensor:
        return self.a * (moved["meta.out.bias"][0] - self.c) ** 2 / 2


@pytest.mark.parametrize("second_order", [True, False])
def test_a_step_of_maml_is_that_of_derivatives_by_hand(split: Split, second_order: bool) -> None:
    recipe = replace(GRADIENT, steps=2, inner_rate=0.3, second_order=second_order)
    quadratic = Quadratic(
        Learner.build(split.tables, recipe, 0).model, recipe, split.tables.member_features, split.tables.item_features
    )
    bias, rate = quadratic.model.meta.out.bias, quadratic.rates["meta out bias"]
    with torch.no_grad():
        bias.fill_(0.5)
    weights = quadratic.adapted(torch.arange(1), split.tables.support(np.arange(1), split.test_begins[:1], 4))
    adapted = weights["meta.out.bias"][0, 0]
    a, c, step, w, b, d = Quadratic.a, Quadratic.c, 0.3, 0.5, 1.7, -0.4
    w1 = w - step * a * (w - c)
    w2 = w1 - step * a * (w1 - c)
    assert adapted.item() == pytest.approx(w2, rel=1e-6)
    (b * (adapted - d) ** 2 / 2).backward()
    through = (1 - step * a) ** 2 if second_order else 1.0
    assert float(bias.grad[0]) == pytest.approx(b * (w2 - d) * through, rel=1e-5)
    # d w2 / d log step, step = exp(log step): - step a [(w1 - c) + (1 - step a) (w - c)], or without second derivatives' path
    by_rate = -step * a * ((w1 - c) + (1 - step * a if second_order else 1.0) * (w - c))
    assert float(rate.grad) == pytest.approx(b * (w2 - d) * by_rate, rel=1e-5)


def test_a_meta_embedding_rests_on_its_member_alone(split: Split, learner: Learner) -> None:
    together = everyone(split, learner)
    alone = learner.embeddings(np.array([4]), split.tables.support(np.array([4]), split.test_begins[[4]], 12))
    assert alone[0] == pytest.approx(together[4], abs=1e-6)
    zero = learner.model.meta(split.tables.member_features[:3], torch.arange(3)).sum()
    (gradient,) = torch.autograd.grad(zero, learner.model.item.weight, allow_unused=True)
    assert gradient is None  # no item in it before adaptation, and after it those of the support set only
    other = Tables(replace(split.tables.data, item=np.where(split.tables.data.user == 5, 0, split.tables.data.item)))
    changed = learner.embeddings(np.arange(30), other.support(np.arange(30), split.test_begins, 12))
    assert torch.equal(changed[:5], together[:5])
    assert not torch.equal(changed[5], together[5])


def test_no_test_interaction_reaches_training_or_a_support_set(data: Interactions) -> None:
    """Test interactions with other labels and ratings have the same scores; with other items and times too, so have those before them, and
    all networks are the same."""
    parts = data.split_by_history()
    test, draw = parts == 2, np.random.default_rng(0)
    data = replace(data, rating=np.where(data.liked, draw.integers(4, 6, len(data)), draw.integers(1, 4, len(data))).astype(np.float32))
    turned = replace(data, liked=np.where(test, ~data.liked, data.liked), rating=np.where(test, 6 - data.rating, data.rating))
    other = replace(turned, item=np.where(test, (data.item + 7) % data.items, data.item), time=data.time + 1000 * test)
    splits, trained = [Split.of(each, parts) for each in (data, turned, other)], ({}, {}, {})
    rows, ends = splits[0].test_rows, splits[0].test_begins[data.user[splits[0].test_rows]]
    before, known = np.flatnonzero(parts == 1), splits[0].train_ends[data.user[parts == 1]]
    for name in METHODS:
        recipe = RECIPES.get(OF.get(name, name))
        recipe = None if recipe is None else replace(recipe, epochs=1, **({} if recipe.newton else {"networks": 1}))
        fitted = [fit(name, split.tables, split.test_begins, 0, recipe, None, networks)
                  for split, networks in zip(splits, trained, strict=True)]  # fmt: skip
        scores = fitted[0].score(rows, ends)
        assert np.array_equal(scores, fitted[1].score(rows, ends)), name
        assert np.isfinite(scores).all()
        for each in fitted[1:]:
            assert np.array_equal(each.score(before, known), fitted[0].score(before, known)), name
    for key, network in trained[0].items():
        for networks in trained[1:]:
            assert all(torch.equal(value, networks[key].state_dict()[part]) for part, value in network.state_dict().items()), key
    split = Split.of(data, parts)
    tasks = stretches(split.tables, split.test_begins, SMALL, torch.Generator().manual_seed(0))
    assert (tasks[:, 1] <= tasks[:, 2]).all()
    assert (tasks[:, 2] < tasks[:, 3]).all()
    assert (tasks[:, 3] <= split.test_begins[tasks[:, 0]]).all()
    assert (tasks[:, 3] - tasks[:, 2]).sum() == (parts < 2).sum()  # every training interaction is a query once


def test_a_support_set_that_would_hold_what_is_scored_is_refused(split: Split, learner: Learner) -> None:
    rows = split.test_rows[:2]
    with pytest.raises(TrainingError, match="after the interaction that is scored"):
        adapted_scores(learner, split.tables, rows, rows + 1)


def test_training_goes_on_after_an_interrupt_to_the_same_bits(split: Split, learner: Learner, tmp_path: Path) -> None:
    def stop(epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    place = tmp_path / "kept.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        meta_train(split.tables, split.test_begins, SMALL, 1, place, stop)
    resumed = meta_train(split.tables, split.test_begins, SMALL, 1, place)
    assert resumed.version == learner.version
    with pytest.raises(TrainingError, match="another seed"):
        meta_train(split.tables, split.test_begins, SMALL, 2, place)


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0}, {"inner_rate": float("nan")}, {"adapt": "none", "newton": False}, {"hidden": (3,)}, {"product": False},
        {"id_dropout": 1.0}, {"steps": -1}, {"networks": 0}, {"networks": 5},
    ],
)
def test_recipes_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(TrainingError, match=f"meta.*{next(iter(bad))}"):
        MetaRecipe(**bad)  # type: ignore[arg-type]


# ---- quality


def test_metrics_are_those_of_scikit_learn(generator: torch.Generator) -> None:
    draw = np.random.default_rng(4)
    user = draw.integers(0, 12, 300)
    liked, score = draw.random(300) < 0.4, np.round(draw.normal(size=300), 1)  # with ties
    ranking = Ranking(user, liked, score)
    found = ranking.metrics().iloc[0]
    assert found["auc"] == pytest.approx(roc_auc_score(liked, score), abs=1e-12)
    each = [(roc_auc_score(liked[user == u], score[user == u]), (user == u).sum()) for u in range(12)]
    assert found["gauc"] == pytest.approx(np.average([a for a, _ in each], weights=[n for _, n in each]), abs=1e-12)
    smooth = score + 1e-6 * draw.normal(size=300)  # ties have no one NDCG
    ndcg = [ndcg_score([liked[user == u]], [smooth[user == u]], k=10) for u in range(12)]
    assert Ranking(user, liked, smooth).metrics()["ndcg"].iloc[0] == pytest.approx(np.mean(ndcg), abs=1e-12)
    assert found["log_loss"] == pytest.approx(log_loss(liked, 1 / (1 + np.exp(-score))), abs=1e-12)
    recalled = [liked[user == u][np.argsort(-smooth[user == u])[:10]].sum() / liked[user == u].sum() for u in range(12)]
    assert Ranking(user, liked, smooth).metrics()["recall"].iloc[0] == pytest.approx(np.mean(recalled), abs=1e-12)
    assert Ranking(user, liked, np.full(300, 50.0)).metrics()["calibration"].iloc[0] == pytest.approx(1 - liked.mean(), abs=1e-12)
    weights = resamples(12, 3, seed=1)
    assert ranking._auc(weights) == pytest.approx(ranking._auc_by_ranks(weights), abs=1e-12)
    for row, result in zip(weights, ranking.metrics(weights)["auc"], strict=True):
        again = np.concatenate([np.repeat(np.flatnonzero(user == u), int(row[u])) for u in range(12)])
        assert result == pytest.approx(roc_auc_score(liked[again], score[again]), abs=1e-12)


def test_leads_are_paired_and_bands_hold_what_they_should() -> None:
    draw = np.random.default_rng(0)
    user, liked = np.repeat(np.arange(40), 20), draw.random(800) < 0.5
    good, bad = liked + draw.normal(size=800), liked + 3 * draw.normal(size=800)
    found = table(
        {
            "meta": [Ranking(user, liked, good)],
            "other": [Ranking(user, liked, bad)],
            "same": [Ranking(user, liked, good)],
        }
    )
    auc = found[found["metric"] == "auc"].set_index("method")
    assert auc.loc["other", "lead_low"] > 0
    assert auc.loc["other", "lead"] == pytest.approx(auc.loc["meta", "mean"] - auc.loc["other", "mean"])
    assert (auc.loc["same", ["lead", "lead_low", "lead_high"]] == 0).all()
    assert (auc.loc["same", ["joint_low", "joint_high"]] == 0).all()
    assert auc.loc["other", "joint_low"] > 0
    assert found["method"].tolist() == [name for name in ("meta", "other", "same") for _ in METRICS]
    assert (auc["low"] < auc["mean"]).all()
    assert (auc["mean"] < auc["high"]).all()


def test_joint_bands_hold_all_leads_together() -> None:
    """Of 400 draws of ten leads that are 0, independent: each by itself 95 % of the time, all ten together 60 %; joint bands 95 %."""
    draw = np.random.default_rng(0)
    held, alone = 0, 0
    for _ in range(400):
        leads = draw.normal(size=10)
        bands = joint_bands(leads, leads + draw.normal(size=(400, 10)))
        held += ((bands[:, 0] <= 0) & (bands[:, 1] >= 0)).all()
        alone += (np.abs(leads) <= 1.96).all()
    assert held / 400 == pytest.approx(0.95, abs=0.033)  # three standard errors
    assert alone / 400 == pytest.approx(0.95**10, abs=0.075)
    one = draw.normal(0.3, 2.0, size=(100_000, 1))
    assert joint_bands(np.array([0.3]), one)[0] == pytest.approx([0.3 - 1.96 * 2, 0.3 + 1.96 * 2], abs=0.05)  # of one it is its own
    assert joint_bands(np.array([1.0, 2.0]), np.array([[1.0, np.nan]] * 9)).tolist()[0] == [1.0, 1.0]
    assert np.isnan(joint_bands(np.array([1.0, 2.0]), np.array([[1.0, np.nan]] * 9))[1]).all()


@pytest.mark.parametrize("name", ["metaemb", "mwuf"])
def test_what_stands_on_a_factorisation_is_kept_for_that_one(
    name: str, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another recipe of the factorisation and the same folder, the same numbers as in an empty one."""
    rows, own = split.test_rows, replace(RECIPES[name], epochs=1, networks=1)
    ends = split.test_begins[split.tables.data.user[rows]]

    def scores(epochs: int, folder: str) -> np.ndarray:
        monkeypatch.setitem(RECIPES, "mf", replace(RECIPES["mf"], epochs=epochs))
        (tmp_path / folder).mkdir(exist_ok=True)
        return fit(name, split.tables, split.test_begins, 0, own, tmp_path / folder).score(rows, ends)

    first = scores(1, "kept")
    assert np.array_equal(scores(1, "kept"), first)
    second = scores(2, "kept")
    assert np.array_equal(second, scores(2, "empty"))
    assert not np.array_equal(second, first)
    one, other = (tmp_path / "kept").glob(f"{name}-*")
    (ours,) = (tmp_path / "empty").glob(f"{name}-*")
    ours.write_bytes((one if other.name == ours.name else other).read_bytes())  # the other's under this one's name
    with pytest.raises(TrainingError, match="another base"):
        scores(2, "empty")


def test_training_time_of_a_method_is_with_what_it_stands_on(split: Split) -> None:
    trained: dict[tuple[str, int], nn.Module] = {}
    own = replace(RECIPES["mwuf"], epochs=1, networks=1)
    found = fit("mwuf", split.tables, split.test_begins, 0, own, None, trained)
    assert found.seconds == trained["mwuf", 0].seconds + trained["mf", 0].seconds > trained["mwuf", 0].seconds


def test_a_study_is_the_same_with_two_workers(data: Interactions) -> None:
    parts = data.split_by_history()
    found = [study_quality(data, parts, 2, SMALL, methods=("meta", "global"), workers=n).tables() for n in (1, 2)]
    pd.testing.assert_frame_equal(*found, check_exact=True)


def test_several_meta_networks_that_are_not_one_are_refused(data: Interactions) -> None:
    with pytest.raises(TrainingError, match=r"meta\.networks = 2 must be 1 without meta\.newton"):
        study_quality(data, data.split_by_history(), 1, replace(GRADIENT, networks=2))


def test_too_little_to_rank_is_told(data: Interactions) -> None:
    parts = data.split_by_history()
    for changed, told in ((replace(data, liked=np.ones(len(data), bool)), "liked and other interactions before"),
                          (replace(data, liked=data.liked & (parts < 2)), "liked and other interactions among")):  # fmt: skip
        with pytest.raises(DataError, match=told):
            study_quality(changed, parts, 1, SMALL)
    with pytest.raises(DataError, match="2 users or more"):
        study_quality(data, np.where((parts == 2) & (data.user > 0), 1, parts).astype(np.int8), 1, SMALL)


def test_an_old_embedding_rests_on_as_much_as_a_new_one(split: Split, learner: Learner) -> None:
    found = staleness(learner, split, missed=(0, 3), hours=(0.0, 5.0), window=8)
    assert (found["support"] >= 4).all()
    assert set(found["kind"]) == {"interactions", "hours"}
    for _, part in found.groupby("kind"):
        assert part["interactions"].nunique() == 1
        assert (part.iloc[0][["loss_low", "loss_high"]] == 0).all()
    assert staleness(learner, split, missed=(0, 500), window=8).empty  # nobody has so long a history


def test_refreshes_are_scored_by_what_came_before_them(data: Interactions) -> None:
    tables = Tables(data)
    rows = np.arange(len(data))
    known = tables.firsts[:-1] + 3
    rows = rows[rows >= known[data.user]]
    for every in (1, 4):
        ends = ends_at(tables, rows, known, every)
        assert (ends <= rows).all()
        assert (rows - ends < every).all()
        assert ((ends - known[data.user[rows]]) % every == 0).all()
    found = refresh_study(data, 1, periods=2, every=(1, 4), methods=("meta", "popularity", "mf"))
    whole = found.quality[found.quality["part"] == "all"].set_index(["policy", "metric"])
    assert whole.loc[("meta, every 4", "auc"), "lead"] == 0
    written = found.refreshes.set_index("policy")["embeddings_written"]
    assert 0 == written["meta, frozen"] < written["meta, every 4"] < written["meta, every 1"]
    assert written["meta, every 1"] <= found.refreshes["interactions"].iloc[0]


def test_members_that_were_not_trained_on_have_the_unknown_ones_vector(split: Split) -> None:
    ends = split.test_begins.copy()
    ends[7] = split.tables.firsts[7]
    found = meta_train(split.tables, ends, SMALL, 0)
    assert found.ids(torch.tensor([6, 7, 30])).tolist() == [6, 30, 30]


# ---- on the chip


def test_networks_for_the_chip_score_as_the_global_block(split: Split, learner: Learner) -> None:
    block, embeddings = learner.model.globals.eval(), everyone(split, learner)
    rows = split.test_rows[:9]
    found = examples(learner, split, rows, split.test_begins[split.tables.data.user[rows]])
    wanted = block(found.inputs)[:, 0].detach()
    assert wanted.numpy() == pytest.approx(
        adapted_scores(learner, split.tables, rows, split.test_begins[split.tables.data.user[rows]]), abs=1e-5
    )
    assert CandidateScorer(block)(found.inputs.T[None, :, :, None])[0, 0, :, 0].detach() == pytest.approx(
        wanted, abs=1e-5
    )
    member, item = (torch.from_numpy(getattr(split.tables.data, name)[rows]) for name in ("user", "item"))
    scorer = LookupScorer(block, embeddings, learner.item_vectors())
    rest = found.inputs[:, embeddings.shape[1] + learner.model.item_size :]
    assert scorer(member, item, rest)[:, 0].detach() == pytest.approx(wanted, abs=1e-5)
    both = TwoClasses(block)(found.inputs[:, :, None, None]).detach()
    assert both[:, 1] - both[:, 0] == pytest.approx(wanted, abs=1e-5)


def test_retraining_with_noise_leaves_the_given_block_and_changes_its_copy(split: Split, learner: Learner) -> None:
    block = learner.model.globals.eval()
    before = {name: value.clone() for name, value in block.state_dict().items()}
    data = training_examples(learner, split)
    chip = judged_chip(load_chip("isaac-vector"))
    found = retrain_with_noise(block, data, chip, epochs=3)
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in found.state_dict().items())
    loss = nn.functional.binary_cross_entropy_with_logits
    liked = torch.from_numpy(data.liked.astype(np.float32))
    after, at_first = (loss(network(data.inputs)[:, 0], liked).item() for network in (found, block))
    assert after < at_first
    means, errors = [], []
    for network in (found, block):
        on_chip = convert(network, chip, calibration_of(data, 0), 0)
        losses = []
        for seed in range(8):
            program(on_chip, seed)
            with torch.no_grad():
                losses.append(loss(on_chip(data.inputs)[:, 0], liked).item())
        means.append(np.mean(losses))
        errors.append(np.std(losses) / np.sqrt(8))
    assert means[1] - means[0] > 3 * np.hypot(*errors)  # on the same eight chips


@pytest.mark.parametrize("preset", ["isaac-vector", "edge"])
def test_costs_of_refreshes_are_cells_times_pulses(split: Split, learner: Learner, preset: str) -> None:
    chip = judged_chip(load_chip(preset))
    embeddings = everyone(split, learner)
    shown = calibration_of(training_examples(learner, split), 0)
    found = refresh_costs(learner, learner.model.globals.eval(), embeddings, chip, shown, requests=30)
    costs = found.table
    energy, time = chip.device.write_energy, chip.device.write_time
    assert energy
    assert time
    assert chip.device.endurance
    assert costs["pulses"].to_numpy() == pytest.approx(10 * costs["cells"].to_numpy())
    assert costs["energy_J"].to_numpy() == pytest.approx(costs["pulses"].to_numpy() * energy)
    members, one = costs.loc["all meta embeddings"], costs.loc["one member's"]
    assert members["cells"] == 30 * one["cells"]  # 30 members on the wordlines of one row tile
    assert members["time_s"] == pytest.approx(30 * one["time_s"])
    hourly = found.intervals[(found.intervals["what"] == "all meta embeddings") & (found.intervals["hours"] == 1)].iloc[
        0
    ]
    assert hourly["energy_per_day_J"] == pytest.approx(24 * members["energy_J"])
    assert hourly["years"] == pytest.approx(chip.device.endurance / 10 / 24 / 365.25)
    assert found.during["while embeddings are written"].max() > found.during["without"].max()
    mapped = mapping_costs(learner, learner.model.globals, embeddings, chip, 7, shown)
    row = mapped.loc["crossbars"]
    assert row["energy_J"] == pytest.approx(row["member_lookup_J"] + 7 * (row["item_lookup_J"] + row["block_J"]))
    assert row["block_J"] == pytest.approx(
        mapped.loc["buffer", "block_J"], rel=0.05
    )  # values from a table come over the network
    assert row["arrays"] > mapped.loc["buffer", "arrays"]
    assert mapped.loc["buffer", "item_lookup_J"] == 0


def test_a_run_leaves_everything(data: Interactions, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from xbar.reports.recommender import RecommenderSheet, draw_recommender, row_of

    study = RecommenderStudy(
        seeds=2, instances=2, candidates=4, requests=40, methods=("meta", "global", "wide_deep", "mf"), targets=(), workers=1
    )
    sheet = run_recommender(data, load_chip("edge"), tmp_path, study)
    sheet.save(tmp_path)
    loaded = RecommenderSheet.load_from(tmp_path)
    for table_name in ("quality", "on_chips", "load", "intervals"):
        pd.testing.assert_frame_equal(
            getattr(sheet, table_name), getattr(loaded, table_name), check_dtype=False, rtol=1e-9
        )
    paths = draw_recommender(loaded, tmp_path)
    assert {"report.pdf", "report.html", "report_refresh.png", "contents.png", "reproducibility.png"} <= {p.name for p in paths}
    assert all(path.stat().st_size > 1000 for path in paths if path.suffix != ".txt")
    for file in ("during.csv", "by_date.csv", "staleness.csv", "intervals.csv"):  # what results that are passed on may lack
        (tmp_path / file).unlink(missing_ok=True)
    without = RecommenderSheet.load_from(tmp_path)
    request.getfixturevalue("sketched")
    assert draw_recommender(without, tmp_path / "without")
    said = (tmp_path / "summary.txt").read_text()
    assert f"{row_of(sheet.quality, 'meta')['mean']:.4f}" in said
    assert "Synthetic" in said
    again = run_recommender(data, load_chip("edge"), tmp_path, study)  # from checkpoints
    pd.testing.assert_frame_equal(again.quality, sheet.quality)
    with pytest.raises(TrainingError, match="other data"):
        run_recommender(synthetic(Taste(members=9, items=9, interactions=5)), load_chip("edge"), tmp_path, study)


def test_the_lookup_network_is_traced_as_look_ups(split: Split, learner: Learner) -> None:
    scorer = LookupScorer(learner.model.globals, everyone(split, learner), learner.item_vectors())
    rest = torch.zeros(2, learner.model.globals.inputs - 6 - learner.model.item_size)
    network = trace(scorer.eval(), (torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), rest))
    assert {layer.name: layer.lookup for layer in network.layers}["member"]
    assert network.layer("item").inputs == 40


def test_an_empty_support_set_is_no_adaptation(learner: Learner) -> None:
    empty = Batch(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, 4), torch.zeros(1, 1), torch.zeros(1, 1))
    adapted = learner.embeddings(np.array([3]), empty)
    assert torch.equal(adapted, learner.embeddings(np.array([3]), empty, steps=0))
