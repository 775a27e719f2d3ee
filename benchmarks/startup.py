"""Kernel start to first cell, cold (demo world built, pair started) and warm (pair running), beside a plain kernel."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.kernels import fresh_home, kernel, run, summary


def first_cell_s(name: str, code: str = "1") -> float:
    """Seconds from starting the kernel to the end of its first cell."""
    start = time.perf_counter()
    with kernel(name) as client:
        run(client, code)
        return time.perf_counter() - start


def main() -> None:
    """Print one JSON line."""
    release = "import cloister as cl\ncl.table('st_anna.visits').bmi.mean()"
    with fresh_home():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "cloister.demo", "build"], check=True, capture_output=True)
        world_s = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "cloister.demo", "up"], check=True, capture_output=True)
        pair_s = time.perf_counter() - start
        subprocess.run([sys.executable, "-m", "cloister.demo", "down"], check=True, capture_output=True)
        with_parties = first_cell_s("cloister")
        warm = [first_cell_s("cloister") for _ in range(5)]
        release_s = first_cell_s("cloister", release)
        plain = [first_cell_s("python3") for _ in range(5)]
    result = {
        "demo_world_build_s (once per install)": round(world_s, 2),
        "demo_pair_start_s": round(pair_s, 2),
        "first_cell_with_demo_parties_s": round(with_parties, 2),
        "first_cell_warm_s": summary(warm),
        "first_release_warm_s": round(release_s, 2),
        "first_cell_plain_ipykernel_s": summary(plain),
        "target": "< 3 s warm, < 6 s with demo parties",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
