"""``python -m cloister.provider --home DIR [--port N] [--ready FILE]``: serve a broker."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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

from cloister.errors import CloisterError
from cloister.provider import clock, files, lock, shredding
from cloister.provider.broker import Broker
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
            shredding.sweep(home, now=clock.text(clock.Clock().now()))
            broker = Broker(home)
        except CloisterError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return _listen(broker, options)


def _listen(broker: Broker, options: argparse.Namespace) -> int:
    with socket.create_server((options.host, options.port), reuse_port=False) as listener:
        # asyncio sets this only on sockets that name their protocol; without it every reply waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            asyncio.run(_serve(broker, listener, options.ready, options.idle_exit))
        except KeyboardInterrupt:
            return 130
        finally:
            broker.close()
            if options.ready:
                options.ready.unlink(missing_ok=True)
    return 0


class _Log:
    """Standard error that loses lines rather than requests: a full disk must not stop signed answers."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


async def _serve(broker: Broker, listener: socket.socket, ready: Path | None, idle_exit_s: float) -> None:
    activity = Activity()
    server = uvicorn.Server(
        uvicorn.Config(create_app(broker, activity), log_level="warning", access_log=False, lifespan="off")
    )
    host, port = listener.getsockname()[:2]
    if ready:
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        files.write_private(ready, json.dumps({"url": url, "did": broker.did, "pid": os.getpid()}).encode())
    beside = [asyncio.create_task(_sweep(broker))]
    if idle_exit_s > 0:
        beside.append(asyncio.create_task(_watch(server, activity, idle_exit_s)))
    await server.serve(sockets=[listener])
    for task in beside:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


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
    parser.add_argument("--idle-exit", type=float, default=0, help="seconds without a request after which to stop")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
