"""What `xbar serve` and `xbar refresh` do, with what `xbar run recommender` left in its folder."""

import argparse
import contextlib
from pathlib import Path

import numpy as np

from xbar.workloads.progress import steps
from xbar.workloads.recommender.learning import Tables
from xbar.workloads.recommender.refresh import load_learner, refresh
from xbar.workloads.recommender.run import LEARNER, STORE, load_interactions
from xbar.workloads.recommender.store import EmbeddingStore, StoreError, Version
from xbar.workloads.study.workers import cluster, local


def serve_command(options: argparse.Namespace) -> int:
    """Answer requests until interrupted."""
    from xbar.workloads.recommender.server import serve  # here: it needs the extra `serve`

    serve(_store_of(options.directory), options.host, options.port, options.threads, options.verify)
    return 0


def refresh_command(options: argparse.Namespace) -> int:
    """Refresh the embeddings, or go back to a version, and remove old ones; the exit code is 1 where other shards are awaited."""
    path = _store_of(options.directory)
    if not path.is_file():
        raise StoreError(f"{path}: no such file of embeddings; xbar run recommender --out DIR makes one")
    with EmbeddingStore(path) as store:
        if options.switch is not None:
            told = _words(store.roll_back(None if options.switch == 0 else options.switch))
        else:
            found = _refreshed(store, options)
            if found is None:
                return 1
            told = found
        if options.keep is not None:
            told += f"; {store.prune(options.keep):,} embeddings of older versions removed"
    print(told)
    return 0


def _refreshed(store: EmbeddingStore, options: argparse.Namespace) -> str | None:
    """What the job did, in words; None, told, where members of other shards are missing."""
    tables = Tables(load_interactions(options.data, options.seed))
    learner = load_learner(path_of(options.directory) / LEARNER, tables)
    ends = tables.firsts[1:]
    if options.until is not None:
        ends = tables.firsts[:-1] + np.bincount(tables.data.user[tables.data.time < options.until], minlength=tables.data.users)
    with contextlib.ExitStack() as stack, steps() as step:
        executor = None
        if options.scheduler is not None:
            executor = stack.enter_context(cluster(options.scheduler))
        elif options.workers > 1:
            executor = stack.enter_context(local(options.workers))
        found = refresh(store, learner, tables, ends, lambda done, of: step(f"{done:,} of {of:,} members adapted"),
                        executor=executor, shard=options.shard)  # fmt: skip
    told = f"{found.adapted:,} members adapted, {found.kept:,} kept"
    if found.version is None:
        print(f"{told}; {found.missing:,} members of other shards are missing, and the version before serves on")
        return None
    return f"{told}; {_words(found.version)}"


def _words(version: Version) -> str:
    return f"version {version.number} serves, {version.members:,} members"


def path_of(directory: Path) -> Path:
    """The folder of a run, of which the store may be named instead."""
    return directory.parent if directory.is_file() else directory


def _store_of(directory: Path) -> Path:
    return directory if directory.is_file() else directory / STORE
