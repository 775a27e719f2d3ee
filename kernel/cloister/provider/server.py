"""The broker's HTTP surface: bytes in, signed bytes out. TLS in front is possible and not relied on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cloister.errors import CloisterError, MalformedError, RefusedError, SignatureError, TrustError, UnavailableError
from cloister.provider import limits, openapi, operators
from cloister.provider import passes as passing
from cloister.provider.anchors import Witnessing
from cloister.provider.broker import Broker
from cloister.provider.connections import prove
from cloister.provider.intake import BODY_S, Lane, too_large
from cloister.provider.office import Office
from cloister.provider.passes import Passes
from cloister.provider.rate import Rate
from cloister.provider.requests import StrangersReply, sender_of
from cloister.wire.address import network

_log = structlog.get_logger("cloister.broker")


class Activity:
    """When the last request that concerned an account came in (for ``--idle-exit``)."""

    def __init__(self) -> None:
        self.latest = time.monotonic()

    def touch(self) -> None:
        """Note a request."""
        self.latest = time.monotonic()

    def idle_s(self) -> float:
        """Return the seconds since the last request."""
        return time.monotonic() - self.latest


STRANGERS_REQUESTS, STRANGERS_BYTES, STRANGERS_THREADS = 64, 32 * 2**20, 8
VAULTS_REQUESTS, VAULTS_BYTES, VAULTS_THREADS = 256, 128 * 2**20, 24


def create_app(
    broker: Broker,
    activity: Activity | None = None,
    *,
    refusals: Rate | None = None,
    metrics_at: operators.Listener | None = None,
    body_s: float = BODY_S,
) -> Starlette:
    """Return the ASGI application of a broker (docs/protocol.md section 5; ``/v1/openapi.json``).

    ``refusals`` is how often one address may be refused before it has to wait; ``metrics_at`` a listener that serves
    nothing but metrics; ``body_s`` how long a body may take to arrive.
    """
    seen = activity or Activity()
    hellos, asks, refusals = Rate(), Rate(), refusals or Rate()
    office, witnessing = Office(broker), Witnessing(broker)
    passes = Passes(broker.key)
    strangers = Lane(requests=STRANGERS_REQUESTS, most_bytes=STRANGERS_BYTES, threads=STRANGERS_THREADS, body_s=body_s)
    known = Lane(requests=VAULTS_REQUESTS, most_bytes=VAULTS_BYTES, threads=VAULTS_THREADS, body_s=body_s)

    def route(path: str, act: Callable[[bytes], bytes], rate: Rate | None = None, *, vaults: bool = False) -> Route:
        async def endpoint(request: Request) -> Response:
            seen.touch()
            address = network(request.client.host) if request.client else ""
            shown = passes.check(request.headers.get(passing.HEADER, "")) if vaults else None
            try:
                # Whoever sends nonsense is told so for a while, and then has to wait. Many share an address (a proxy, a
                # gateway), so a vault that was admitted is known by its signature and never waits for a stranger.
                waits = not refusals.left(address)
                if (waits and not vaults) or (rate is not None and not rate.allows(address)):
                    raise _busy()
                size = _declared(request, limits.largest(path, known=shown is not None))
                lane, sender = (strangers, address) if shown is None else (known, shown.vault_id)
                async with lane.body(request.stream(), key=sender, size=size) as body:
                    if waits and not await lane.answer(broker.knows, body):
                        raise _busy()
                    answer = await lane.answer(act, body)
                    response = Response(answer, media_type="application/json")
                    if isinstance(answer, StrangersReply):
                        refusals.allows(address)
                    elif vaults:
                        prove(request.scope)
                        if shown is None or shown.old:
                            response.headers[passing.HEADER] = passes.issue(sender_of(body))
            except CloisterError as error:
                # Of a full broker nobody knows whose fault it is.
                if not isinstance(error, UnavailableError):
                    refusals.allows(address)
                return _refused(broker, path, error)
            except ClientDisconnect:
                return Response(status_code=400)
            return response

        return Route(path, endpoint, methods=["POST"])

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok" if broker.restored is None else "read-only"})

    async def metrics(request: Request) -> Response:
        try:
            asked = request.headers.get("authorization", "")
            operators.check(broker.home, metrics_at, server=request.scope.get("server"), authorization=asked)
            text = await run_in_threadpool(broker.metrics_text)
        except CloisterError as error:
            return _refused(broker, "/v1/metrics", error)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    said = json.dumps(openapi.document()).encode()

    async def document(_request: Request) -> Response:
        return Response(said, media_type="application/json")

    app = Starlette(
        routes=[
            Route("/v1/health", health, methods=["GET"]),
            Route("/v1/metrics", metrics, methods=["GET"]),
            Route("/v1/openapi.json", document, methods=["GET"]),
            route("/v1/hello", broker.hello, hellos),
            route("/v1/session", broker.session, vaults=True),
            route("/v1/append", broker.append, vaults=True),
            route("/v1/settle", broker.settle, vaults=True),
            route("/v1/tip", broker.tip, vaults=True),
            route("/v1/office", office.ask, asks),
            route("/v1/anchor", witnessing.put, asks),
            route("/v1/anchor/newest", witnessing.newest, asks),
        ]
    )
    if metrics_at is not None:
        app.add_middleware(_OnlyMetrics, port=metrics_at.port)
    return app


class _OnlyMetrics:
    """Serves nothing but metrics at the listener for them, and there also by the name that Prometheus asks for."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app, self._port = app, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        if server is not None and server[1] == self._port:
            path = scope["path"] if scope["path"] in operators.PATHS else "/"
            scope = {**scope, "path": "/v1/metrics" if path != "/" else path}
        await self._app(scope, receive, send)


def _busy() -> UnavailableError:
    return UnavailableError(_BUSY, "too many requests of this kind from this address")


def _declared(request: Request, most: int) -> int:
    """Return how long the body says it is, before any of it is read."""
    text = request.headers.get("content-length")
    if text is None:
        raise MalformedError(
            "broker.length", "a request says how long it is", next_step="send a content-length, not chunks"
        )
    # The server refuses whatever is no number before this is asked.
    if (size := int(text)) > most:
        raise too_large(most)
    return size


def _refused(broker: Broker, path: str, error: CloisterError) -> Response:
    status = _http_status(error)
    _log.warning("refused", path=path, code=error.code)
    broker.metrics.count("refused", error.code if error.code in _COUNTED else str(status))
    return JSONResponse({"error": error.to_dict()}, status_code=status)


_BUSY = "broker.busy"
_STATUS = {"ledger.size": 413, "broker.length": 411, "broker.slow": 408, _BUSY: 429}
_COUNTED = frozenset({*_STATUS, "broker.full", "metrics.token"})


def _http_status(error: CloisterError) -> int:
    if error.code in _STATUS:
        return _STATUS[error.code]
    if isinstance(error, SignatureError | RefusedError):
        return 403
    if isinstance(error, TrustError):
        return 409
    if isinstance(error, UnavailableError):
        return 503
    return 400 if isinstance(error, MalformedError) else 500
