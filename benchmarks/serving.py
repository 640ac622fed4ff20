"""The recommender's server over loopback: latencies, and requests that failed, while versions are switched and processes are killed.

    python benchmarks/serving.py [--members 5000] [--seconds 10] [--clients 4] [--items 50]     # on Linux

Synthetic members and a network with initial weights, whose scores cost what a trained one's do. Clients keep their connections and ask
again as soon as they have an answer, so that latency is of a server that is always busy. Then: the same while new versions are published
and rolled back; a refresh killed with -9 again and again until it is through; the server killed with -9 and begun anew. Latencies are of a
computer that does nothing else; processor time a request, which is told too, says what they come to where it does.
"""

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from xbar.workloads.recommender.interactions import Taste, synthetic
from xbar.workloads.recommender.learning import Learner, MetaRecipe, Tables
from xbar.workloads.recommender.refresh import load_learner, refresh, save_learner
from xbar.workloads.recommender.run import LEARNER, STORE
from xbar.workloads.recommender.store import EmbeddingReader, EmbeddingStore

SERVER = "import sys, pathlib; from xbar.workloads.recommender.server import serve; serve(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]))"


def tables_of(members: int) -> Tables:
    return Tables(synthetic(Taste(members=members, interactions=30), seed=0))


def job(folder: Path, members: int, back: int) -> None:
    """A refresh of all members, their last `back` interactions left out."""
    tables = tables_of(members)
    with EmbeddingStore(folder / STORE) as store:
        refresh(store, load_learner(folder / LEARNER, tables), tables, tables.firsts[1:] - back)


def processor(pid: int) -> float:
    """Seconds of the processor that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Clients:
    """Threads that ask for scores; latencies [s], and what was answered with other than 200 or not at all."""

    def __init__(self, server: int, port: int, count: int, members: int, items: int):
        self.server, self.port, self.members, self.items, self.before = server, port, members, items, processor(server)
        self.latencies, self.failed, self.versions = list[float](), list[str](), set[int]()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, number: int) -> None:
        draw = np.random.default_rng(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stop.is_set():
            items = [f"i{item}" for item in draw.integers(400, size=self.items)]
            body = json.dumps({"member": f"m{draw.integers(self.members)}", "items": items, "time": 10**6})
            began = time.perf_counter()
            try:
                connection.request("POST", "/score", body)
                answer = connection.getresponse()
                told = json.loads(answer.read())
                self.versions.add(told.get("version"))
                if answer.status != 200:
                    self.failed.append(str(told))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
                time.sleep(0.01)
                continue
            self.latencies.append(time.perf_counter() - began)

    def told(self, what: str, seconds: float) -> None:
        """End, and print what was seen."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        p50, p99 = 1e3 * np.percentile(self.latencies, (50, 99))
        used = 1e3 * (processor(self.server) - self.before) / len(self.latencies)
        print(f"{what:52}{len(self.latencies) / seconds:8.0f} requests/s  p50 {p50:6.2f} ms  p99 {p99:7.2f} ms  processor {used:5.2f} ms  "
              f"{len(self.failed)} of {len(self.latencies)} failed  versions {sorted(self.versions)}", flush=True)  # fmt: skip
        for failure in self.failed[:3]:
            print("   ", failure)


def started(store: Path, port: int = 0) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, "-u", "-P", "-c", SERVER, str(store), str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(re.findall(r":(\d+) ", process.stdout.readline())[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("members", 5000), ("seconds", 10), ("clients", 4), ("items", 50)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    members = options.members
    tables = tables_of(members)
    learner = Learner.build(tables, MetaRecipe(support=32), 0).eval()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_learner(learner, tables, folder / LEARNER)
        began = time.perf_counter()
        with EmbeddingStore(folder / STORE) as store:
            refresh(store, learner, tables, tables.firsts[1:] - 3)
        print(f"{members:,} members adapted and published: {time.perf_counter() - began:.1f} s")
        process, port = started(folder / STORE)
        try:
            for clients in dict.fromkeys((1, options.clients)):
                asking = Clients(process.pid, port, clients, members, options.items)
                time.sleep(options.seconds)
                asking.told(f"{clients} clients", options.seconds)
            asking, began = Clients(process.pid, port, options.clients, members, options.items), time.perf_counter()
            with EmbeddingStore(folder / STORE) as store:
                other = Learner.build(tables, MetaRecipe(support=32), 1).eval()
                for change in (lambda: refresh(store, learner, tables, tables.firsts[1:] - 2), store.roll_back,
                               lambda: refresh(store, other, tables, tables.firsts[1:] - 2), lambda: store.roll_back(2),
                               lambda: store.prune(1)):  # fmt: skip
                    change()
                    time.sleep(options.seconds / 5)
            asking.told("the same, two versions published, two taken back", time.perf_counter() - began)
            asking, began, kills = Clients(process.pid, port, options.clients, members, options.items), time.perf_counter(), 0
            command = [sys.executable, "-P", __file__, "--job", str(folder), str(members), "1"]
            patience = 5.0
            while True:
                child = subprocess.Popen(command)
                try:
                    assert child.wait(patience) == 0
                    break
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                    kills, patience = kills + 1, 1.6 * patience
            asking.told(f"the same, a refresh killed {kills} times and through", time.perf_counter() - began)
            process.send_signal(signal.SIGKILL)
            process.wait()
            began = time.perf_counter()
            process, port = started(folder / STORE, port)
            print(f"server killed and begun anew at the same port: {time.perf_counter() - began:.1f} s")
            asking = Clients(process.pid, port, options.clients, members, options.items)
            time.sleep(options.seconds)
            asking.told("after that", options.seconds)
        finally:
            process.kill()
            process.wait()
        with EmbeddingReader(folder / STORE) as reader:
            print(f"{reader.verify():,} embeddings verified")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        job(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
