"""The offline job and the online side: refreshes, scores by ids, the server and its switch of versions."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn

from xbar.workloads.cli import main
from xbar.workloads.recommender.interactions import Taste, synthetic
from xbar.workloads.recommender.learning import Learner, MetaRecipe, Tables
from xbar.workloads.recommender.refresh import default_embedding, load_learner, refresh, save_learner
from xbar.workloads.recommender.run import LEARNER, STORE
from xbar.workloads.recommender.scorer import Scorer
from xbar.workloads.recommender.server import application
from xbar.workloads.recommender.store import DamageError, EmbeddingReader, EmbeddingStore, StoreError
from xbar.workloads.training import TrainingError

SMALL = MetaRecipe(epochs=2, tasks=16, support=12, query=4, steps=2, size=6, hidden=(12, 8), batch=64)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables(synthetic(Taste(members=30, items=40, interactions=15), seed=3))


@pytest.fixture(scope="module")
def ends(tables: Tables) -> np.ndarray:
    return tables.firsts[1:] - 2


@pytest.fixture(scope="module")
def learner(tables: Tables) -> Learner:
    """With initial weights: nothing here depends on what they know."""
    return Learner.build(tables, SMALL, 1).eval()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore(tmp_path / "e.sqlite") as found:
        yield found


# ---- the job


def test_a_refresh_adapts_only_members_with_new_interactions(
    store: EmbeddingStore, tables: Tables, ends: np.ndarray, learner: Learner
) -> None:
    later = ends.copy()
    later[[2, 9]] += 1
    first = refresh(store, learner, tables, ends)
    second = refresh(store, learner, tables, later)
    assert (first.adapted, first.kept, second.adapted, second.kept) == (30, 0, 2, 28)
    assert second.version is not None
    assert second.version.through == max(tables.data.time[later - 1])
    before = store.look_up(["m2", "m3"]).vectors
    assert store.roll_back() == first.version
    after = store.look_up(["m2", "m3"]).vectors
    assert np.array_equal(before[1], after[1])
    assert not np.array_equal(before[0], after[0])


def test_what_an_interrupt_left_is_gone_on_from(store: EmbeddingStore, tables: Tables, ends: np.ndarray, learner: Learner,
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("xbar.workloads.recommender.refresh.MEMBERS_AT_ONCE", 8)

    def stop(done: int, of: int) -> None:
        assert of == 30
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refresh(store, learner, tables, ends, stop)
    with pytest.raises(StoreError, match="no version was published"):
        store.serving()
    found = refresh(store, learner, tables, ends)
    assert (found.adapted, found.kept) == (14, 16)


def test_workers_and_shards_make_what_one_process_makes(store: EmbeddingStore, tables: Tables, ends: np.ndarray, learner: Learner,
                                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    refresh(store, learner, tables, ends)
    monkeypatch.setattr("xbar.workloads.recommender.refresh.MEMBERS_AT_ONCE", 4)
    with EmbeddingStore(tmp_path / "parts.sqlite") as parts, ThreadPoolExecutor(2) as pool:
        first = refresh(parts, learner, tables, ends, executor=pool, shard=(0, 2))
        assert (first.version, first.adapted + first.missing) == (None, 30)
        last = refresh(parts, learner, tables, ends, shard=(1, 2))
        assert last.version is not None
        assert (first.adapted + last.adapted, last.version.members) == (30, 30)
        members = tables.data.user_ids
        assert parts.look_up(members).vectors == pytest.approx(store.look_up(members).vectors, abs=1e-6)
        with pytest.raises(StoreError, match="shard must be a number from 0 to 1 of 2, got 2"):
            refresh(parts, learner, tables, ends, shard=(2, 2))


def test_a_kept_learner_is_read_for_more_members(tables: Tables, ends: np.ndarray, learner: Learner, tmp_path: Path) -> None:
    path, data = tmp_path / "learner.pt", tables.data
    save_learner(learner, tables, path)
    more = Tables(replace(data, user_ids=("new", *data.user_ids), user=data.user + 1,
                          user_features=np.concatenate([data.user_features[:1], data.user_features])))  # fmt: skip
    again, wider = load_learner(path, tables), load_learner(path, more)
    assert learner.version == again.version == wider.version
    members = np.arange(30)
    support, shifted = (each.support(members + k, np.concatenate([[0], ends])[members + 1], 12) for k, each in ((0, tables), (1, more)))
    wanted = learner.embeddings(members, support)
    assert torch.equal(again.embeddings(members, support), wanted)
    assert torch.equal(wider.embeddings(members + 1, shifted), wanted)
    assert wider.ids(torch.tensor([0, 1])).tolist() == [31, 1]
    for changed, told in ((replace(data, item_ids=("other", *data.item_ids[1:])), "other items than these.*i0"),
                          (replace(data, user_columns=("other", *data.user_columns[1:])), "other features")):  # fmt: skip
        with pytest.raises(TrainingError, match=told):
            load_learner(path, Tables(changed))
    torch.save({"version": "x"}, path)
    with pytest.raises(TrainingError, match="holds no learner"):
        load_learner(path, tables)


# ---- scores


def test_scores_by_ids_are_those_of_the_adapted_network(store: EmbeddingStore, tables: Tables, ends: np.ndarray, learner: Learner) -> None:
    data = tables.data
    refresh(store, learner, tables, ends)
    scorer = Scorer(store)
    for row in ends[::7]:
        member = data.user[row]
        found = scorer.score(data.user_ids[member], [data.item_ids[data.item[row]], "none", "i3"], int(data.time[row]))
        support = tables.support(np.array([member]), ends[[member]], SMALL.support)
        weights = learner.adapted(torch.tensor([member]), support)
        own = learner.logits(weights, tables.batch(np.array([row]), np.array([row + 1])))
        assert found.logits[0] == pytest.approx(own.detach().numpy()[0, 0], abs=1e-5)
        assert found.known
        assert found.unknown_items == ("none",)
        assert np.isnan(found.logits).tolist() == [False, True, False]
    stranger = scorer.score("nobody", ["i3", "i3"], 0)
    assert not stranger.known
    assert stranger.logits[0] == stranger.logits[1]
    assert np.array_equal(store.look_up(["nobody"]).vectors[0], default_embedding(learner))
    assert scorer.score("nobody", [], 0).logits.shape == (0,)


def test_another_learners_version_is_taken_up_with_its_network(
    store: EmbeddingStore, tables: Tables, ends: np.ndarray, learner: Learner
) -> None:
    refresh(store, learner, tables, ends)
    with EmbeddingReader(store.path) as reader:
        scorer = Scorer(reader)
        first = scorer.score("m1", ["i1"], 0)
        other = Learner.build(tables, replace(SMALL, size=5), 2).eval()
        refresh(store, other, tables, ends)
        second = scorer.score("m1", ["i1"], 0)
        assert (first.version, second.version) == (1, 2)
        assert second.logits != first.logits
        store.roll_back()
        assert scorer.score("m1", ["i1"], 0).logits == first.logits
        store.prune(1)
        with pytest.raises(StoreError, match="has no version 3"):
            store._version(3)
        store.connection.execute("UPDATE networks SET state = 'x'")
        with pytest.raises(DamageError, match="network of the learner"):
            Scorer(reader)


# ---- the server


def ask(port: int, path: str, body: object = None, raw: bytes | None = None) -> tuple[int, Any]:
    """Status and answer of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        given = raw if raw is not None else None if body is None else json.dumps(body).encode()
        connection.request("GET" if given is None else "POST", path, given)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if "json" in (answer.headers["content-type"] or "") else text.decode()
    finally:
        connection.close()


