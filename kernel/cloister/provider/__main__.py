"""``python -m cloister.provider --home DIR [--port N] [--ready FILE]``: serve a broker."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, cast

import structlog
import uvicorn

from cloister.errors import CloisterError, MalformedError
from cloister.provider import clock, files, lock, operators, rotation, shredding
from cloister.provider.broker import Broker
from cloister.provider.connections import MOST, Connections
from cloister.provider.home import BrokerHome
from cloister.provider.server import Activity, create_app

SWEEP_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped, or until idle for ``--idle-exit`` seconds; return the exit code."""
    options = _parse(arguments)
    # One JSON object a line on stderr: operations, statuses and sizes; never values, keys or receipts.
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Log())),
    )
    with contextlib.ExitStack() as held:
        try:
            home = BrokerHome(options.home)
            home.identity()
            held.enter_context(lock.held(options.home))
            home.clear_leftovers()
            if rotation.is_cut_short(home):
                _finish_rotation(home)
            shredding.sweep(home, now=clock.text(clock.Clock().now()))
            broker = Broker(home)
        except CloisterError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return _listen(broker, options)


def _finish_rotation(home: BrokerHome) -> None:
    accounts = home.open_accounts()
    try:
        rotation.finish(home, accounts)
    finally:
        accounts.close()


def _listen(broker: Broker, options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(_socket((options.host, options.port)))
        try:
            beside = None
            if options.metrics_listen:
                beside = opened.enter_context(_socket(_address(options.metrics_listen)))
                operators.check_listener(broker.home, *beside.getsockname()[:2])
            asyncio.run(_serve(broker, listener, beside, options))
        except CloisterError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            broker.close()
            if options.ready:
                options.ready.unlink(missing_ok=True)
    return 0


def _socket(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.create_server(address, family=family, reuse_port=False)
    # asyncio sets this only on sockets that name their protocol; without it every reply waits 40 ms for an ACK.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise MalformedError(
            "metrics.listen", f"{text!r} is not HOST:PORT", next_step="--metrics-listen 127.0.0.1:9701"
        )
    return host.strip("[]"), int(port)


class _Log:
    """Standard error that loses lines rather than requests: a full disk must not stop signed answers."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


async def _serve(
    broker: Broker, listener: socket.socket, metrics: socket.socket | None, options: argparse.Namespace
) -> None:
    activity = Activity()
    at = None if metrics is None else operators.check_listener(broker.home, *metrics.getsockname()[:2])
    connections = Connections(lambda why: broker.metrics.count("connection", why), most=_most_connections())
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(broker, activity, metrics_at=at),
            http=connections.protocol(),
            ws="none",
            log_level="warning",
            access_log=False,
            lifespan="off",
        )
    )
    ready: Path | None = options.ready
    if ready:
        said = {"url": _url(listener), "did": broker.did, "pid": os.getpid()}
        said |= {} if metrics is None else {"metrics": f"{_url(metrics)}/metrics"}
        files.write_private(ready, json.dumps(said).encode())
    beside = [asyncio.create_task(_sweep(broker))]
    if options.idle_exit > 0:
        beside.append(asyncio.create_task(_watch(server, activity, options.idle_exit)))
    await server.serve(sockets=[listener] if metrics is None else [listener, metrics])
    for task in beside:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _most_connections() -> int:
    """Return how many connections there may be: files and database need descriptors too."""
    if os.name != "posix":
        return MOST
    resource = importlib.import_module("resource")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if soft < 0 else max(16, min(MOST, soft - 128))


async def _sweep(broker: Broker) -> None:
    """Destroy keys whose time is over while the broker runs."""
    while True:
        await asyncio.sleep(SWEEP_S)
        # What cannot be done or written now is tried again the next time.
        with contextlib.suppress(CloisterError, OSError):
            await asyncio.to_thread(shredding.sweep, broker.home, now=broker.now())


async def _watch(server: uvicorn.Server, activity: Activity, idle_exit_s: float) -> None:
    while activity.idle_s() < idle_exit_s:  # noqa: ASYNC110 (requests move the goal; there is no event to wait for)
        await asyncio.sleep(min(1.0, idle_exit_s / 4))
    server.should_exit = True


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cloister.provider", description="Serve a broker.")
    parser.add_argument("--home", type=Path, required=True, help="the broker's directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument(
        "--ready", type=Path, help="JSON file with url, did and pid, written when requests are answered"
    )
    parser.add_argument(
        "--metrics-listen",
        default="",
        help="HOST:PORT that serves metrics and nothing else; without a token: loopback only",
    )
    parser.add_argument("--idle-exit", type=float, default=0, help="seconds without a request after which to stop")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
