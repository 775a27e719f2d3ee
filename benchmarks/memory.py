"""Memory of one notebook with everything: proportional set size of every process Cloister started."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil

from benchmarks.kernels import fresh_home, kernel, run

TOUR = """
import cloister as cl, pandas, matplotlib.pyplot as plt, sklearn.linear_model
g = cl.table('st_anna.visits').groupby('sex').bmi.mean()
cl.table('city_bank.customers').age.mean()
plt.bar(range(len(g)), g)
"""


def pss_mb(process: psutil.Process) -> float:
    """Proportional set size in MB: shared pages counted once over all processes."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def main() -> None:
    """Print one JSON line."""
    with fresh_home(), kernel("cloister") as client:
        run(client, TOUR)
        me = psutil.Process(os.getpid())
        state = json.loads((Path(os.environ["CLOISTER_HOME"]) / "demo" / "pair.json").read_text())
        supervisor = psutil.Process(state["pid"])
        processes = [*me.children(recursive=True), supervisor, *supervisor.children(recursive=True)]
        sizes: dict[str, float] = {}
        for process in {p.pid: p for p in processes}.values():
            command = " ".join(process.cmdline())
            name = next(
                (
                    n
                    for n in ("analyst", "bridge", "jail", "enclave", "vault", "provider", "demo")
                    if f"cloister.{n}" in command or f".{n}" in command
                ),
                "other",
            )
            sizes[name] = round(sizes.get(name, 0) + pss_mb(process), 1)
    print(
        json.dumps(
            {
                **{f"{k}_mb": v for k, v in sizes.items()},
                "total_mb": round(sum(sizes.values()), 1),
                "target": "< 1500 MB",
            }
        )
    )


if __name__ == "__main__":
    main()