@pytest.fixture
def port(store: EmbeddingStore, tables: Tables, ends: np.ndarray, learner: Learner) -> Iterator[int]:
    """Of a server of a store with one version, in a thread."""
    refresh(store, learner, tables, ends)
    with EmbeddingReader(store.path) as reader, socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(application(reader, threads=2, clock=lambda: 5.0), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def test_the_server_scores_and_tells(port: int, store: EmbeddingStore, tables: Tables, learner: Learner) -> None:
    scorer = Scorer(store)
    status, told = ask(port, "/score", {"member": "m4", "items": ["i1", "what", "i2"], "time": 99})
    wanted = scorer.score("m4", ["i1", "what", "i2"], 99)
    assert (status, told["version"], told["known"], told["unknown_items"]) == (200, 1, True, ["what"])
    assert told["scores"] == [pytest.approx(wanted.logits[0]), None, pytest.approx(wanted.logits[2])]
    now = scorer.score("stranger", ["i1"], 5)
    assert ask(port, "/score", {"member": "stranger", "items": ["i1"]})[1]["scores"] == [pytest.approx(now.logits[0])]
    later = tables.firsts[1:] - 1
    refresh(store, learner, tables, later)
    assert ask(port, "/score", {"member": "m4", "items": ["i1"]})[1]["version"] == 2
    assert ask(port, "/health") == (200, {"status": "serving", "version": 2, "learner": learner.version, "members": 30,
                                          "through": int(tables.data.time[later - 1].max())})  # fmt: skip
    store.connection.execute("UPDATE embeddings SET vector = zeroblob(24) WHERE member = 'm4' AND first = 2")
    status, told = ask(port, "/score", {"member": "m4", "items": ["i1"]})
    assert (status, "damaged" in told["error"]) == (500, True)
    metrics = dict(re.findall(r"^(\w\S*) (\S+)$", ask(port, "/metrics")[1], re.MULTILINE))
    counted = {"xbar_requests_total{status=\"200\"}": 3, "xbar_requests_total{status=\"500\"}": 1, "xbar_unknown_members_total": 1,
               "xbar_unknown_items_total": 1, "xbar_damaged_embeddings_total": 1, "xbar_version": 2, "xbar_members": 30,
               "xbar_score_seconds_count": 4}  # fmt: skip
    assert {name: float(metrics[name]) for name in counted} == counted
    store.connection.execute("DELETE FROM serving")
    assert ask(port, "/health")[0] == ask(port, "/score", {"member": "m4", "items": ["i1"]})[0] == 503


@pytest.mark.parametrize(
    ("body", "told"),
    [(b"nothing", "body: Invalid JSON"), (b"{}", "member: Field required"), (b'{"member": 4, "items": ["i1"]}', "member: .*string"),
     (b'{"member": "m4", "items": []}', "items: .*at least 1"), (b'{"member": "m4", "items": ["i1"], "top": 3}', "top: Extra"),
     (b'{"member": "m4", "items": ["i1"], "time": -1}', "time: .*greater than or equal to 0"), (b'{"member": "\xff"}', "body")],
)  # fmt: skip
def test_requests_that_mean_nothing_are_answered_so(port: int, body: bytes, told: str) -> None:
    status, answer = ask(port, "/score", raw=body)
    assert status == 400
    assert re.match(told, answer["error"])


def test_versions_are_switched_under_load_without_a_failed_request_and_a_killed_server_comes_back(
    store: EmbeddingStore, tables: Tables, ends: np.ndarray, learner: Learner
) -> None:
    """A process that is killed; requests from three threads while versions are published and rolled back."""
    refresh(store, learner, tables, ends)
    other = Learner.build(tables, SMALL, 2).eval()

    def started() -> tuple[subprocess.Popen[str], int]:
        code = "import sys, pathlib; from xbar.workloads.recommender.server import serve; serve(pathlib.Path(sys.argv[1]), port=0)"
        command = [sys.executable, "-c", code, str(store.path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        assert process.stdout is not None
        return process, int(re.findall(r":(\d+) ", process.stdout.readline())[0])

    def requested(stop: threading.Event, answers: list[tuple[int, Any]]) -> None:
        while not stop.is_set():
            answers.append(ask(port, "/score", {"member": "m1", "items": ["i1"], "time": 0}))

    process, port = started()
    try:
        stop, answers = threading.Event(), [list[tuple[int, Any]]() for _ in range(3)]
        threads = [threading.Thread(target=requested, args=(stop, mine)) for mine in answers]
        for thread in threads:
            thread.start()
        steps = (lambda: refresh(store, other, tables, ends), lambda: refresh(store, learner, tables, tables.firsts[1:]),
                 lambda: store.roll_back(2), lambda: store.prune(1))  # fmt: skip
        for step in steps:
            step()
            wanted = {thread: len(mine) + 3 for thread, mine in zip(threads, answers, strict=True)}
            while any(thread.is_alive() and len(mine) < wanted[thread] for thread, mine in zip(threads, answers, strict=True)):
                time.sleep(0.005)
        stop.set()
        for thread in threads:
            thread.join()
        every = [answer for mine in answers for answer in mine]
        assert len(every) >= 36
        assert {status for status, _ in every} == {200}
        scores: dict[int, set[float]] = {told["version"]: set() for _, told in every}
        assert {2, 3} <= set(scores) <= {1, 2, 3}
        for _, told in every:
            scores[told["version"]].add(told["scores"][0])
        assert all(len(mine) == 1 for mine in scores.values())  # each version one embedding and its own network
        before = ask(port, "/score", {"member": "m1", "items": ["i1"], "time": 0})
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process, port = started()
        assert ask(port, "/score", {"member": "m1", "items": ["i1"], "time": 0}) == before
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_commands_refresh_switch_prune_and_serve_what_a_run_left(
    tables: Tables, ends: np.ndarray, learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[tuple[object, ...]] = []
    monkeypatch.setattr("xbar.workloads.recommender.commands.load_interactions", lambda *_: tables.data)
    monkeypatch.setattr("xbar.workloads.recommender.server.serve", lambda *given: served.append(given))
    assert main(["refresh", str(tmp_path)]) == 1
    assert "no such file of embeddings; xbar run recommender" in capsys.readouterr().err
    save_learner(learner, tables, tmp_path / LEARNER)
    with EmbeddingStore(tmp_path / STORE) as store:
        refresh(store, learner, tables, ends)
        middle = int(np.median(tables.data.time))
        assert main(["refresh", str(tmp_path), "--until", str(middle)]) == 0
        assert "version 2 serves, 30 members" in capsys.readouterr().out
        assert store.serving().through < middle
        assert main(["refresh", str(tmp_path), "--shard", "0/2"]) == 1
        assert re.search(r"(\d+) members adapted, .*members of other shards are missing", capsys.readouterr().out)
        assert store.serving().number == 2
        assert main(["refresh", str(tmp_path), "--shard", "1/2", "--keep", "1"]) == 0
        assert [version.number for version in store.versions()] == [3]
        assert main(["refresh", str(tmp_path), "--switch"]) == 1
        assert "no version before 3" in capsys.readouterr().err
    assert main(["serve", str(tmp_path), "--port", "0"]) == 0
    assert served == [(tmp_path / STORE, "127.0.0.1", 0, 4, False)]
    for wrong in (["refresh", "x", "--shard", "2/2"], ["serve", "x", "--port", "70000"]):
        with pytest.raises(SystemExit):
            main(wrong)
