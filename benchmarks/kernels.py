"""Starting kernels and timing cells, shared by the benchmarks."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from jupyter_client import BlockingKernelClient, KernelManager


@contextlib.contextmanager
def fresh_home(idle_s: float = 30) -> Iterator[str]:
    """A ``CLOISTER_HOME`` of our own, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ["CLOISTER_HOME"] = home
        os.environ["CLOISTER_DEMO_IDLE_S"] = str(idle_s)
        try:
            yield home
        finally:
            subprocess.run([sys.executable, "-m", "cloister.demo", "down"], check=False, capture_output=True)


@contextlib.contextmanager
def kernel(name: str) -> Iterator[BlockingKernelClient]:
    """A running kernel and a connected client."""
    manager = KernelManager(kernel_name=name)
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


def run(client: BlockingKernelClient, code: str, timeout: float = 120) -> str:
    """Run a cell; return its text output. Raises RuntimeError if the cell fails."""
    text: list[str] = []

    def collect(message: dict) -> None:
        if message["msg_type"] == "stream":
            text.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=timeout, output_hook=collect)
    if reply["content"]["status"] != "ok":
        raise RuntimeError(reply["content"])
    return "".join(text)


def time_cell_ms(client: BlockingKernelClient, code: str) -> float:
    """Milliseconds until both the reply and idle have arrived."""
    start = time.perf_counter()
    run(client, code)
    return (time.perf_counter() - start) * 1000


def summary(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile of a series, rounded."""
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(len(ordered) * 0.95)], 2),
        "n": len(ordered),
    }
