"""Added latency per cell: the same client, a plain ipykernel and Cloister's, interleaved in one run."""

from __future__ import annotations

import json

from benchmarks.kernels import fresh_home, kernel, run, summary, time_cell_ms

N = 300


def main() -> None:
    """Print one JSON line."""
    with fresh_home(), kernel("python3") as plain, kernel("cloister") as confidential:
        run(confidential, "1")
        for _ in range(30):
            time_cell_ms(plain, "1+1")
            time_cell_ms(confidential, "1+1")
        plain_ms, confidential_ms = [], []
        for _ in range(N):
            plain_ms.append(time_cell_ms(plain, "1+1"))
            confidential_ms.append(time_cell_ms(confidential, "1+1"))
    a, b = summary(plain_ms), summary(confidential_ms)
    print(
        json.dumps(
            {
                "plain_ms": a,
                "cloister_ms": b,
                "added_median_ms": round(b["median"] - a["median"], 2),
                "target": "< 5 ms",
            }
        )
    )


if __name__ == "__main__":
    main()
