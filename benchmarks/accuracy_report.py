"""The table and the picture of ``docs/benchmarks.md`` from a result of ``benchmarks.accuracy``.

python -m benchmarks.accuracy --data adult.csv > build/accuracy.json
python -m benchmarks.accuracy_report build/accuracy.json docs/images/accuracy.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

TARGET = 1.0
LARGE = 999.0
KINDS = {"same": ("same accounting (zCDP, the same rho)", "tab:blue"), "any": ("any accounting", "tab:orange")}


def ratio(one: dict[str, Any]) -> str:
    """Return a ratio with its interval, or what there is instead."""
    if not one:
        return "no peer"
    high = "no finite end" if one["high"] > LARGE else f"{one['high']:.2f}"
    if one["ratio"] > LARGE:
        return f"peer without error ({one['best']})"
    return f"{one['ratio']:.2f} [{one['low']:.2f}, {high}] {one['best']}"


def verdict(row: dict[str, Any]) -> str:
    """Return whether the target is met against the best peer of any accounting, and why not."""
    one, same = row["any"], row["same"]
    if not one:
        return "no peer"
    if one["met"]:
        return "met"
    if one["low"] <= TARGET:
        return "**not met**; the interval holds 1"
    by_accounting = bool(same) and same["best"] != one["best"] and same["low"] <= TARGET
    return f"**not met**: {'accounting' if by_accounting else 'see below'}"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    head = "| setting | question | Cloister | over the best in zCDP | over the best of all | target |"
    body = [
        f"| {row['setting']} | {row['line']} | {row['cloister']:g} | {ratio(row['same'])} | {ratio(row['any'])} | "
        f"{verdict(row)} |"
        for row in rows
    ]
    return "\n".join([head, "|---|---|---|---|---|---|", *body])


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw every ratio with its interval, on a logarithmic axis that ends at 1/4 and 64."""
    figure, axes = plt.subplots(figsize=(8, 0.2 * len(rows) + 1.2))
    for kind, (label, colour) in KINDS.items():
        shown = [(at, row[kind]) for at, row in enumerate(rows) if row[kind] and 0 < row[kind]["ratio"] <= LARGE]
        middle = [one["ratio"] for _, one in shown]
        ends = [
            [one["ratio"] - min(one["low"], one["ratio"]) for _, one in shown],
            [max(one["high"], one["ratio"]) - one["ratio"] for _, one in shown],
        ]
        places = [at + (0.15 if kind == "any" else -0.15) for at, _ in shown]
        axes.errorbar(middle, places, xerr=ends, fmt="o", ms=3, lw=1, color=colour, label=label)
    axes.axvline(TARGET, color="black", lw=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.25, 64)
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64], ["1/4", "1/2", "1", "2", "4", "8", "16", "32", "64"])
    axes.set_yticks(range(len(rows)), [f"{row['line']}, {row['setting']}" for row in rows], fontsize=6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("mean absolute error, Cloister over the best peer (left of 1: Cloister errs less)")
    axes.legend(loc="lower right", fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the table and write the picture."""
    result = json.loads(Path(sys.argv[1]).read_text().splitlines()[-1])
    print(table(result["lines"]))
    picture(result["lines"], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
