"""Run every benchmark in its own process; print a table and write ``build/bench.json``.

``python -m benchmarks [NAME ...]`` runs the named ones only. ``accuracy`` runs only if named, because it installs the
peers it is compared with: each in an environment of its own under ``build/peers/`` (``make bench-peers``).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

NAMES = (
    "latency", "startup", "grouped_mean", "speed", "ledger", "eventlog", "memory", "attest", "learning", "matching",
    "providers",
)  # fmt: skip
ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    chosen = sys.argv[1:] or list(NAMES)
    report = {
        "machine": _machine(),
        "commit": _commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "results": {},
    }
    failed = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"], capture_output=True, text=True, cwd=ROOT, check=False
        )
        if done.returncode:
            failed = 1
            print(done.stderr[-3000:], flush=True)
            continue
        result = json.loads(done.stdout.strip().splitlines()[-1])
        report["results"][name] = result
        print(done.stderr, end="", flush=True)
        for key, value in result.items():
            print(f"   {key:<48} {_short(value)}", flush=True)
    out = ROOT / "build" / "bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    print(f"written: {out}")
    return failed


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]}... (all of it in build/bench.json)"


def _machine() -> dict[str, object]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    return {"cpus": os.cpu_count(), "cpu": model, "kernel": platform.release(), "python": platform.python_version()}


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
