"""Added latency per cell: the same client, a plain ipykernel and Cloister's, interleaved in one run.

Once without and once with the panel's comm open, because the proxy tells an open panel what changed.
"""

from __future__ import annotations

import json

from jupyter_client import BlockingKernelClient

from benchmarks.kernels import fresh_home, kernel, run, summary, time_cell_ms

N = 300


def main() -> None:
    """Print one JSON line."""
    with fresh_home(), kernel("python3") as plain, kernel("cloister") as confidential:
        run(confidential, "1")
        compared(plain, confidential, 30)
        a, b = compared(plain, confidential, N)
        open_panel(confidential)
        panel_a, panel_b = compared(plain, confidential, N)
    print(
        json.dumps(
            {
                "plain_ms": a,
                "cloister_ms": b,
                "added_median_ms": round(b["median"] - a["median"], 2),
                "panel_open_ms": panel_b,
                "panel_open_added_median_ms": round(panel_b["median"] - panel_a["median"], 2),
                "target": "< 5 ms",
            }
        )
    )


def compared(
    plain: BlockingKernelClient, confidential: BlockingKernelClient, n: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Time ``n`` cells on each kernel in turn; return both summaries."""
    times = [(time_cell_ms(plain, "1+1"), time_cell_ms(confidential, "1+1")) for _ in range(n)]
    return summary([one for one, _ in times]), summary([two for _, two in times])


def open_panel(client: BlockingKernelClient) -> None:
    """Open the status comm as the Lab's panel does, and wait for the first status."""
    content = {"comm_id": "panel", "target_name": "cloister.status", "data": {}}
    client.shell_channel.send(client.session.msg("comm_open", content))
    while client.get_iopub_msg(timeout=10)["msg_type"] != "comm_msg":
        pass


if __name__ == "__main__":
    main()
