"""The broker's HTTP surface: bytes in, signed bytes out. TLS in front is possible and not relied on."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cloister.errors import CloisterError, MalformedError, RefusedError, SignatureError, TrustError, UnavailableError
from cloister.provider import openapi
from cloister.provider.anchors import Witnessing
from cloister.provider.broker import Broker
from cloister.provider.office import Office
from cloister.provider.rate import Rate, network
from cloister.provider.requests import StrangersReply

MAX_BODY = 32 * 2**20
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


def create_app(broker: Broker, activity: Activity | None = None, *, refusals: Rate | None = None) -> Starlette:
    """Return the ASGI application of a broker (docs/protocol.md section 5; ``/v1/openapi.json``).

    ``refusals`` is how often one address may be refused before it has to wait.
    """
    seen = activity or Activity()
    hellos, asks, refusals = Rate(), Rate(), refusals or Rate()
    office, witnessing = Office(broker), Witnessing(broker)

    def route(path: str, act: Callable[[bytes], bytes], rate: Rate | None = None, *, vaults: bool = False) -> Route:
        async def endpoint(request: Request) -> Response:
            seen.touch()
            address = network(request.client.host) if request.client else ""
            try:
                # Whoever sends nonsense is told so for a while, and then has to wait. Many share an address (a proxy, a
                # gateway), so a vault that was admitted is known by its signature and never waits for a stranger.
                waits = not refusals.left(address)
                if (waits and not vaults) or (rate is not None and not rate.allows(address)):
                    return _busy()
                body = await _body(request)
                if waits and not await run_in_threadpool(broker.knows, body):
                    return _busy()
                answer = await run_in_threadpool(act, body)
                if isinstance(answer, StrangersReply):
                    refusals.allows(address)
                return Response(answer, media_type="application/json")
            except CloisterError as error:
                _log.warning("refused", path=path, code=error.code)
                broker.metrics.count("refused", str(_http_status(error)))
                refusals.allows(address)
                return JSONResponse({"error": error.to_dict()}, status_code=_http_status(error))
            except ClientDisconnect:
                return Response(status_code=400)

        return Route(path, endpoint, methods=["POST"])

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok" if broker.restored is None else "read-only"})

    async def metrics(_request: Request) -> Response:
        try:
            text = await run_in_threadpool(broker.metrics_text)
        except CloisterError as error:
            return JSONResponse({"error": error.to_dict()}, status_code=_http_status(error))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def document(_request: Request) -> Response:
        return JSONResponse(openapi.document())

    return Starlette(
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


def _busy() -> Response:
    error = UnavailableError("broker.busy", "too many requests of this kind from this address")
    return JSONResponse({"error": error.to_dict()}, status_code=429)


async def _body(request: Request) -> bytes:
    parts = bytearray()
    async for chunk in request.stream():
        parts += chunk
        if len(parts) > MAX_BODY:
            raise MalformedError("ledger.size", "the request is too large")
    return bytes(parts)


def _http_status(error: CloisterError) -> int:
    if isinstance(error, SignatureError | RefusedError):
        return 403
    if isinstance(error, TrustError):
        return 409
    if isinstance(error, UnavailableError):
        return 503
    return 400 if isinstance(error, MalformedError) else 500
