"""Scores over HTTP: starlette and uvicorn around a `Scorer`, metrics by prometheus_client; the extra `serve` brings them.

    POST /score   {"member": "196", "items": ["242", "302"], "time": 880000000}, time in Unix seconds, now where it is left out
                  {"version": 3, "known": true, "scores": [0.7, null], "unknown_items": ["302"]}: logits, the higher the better
    GET /health   the version that serves; 503 where none does
    GET /metrics  Prometheus text

The store is opened to read only: refreshes run beside, in other processes, and the version that they publish, or that is rolled back
to, is served from the next request on. Scoring runs in threads, so that a slow disk holds up no other request. There is no
authentication and no encryption: the server listens on this computer alone unless told otherwise, and what stands before it has both.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xbar.workloads.recommender.scorer import Scorer, Scores
from xbar.workloads.recommender.store import DamageError, EmbeddingReader, StoreError

try:
    import anyio.to_thread
    import uvicorn
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise StoreError(f"serving needs {error.name}; install it with: pip install 'xbar[serve]'") from None

MOST_ITEMS = 10_000  # of a request
LOOKED_UP_EVERY = 0.5  # s: which version serves, so that the network of a new one is at hand before it is asked for
SECONDS = (2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0)  # edges of the histogram of latencies


class Asked(BaseModel):
    """What /score is asked."""

    model_config = ConfigDict(extra="forbid", strict=True)

    member: str
    items: Annotated[list[str], Field(min_length=1, max_length=MOST_ITEMS)]
    time: Annotated[int | None, Field(ge=0, lt=2**53)] = None


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made = partial(Counter, registry=self.registry)
        self.requests = made("xbar_requests", "Requests for scores, by status of the answer", ["status"])
        self.unknown_members = made("xbar_unknown_members", "Requests of members without an embedding, scored with the default")
        self.unknown_items = made("xbar_unknown_items", "Items asked for that the network does not know, left without a score")
        self.damaged = made("xbar_damaged_embeddings", "Embeddings that did not bear their checksum and were not served")
        self.seconds = Histogram("xbar_score_seconds", "Time of a request for scores [s]", buckets=SECONDS, registry=self.registry)
        self.version = Gauge("xbar_version", "Number of the version that serves", registry=self.registry)
        self.members = Gauge("xbar_members", "Members of the version that serves", registry=self.registry)


def application(store: EmbeddingReader, threads: int = 4, clock: Callable[[], float] = time.time) -> Starlette:
    """The server for a store that it reads; clock: seconds, for requests that name no time. Raises StoreError where nothing serves."""
    scorer, metrics = Scorer(store), Metrics()

    def looked_up() -> dict[str, Any]:
        scorer.prepare()
        serving = store.serving()
        metrics.version.set(serving.number)
        metrics.members.set(serving.members)
        return {"version": serving.number, "learner": serving.learner, "members": serving.members, "through": serving.through}

    def answered(asked: Asked) -> Scores:
        return scorer.score(asked.member, asked.items, int(clock()) if asked.time is None else asked.time)

    async def score(request: Request) -> Response:
        began = time.perf_counter()
        status, told = await _scored(await request.body())
        metrics.requests.labels(str(status)).inc()
        metrics.seconds.observe(time.perf_counter() - began)
        return JSONResponse(told, status)

    async def _scored(body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            asked = Asked.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            return 400, {"error": f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"}
        try:
            found = await anyio.to_thread.run_sync(answered, asked)
        except DamageError as error:
            metrics.damaged.inc()
            return 500, {"error": str(error)}
        except StoreError as error:
            return 503, {"error": str(error)}
        metrics.unknown_members.inc(not found.known)
        metrics.unknown_items.inc(len(found.unknown_items))
        scores = [None if np.isnan(value) else float(value) for value in found.logits]
        return 200, {"version": found.version, "known": found.known, "scores": scores, "unknown_items": list(found.unknown_items)}

    async def health(_: Request) -> Response:
        try:
            return JSONResponse({"status": "serving"} | await anyio.to_thread.run_sync(looked_up))
        except StoreError as error:
            return JSONResponse({"status": "not serving", "error": str(error)}, 503)

    async def told(_: Request) -> Response:
        return Response(exposition.generate_latest(metrics.registry), media_type=exposition.CONTENT_TYPE_LATEST)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads

        async def follow() -> None:
            while True:
                with contextlib.suppress(StoreError):  # /health tells of it
                    await anyio.to_thread.run_sync(looked_up)
                await asyncio.sleep(LOOKED_UP_EVERY)

        task = asyncio.create_task(follow())
        yield
        task.cancel()

    looked_up()
    routes = [Route("/score", score, methods=["POST"]), Route("/health", health), Route("/metrics", told)]
    return Starlette(routes=routes, lifespan=lifespan)


def serve(
    path: Path, host: str = "127.0.0.1", port: int = 8000, threads: int = 4, verify: bool = False, say: Callable[[str], None] = print
) -> None:
    """Serve a store until interrupted (SIGINT or SIGTERM: requests that are being answered are finished). port 0: any that is free;
    verify: check every embedding first; say is told the address. Raises StoreError where nothing serves, OSError where the port
    cannot be had."""
    torch.set_num_threads(1)  # requests run beside each other instead
    with EmbeddingReader(path) as store:
        if verify:
            say(f"{store.verify():,} embeddings verified")
        app = application(store, threads)
        serving = store.serving()
        with socket.create_server((host, port), backlog=2048) as listening:
            # What accepted sockets take over: asyncio sets it only where a socket names its protocol, and answers came 40 ms later without.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            place = "{}:{}".format(*listening.getsockname()[:2])
            say(f"serving version {serving.number}, {serving.members:,} members, at http://{place} (/score, /health, /metrics)")
            config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=10)
            uvicorn.Server(config).run(sockets=[listening])
