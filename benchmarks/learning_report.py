"""The table of ``benchmarks.learning`` as Markdown, from what is kept: means over pinned splits, twice their errors.

python -m benchmarks.learning_report
"""

from __future__ import annotations

import sys

import pandas as pd

from benchmarks.learning import CONTENDERS, EPSILONS, LEARNERS, earlier

PLAIN = "non-private"
ALLOWED = {"0.5": 0.016, "1": 0.010, "4": 0.005}


def main() -> int:
    """Print a table per data set, and what of the target is met."""
    for data in ("adult", "credit"):
        known = {name: found for name in (PLAIN, *LEARNERS, *CONTENDERS) if len(found := _measured(data, name))}
        if PLAIN not in known:
            continue
        print(f"\n| {data} | epsilon {' | '.join(EPSILONS)} | seeds |\n|---|{'---|' * (len(EPSILONS) + 1)}")
        for name, found in known.items():
            _row(name, found, "auc")
            if name in LEARNERS:
                _row("less than without noise, same splits", known[PLAIN] - found, "auc")
            if name in CONTENDERS:
                for learner in filter(known.__contains__, LEARNERS):
                    _row(f"{learner} less it, same splits", known[learner] - found, "auc")
            _row("log loss", found, "loss")
        _verdicts(known)
    return 0


def _measured(data: str, name: str) -> pd.DataFrame:
    """Return what is kept, by epsilon and seed."""
    found = pd.DataFrame(earlier(data, name), columns=["epsilon", "seed", "auc", "loss"])
    return found.drop_duplicates(["epsilon", "seed"]).set_index(["epsilon", "seed"]).sort_index()


def _row(label: str, found: pd.DataFrame, column: str) -> None:
    cells, counts = [], set()
    for epsilon in EPSILONS:
        mean, error, count = _mean(found, epsilon, column)
        cells.append(f"{mean:.4f} ± {2 * error:.4f}" if count > 2 else f"{mean:.4f}" if count else "")
        counts.add(count)
    print(f"| {label} | {' | '.join(cells)} | {' to '.join(map(str, sorted({min(counts), max(counts)})))} |")


def _mean(found: pd.DataFrame, epsilon: str, column: str) -> tuple[float, float, int]:
    """Return the mean over seeds, its standard error, and how many seeds there are."""
    values = found.loc[found.index.get_level_values("epsilon") == epsilon, column].dropna()
    return float(values.mean()), float(values.std() / max(len(values), 1) ** 0.5), len(values)


def _verdicts(known: dict[str, pd.DataFrame]) -> None:
    for name in LEARNERS:
        for epsilon, allowed in ALLOWED.items():
            if name not in known:
                continue
            mean, error, count = _mean(known[PLAIN] - known[name], epsilon, "auc")
            if not count:
                continue
            sure = "surely met" if mean + 2 * error <= allowed else "met" if mean <= allowed else "not met"
            sure = "met within 2 s.e." if sure == "not met" and mean - 2 * error <= allowed else sure
            print(f"- {name}, epsilon {epsilon}: {mean:.4f} ± {2 * error:.4f} below {PLAIN} (target {allowed}: {sure})")


if __name__ == "__main__":
    sys.exit(main())
