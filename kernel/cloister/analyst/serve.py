"""Runs one proxy as a process: event loop, signals, exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from cloister.analyst import connection_file
from cloister.analyst.agreed import LoadAgreed
from cloister.analyst.chips import OpenBook
from cloister.analyst.proxy import Proxy
from cloister.analyst.session import OpenSession
from cloister.errors import CloisterError


def serve(
    path: Path,
    open_session: OpenSession,
    *,
    entry: str,
    mode: str,
    open_book: OpenBook | None = None,
    load_agreed: LoadAgreed | None = None,
) -> int:
    """Serve the connection file at ``path`` until shutdown; return the process's exit code."""
    logging.basicConfig(level=logging.WARNING, format="cloister proxy: %(levelname)s %(message)s", stream=sys.stderr)
    # Jupyter interrupts by message; a Ctrl-C in a console reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        connection = connection_file.load(path)
        # ZeroMQ's file descriptors need a selector; Windows' default loop has none.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            proxy = Proxy(
                connection, open_session, entry=entry, mode=mode, open_book=open_book, load_agreed=load_agreed
            )
            return runner.run(_serve(proxy))
    except CloisterError as error:
        sys.stderr.write(f"cloister proxy: {error}\n")
        return 2


async def _serve(proxy: Proxy) -> int:
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, proxy.stop)
    return await proxy.run()
