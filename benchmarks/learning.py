"""Learners beside peers on Adult and credit default: AUC at epsilon .5, 1 and 4, delta 1e-6, pinned 80/20 splits.

Everybody is given the same encoding: numbers in bins with public edges (round numbers, below), texts by their domain.
Cloister's models are those of its programs (``plan/learning``), on the vault's exact sums with the vault's noise; the
reading of tables is left out. Peers run in environments of their own under ``build/peers/``. Neighbours differ by one
row. The price of Cloister is the zCDP rho that converts to (epsilon, delta).

    python -m benchmarks.learning --adult adult.csv --credit credit_default.csv [--seeds 20] [--only NAME]
    python -m benchmarks.learning                       seconds of a fit on 400,000 rows; no peers

What is measured is kept line by line under ``build/peers/`` with a digest of what it was measured with, and is not
measured again. Table: ``python -m benchmarks.learning_report``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.linear_model import LogisticRegression

from benchmarks.accuracy import PEERS, ROOT, interpreter
from benchmarks.peers.learning_task import DELTA, measured, one_hot, split
from cloister.plan import algebra as a
from cloister.plan import learning
from cloister.plan.grid import Grid
from cloister.plan.learning import program_of
from cloister.plan.learning.encoding import Block, Encoding
from cloister.plan.learning.program import drive, planned
from cloister.plan.learning.queries import Query
from cloister.plan.precision import rho_of_epsilon
from cloister.vault import fit_sums
from cloister.vault.fit_rows import FitRows, OneHot
from cloister.vault.noise import gaussian

EPSILONS = ("0.5", "1", "4")
EDGES: dict[str, dict[str, list[int]]] = {
    "adult": {
        "age": [20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70],
        "fnlwgt": list(range(50_000, 500_000, 50_000)),
        "education-num": list(range(2, 17)),
        "capital-gain": [1, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000, 15_000, 20_000, 50_000],
        "capital-loss": [1, 500, 1_000, 1_500, 1_750, 2_000, 2_250, 2_500, 3_000],
        "hours-per-week": [10, 20, 30, 35, 40, 45, 50, 60, 70],
    },
    "credit": {
        "LIMIT_BAL": [20_000, 50_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000, 500_000],
        "AGE": [25, 30, 35, 40, 45, 50, 55, 60],
        **{f"PAY_{month}": [-1, 0, 1, 2, 3, 4] for month in (0, 2, 3, 4, 5, 6)},
        **{f"BILL_AMT{n}": [0, 1, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000] for n in range(1, 7)},
        **{f"PAY_AMT{n}": [1, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000] for n in range(1, 7)},
    },
}
TARGET = {"adult": "income-over-50k", "credit": "default.payment.next.month"}
LEARNERS: dict[str, a.Learner] = {"additive": a.Additive(), "logistic": a.Logistic()}
# What a learner's figures depend on, beside modules of its own.
SHARED = ("classes", "encoding", "link", "program", "queries", "solving", "weights")
OWN = {"additive": ("additive",), "logistic": ("logistic", "descent")}
# Environment, requirements, runner.
CONTENDERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "interpret DP-EBM": ("interpret", ("interpret-core==0.7.8", "scikit-learn<1.9"), "interpret_ebm.py"),
    "diffprivlib logistic": (
        "diffprivlib-learn",
        ("diffprivlib==0.6.6", "scikit-learn<1.7"),
        "diffprivlib_logistic.py",
    ),
    "Opacus logistic": ("opacus", ("opacus==1.6.0", "torch==2.13.0"), "opacus_logistic.py"),
}
Case = tuple[int, str]


class Rows:
    """A table as codes of closed labels."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        table = pd.read_csv(path).drop(columns="ID", errors="ignore")
        self.y = table.pop(TARGET[name]).to_numpy()
        codes, self.ordered = [], []
        widths = []
        for column in table:
            edges = EDGES[name].get(str(column))
            self.ordered.append(edges is not None)
            if edges is not None:
                codes.append(np.searchsorted(edges, table[column], side="right"))
                widths.append(len(edges) + 1)
            else:
                labels = sorted(table[column].astype(str).unique())
                codes.append(table[column].astype(str).map(labels.index).to_numpy())
                widths.append(len(labels))
        self.codes, self.widths = np.stack(codes, axis=1), np.array(widths)


def encoding(widths: Sequence[int], ordered: Sequence[bool]) -> Encoding:
    """Return the encoding of closed features; ordered ones are bins of a cut number."""
    blocks: list[Block] = []
    start = 1
    for index, (width, bins) in enumerate(zip(map(int, widths), ordered, strict=True)):
        column = a.Col(f"x{index}")
        term: a.Scalar = a.Cut(column, tuple(map(str, range(width + 1)))) if bins else column
        labels = tuple(map(str, range(width)))
        blocks.append(Block(term, Grid("category", 0, width - 1, domain=labels), start, width, labels))
        start += width
    return Encoding(tuple(blocks), a.Col("y"), Grid("bool", 0, 1), ("false", "true"))


def trained(learner: a.Learner, coded: Encoding, codes: np.ndarray, y: np.ndarray, rho: Fraction) -> np.ndarray:
    """Return the weights of a model at a price, the constant first."""
    hots = tuple(
        OneHot(block.start, block.width, np.ascontiguousarray(codes[:, index], np.int16))
        for index, block in enumerate(coded.blocks)
    )
    rows = FitRows(len(y), (), np.empty((len(y), 0), np.int16), hots, y.astype(np.int16))
    program = program_of(learner, coded)
    steps = planned(program.steps, coded)
    noise = [math.nextafter(math.sqrt(step.reach.squared / (2 * rho * step.share)), math.inf) for step in steps]

    def answer(index: int, query: Query) -> Sequence[int]:
        return gaussian(fit_sums.sums(rows, query, coded, lambda: None), noise[index])

    model: Any = drive(program, steps, noise, answer)
    weights: np.ndarray = np.array(model.weights[0]) / model.scale
    return weights


def cloister(name: str, rows: Rows, todo: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Yield the AUC of one of Cloister's models for every seed and epsilon. Seeds are of splits: noise has none."""
    coded = encoding(rows.widths, rows.ordered)
    for seed, text in todo:
        fit, test = split(len(rows.y), seed)
        rho = rho_of_epsilon(Fraction(text), Fraction(DELTA).limit_denominator(10**6))
        weights = trained(LEARNERS[name], coded, rows.codes[fit], rows.y[fit], rho)
        score = weights[0] + one_hot(rows.codes[test], rows.widths) @ weights[1:]
        yield {"seed": seed, "epsilon": text, **measured(rows.y[test], score)}


def plain(rows: Rows, todo: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Yield the AUC of scikit-learn's logistic regression without noise, once per seed."""
    for seed in sorted({seed for seed, _ in todo}):
        fit, test = split(len(rows.y), seed)
        model = LogisticRegression(max_iter=300).fit(one_hot(rows.codes[fit], rows.widths), rows.y[fit])
        found = measured(rows.y[test], model.decision_function(one_hot(rows.codes[test], rows.widths)))
        yield from ({"seed": seed, "epsilon": text, **found} for text in EPSILONS)


def peer(name: str, rows: Rows, todo: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Yield the AUC of a peer, as it prints them."""
    environment, requirements, runner = CONTENDERS[name]
    python = interpreter(environment, requirements)
    stored = PEERS / f"learning-{rows.name}.npz"
    np.savez(stored, codes=rows.codes, widths=rows.widths, y=rows.y)
    cases = [f"{seed}:{text}" for seed, text in todo]
    command: list[str | Path] = [python, "-W", "ignore", ROOT / "benchmarks" / "peers" / runner, stored, *cases]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone) as running:
        for line in running.stdout or ():
            if line.startswith("{"):
                yield json.loads(line)


def kept(data: str, name: str) -> Path:
    """Return the file that keeps what was measured of a model on a table."""
    return PEERS / f"learning-{data}-{name.replace(' ', '-')}.jsonl"


def digest(name: str) -> str:
    """Return what a model was measured with: the code of a learner, or the requirements and the runner of a peer."""
    if name == "non-private":
        return f"scikit-learn {sklearn.__version__}"
    if name in LEARNERS:
        folder = Path(learning.__file__).parent
        sources = [*(folder / f"{part}.py" for part in (*OWN[name], *SHARED)), Path(fit_sums.__file__)]
        read = b"".join(source.read_bytes() for source in sources)
        return f"{LEARNERS[name]!r} {hashlib.sha256(read).hexdigest()[:16]}"
    _, requirements, runner = CONTENDERS[name]
    source = (ROOT / "benchmarks" / "peers" / runner).read_bytes()
    return f"{' '.join(requirements)} {hashlib.sha256(source).hexdigest()[:16]}"


def earlier(data: str, name: str) -> list[dict[str, Any]]:
    """Return what was measured with what is there now."""
    path = kept(data, name)
    # A run that was ended may have left half a line.
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
    return [line for line in map(json.loads, lines) if line["of"] == digest(name)]


def speed() -> dict[str, float]:
    """Return seconds for 400,000 rows of 30 features: processor time, exact sums with noise, one thread."""
    source = np.random.default_rng(1)
    codes = source.integers(0, 16, (400_000, 30))
    y = (source.random(400_000) < 1 / (1 + np.exp(-(codes[:, 0] - 8) / 4))).astype(int)
    coded = encoding([16] * 30, [True] * 30)
    told = {}
    for name, learner in LEARNERS.items():
        started = time.process_time()
        weights = trained(learner, coded, codes, y, Fraction(1, 40))
        told[f"{name}, 400,000 x 30, s"] = round(time.process_time() - started, 1)
        started = time.process_time()
        one_hot(codes[:10_000], np.array([16] * 30)) @ weights[1:]
        told[f"{name}, 10,000 predictions, s"] = round(time.process_time() - started, 3)
    return told


def main() -> int:
    """Measure what is asked for and not kept yet."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--adult", type=Path)
    asked.add_argument("--credit", type=Path)
    asked.add_argument("--seeds", type=int, default=20)
    asked.add_argument("--only", choices=["non-private", *LEARNERS, *CONTENDERS])
    options = asked.parse_args()
    if not (options.adult or options.credit):
        print(json.dumps(speed()))
        return 0
    PEERS.mkdir(parents=True, exist_ok=True)
    for data, path in (("adult", options.adult), ("credit", options.credit)):
        if path is None:
            continue
        rows = Rows(data, path)
        for name in ("non-private", *LEARNERS, *CONTENDERS):
            if options.only in (None, name):
                _measure(name, rows, options.seeds)
    return 0


def _measure(name: str, rows: Rows, seeds: int) -> None:
    there = {(line["seed"], line["epsilon"]) for line in earlier(rows.name, name)}
    todo = [case for seed in range(seeds) for text in EPSILONS if (case := (seed, text)) not in there]
    if not todo:
        return
    run = plain if name == "non-private" else partial(cloister if name in LEARNERS else peer, name)
    with kept(rows.name, name).open("a") as out:
        for line in run(rows, todo):
            print(json.dumps({**line, "of": digest(name)}), file=out, flush=True)


if __name__ == "__main__":
    sys.exit(main())
