"""Accuracy beside peers at equal epsilon on the Adult census table: mean absolute error per question, and ratios.

Every peer runs in a virtual environment of its own under ``build/peers/``, made here from pinned requirements. Two
settings: one release that may use the whole epsilon (.5, 1 and 4), and one of the 50 questions of a session whose
total is epsilon 8. One person is one row; neighbours differ in one row. Three accountings, all at delta 1e-6:

* ``zcdp``: rho that converts to epsilon (Cloister, and peers that can); a session splits rho evenly.
* ``pure``: epsilon; a question of a session gets what 50 of them compose to exactly (Kairouz, Oh, Viswanath 2015).
* ``gaussian``: Gaussian noise at (epsilon, delta), one release only.

Every line has two ratios of errors, Cloister over a peer: over the best with the same accounting (zCDP, the same rho),
and over the best with any. Both with 95 % bootstrap intervals over the repetitions.

    python -m benchmarks.accuracy --data adult.csv [--repeat 50] [--reuse] [--only PEER]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers.cloister_engine import SETTINGS, Adult, rho_at
from benchmarks.peers.task import DELTA, DOMAINS, EDGES, HIGH, LINES, LOW, QUANTILES, Line, rename
from cloister.errors import CloisterError

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "build" / "peers"
EPSILONS = ("0.5", "1", "4")
SESSION_EPSILON, QUESTIONS = "8", 50
SESSION = "session"
BUDGETS = ("1", SESSION, "4", "0.5")
SETTINGS_OF = {**{text: f"epsilon {text}" for text in EPSILONS}, SESSION: f"{QUESTIONS} of epsilon {SESSION_EPSILON}"}
RESAMPLES = 2_000
TARGET = 1.0
# A run of a peer that takes longer ends there; what it has answered counts, and the table says so.
PEER_SECONDS = 5_400


@dataclass(frozen=True)
class Contender:
    """A peer: its environment, what is installed there, its runner, its accounting and the budgets it is asked."""

    environment: str
    requirements: tuple[str, ...]
    runner: str
    accounting: str
    budgets: tuple[str, ...] = BUDGETS


_OPENDP = ("opendp", ("opendp[polars]==0.16.0",), "opendp_polars.py")
_PIPELINEDP = ("pipelinedp", ("pipeline-dp==0.3.1",), "pipelinedp_local.py")
_TUMULT = ("tumult", ("tmlt.analytics==0.21.0",), "tumult_analytics.py")
_DIFFPRIVLIB = ("diffprivlib", ("diffprivlib==0.6.6", "scikit-learn<1.9"), "diffprivlib_tools.py")
# The slow ones (seconds of processor time per answer, or a Spark job) are asked less.
CONTENDERS: dict[str, Contender] = {
    "opendp-laplace": Contender(*_OPENDP, "pure"),
    "opendp-gaussian": Contender(*_OPENDP, "zcdp"),
    "smartnoise": Contender("smartnoise", ("smartnoise-sql==1.0.10",), "smartnoise_sql.py", "pure"),
    "diffprivlib": Contender(*_DIFFPRIVLIB, "pure"),
    "pipelinedp-laplace": Contender(*_PIPELINEDP, "pure", ("1",)),
    "pipelinedp-gaussian": Contender(*_PIPELINEDP, "gaussian", ("1",)),
    "tumult-gaussian": Contender(*_TUMULT, "zcdp", ("1", SESSION)),
    "tumult-laplace": Contender(*_TUMULT, "pure", ("1",)),
}
Answers = dict[tuple[str, str], np.ndarray]


def rho(budget: str) -> Fraction:
    """Return the zCDP price of one question."""
    return rho_at(SESSION_EPSILON) / QUESTIONS if budget == SESSION else rho_at(budget)


def amount(accounting: str, budget: str) -> float:
    """Return what one question may cost, in the units of an accounting."""
    if accounting == "zcdp":
        return float(rho(budget))
    if budget != SESSION:
        return float(budget)
    if accounting == "pure":
        return composed(float(SESSION_EPSILON), QUESTIONS, DELTA)
    raise ValueError("a session of (epsilon, delta) releases has no one price")


def composed(epsilon: float, count: int, delta: float) -> float:
    """Return the pure epsilon of which ``count`` releases are together (``epsilon``, ``delta``): exact, no bound.

    Kairouz, Oh and Viswanath 2015, Theorem 3.3: the worst case is randomised response, whose loss is a binomial.
    """
    low, high = 0.0, epsilon
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _composed_delta(middle, count, epsilon) > delta else (middle, high)
    return low


def _composed_delta(each: float, count: int, epsilon: float) -> float:
    found = 0.0
    for ups in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(ups + 1) - math.lgamma(count - ups + 1)
        chance = ways + ups * each - count * math.log1p(math.exp(each))
        loss = (2 * ups - count) * each
        found += math.exp(chance) * max(0.0, -math.expm1(epsilon - loss)) if loss > epsilon else 0.0
    return found


def interpreter(environment: str, requirements: tuple[str, ...]) -> Path:
    """Return the peer's own Python, with its requirements installed.

    Raises:
        subprocess.CalledProcessError: It could not be installed.
    """
    folder = PEERS / environment
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join(requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        subprocess.run(command, check=True, capture_output=True, text=True)
        stamp.write_text(wanted)
    return python


def run_peer(name: str, data: Path, repeat: int, reuse: bool) -> tuple[list[dict[str, Any]], str]:
    """Return the peer's answers and, if it did not run to the end, why."""
    peer = CONTENDERS[name]
    kept, problem = PEERS / f"{name}.jsonl", ""
    if reuse and not kept.exists():
        return [], "was not run"
    if not reuse:
        PEERS.mkdir(parents=True, exist_ok=True)
        try:
            python = interpreter(peer.environment, peer.requirements)
        except subprocess.CalledProcessError as error:
            return [], f"does not install: {_last(error.stderr)}"
        command = [python, "-W", "ignore", ROOT / "benchmarks" / "peers" / peer.runner, data]
        command += [peer.accounting, str(repeat)]
        command += [f"{budget}={amount(peer.accounting, budget)!r}" for budget in peer.budgets]
        with kept.open("w") as out:
            try:
                done = subprocess.run(
                    command, stdout=out, stderr=subprocess.PIPE, text=True, check=False, timeout=PEER_SECONDS,
                    env={**os.environ, "POLARS_MAX_THREADS": "1"},
                )  # fmt: skip
                problem = f"stopped: {_last(done.stderr)}" if done.returncode else ""
            except subprocess.TimeoutExpired:
                problem = f"ended after {PEER_SECONDS} s"
    # A run that was ended may have left half a line.
    return [json.loads(line) for line in kept.read_text().splitlines() if line.endswith("}")], problem


def _last(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1][:160] if lines else "no message"


def truth(data: Path) -> dict[str, np.ndarray]:
    """Return the exact answer of every line."""
    frame = pd.read_csv(data).rename(columns=rename)
    return {line.name: np.array(_exact(frame, line), float) for line in LINES}


def _exact(frame: pd.DataFrame, line: Line) -> list[float]:
    if line.kind == "quantile":
        # The smallest value with at least that share of the rows at or below it.
        return list(frame[line.column].quantile(list(QUANTILES), interpolation="lower"))
    if line.kind == "histogram":
        return list(np.histogram(frame[line.column], bins=EDGES)[0])
    keys = list(line.keys)
    groups = frame.groupby(keys)
    found = groups.size() if line.kind == "count" else groups[line.column].mean()
    cells = line.cells() if len(keys) > 1 else [cell[0] for cell in line.cells()]
    return list(found.reindex(cells, fill_value=0))


def cloister(data: Path, repeat: int) -> tuple[Answers, dict[str, str]]:
    """Return Cloister's answers, and the lines it could not answer with the reason."""
    adult, answers, missing = Adult(data), {}, {}
    for line in LINES:
        for budget in BUDGETS:
            try:
                answers[line.name, budget] = np.array(list(adult.ask(line, rho(budget), repeat)))
            except CloisterError as error:
                missing[line.name] = error.code
    return answers, missing


def compared(ours: np.ndarray, theirs: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Return both mean absolute errors and their ratio with a bootstrap interval over repetitions."""
    a, b = (np.abs(found - exact).mean(axis=1) for found in (ours, theirs))
    rng = np.random.default_rng(20261128)
    upper, lower = (rng.choice(each, (RESAMPLES, len(each))).mean(axis=1) for each in (a, b))
    # A resample in which the peer had no error has no ratio; 1000 stands for "very large".
    ratios = np.minimum(upper / np.maximum(lower, 1e-12), 1000.0)
    low, high = np.quantile(ratios, (0.025, 0.975))
    equal = a.mean() == b.mean() == 0
    ratio = 1.0 if equal else a.mean() / max(b.mean(), 1e-12)
    return {"ratio": round(float(ratio), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def main() -> None:
    """Print the table to standard error and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CLOISTER_BENCH_ADULT") or "adult.csv"))
    parser.add_argument("--repeat", type=int, default=50)
    parser.add_argument("--reuse", action="store_true", help="use the answers of earlier runs, and run no peer")
    parser.add_argument("--only", choices=CONTENDERS, help="run this peer, keep its answers, and compare nothing")
    asked = parser.parse_args()
    if not asked.data.exists():
        print(json.dumps({"skipped": "name the Adult table with --data or CLOISTER_BENCH_ADULT"}))
        return
    data = asked.data.resolve()
    if asked.only:
        told, problem = run_peer(asked.only, data, asked.repeat, reuse=False)
        print(json.dumps({"peer": asked.only, "answers": len(told), "problem": problem}))
        return
    exact = truth(data)
    ours, missing = cloister(data, asked.repeat)
    peers, problems, settings = {}, {}, {"cloister": SETTINGS}
    for name in CONTENDERS:
        told, problem = run_peer(name, data, asked.repeat, asked.reuse)
        if problem:
            problems[name] = problem
        for item in told:
            settings[name] = item["settings"]
            if "error" in item:
                problems[f"{name}, {item['line']}, {item['budget']}"] = item["error"]
            else:
                peers[name, item["line"], item["budget"]] = np.array(item["answers"])
    lines = [
        _line(line.name, budget, exact, ours, peers)
        for budget in sorted(BUDGETS)
        for line in LINES
        if (line.name, budget) in ours
    ]
    for row in lines:
        print(_text(row), file=sys.stderr)
    result = {
        "repeat": asked.repeat, "delta": DELTA, "bounds": [LOW, HIGH], "bins": len(EDGES) - 1,
        "domains": {name: len(labels) for name, labels in DOMAINS.items()}, "unit": "one row is one person",
        "amounts": {kind: {name: amount(kind, name) for name in BUDGETS} for kind in ("zcdp", "pure")},
        "python": platform.python_version(), "time": time.strftime("%Y-%m-%d"), "settings": settings,
        "requirements": {name: known.requirements for name, known in CONTENDERS.items()}, "problems": problems,
        "not_answered_by_cloister": missing,
        **{f"met_{against}": sum(row[against].get("met", False) for row in lines) for against in ("same", "any")},
        "of": len(lines), "lines": lines,
    }  # fmt: skip
    print(json.dumps(result))


def _line(name: str, budget: str, exact: dict[str, np.ndarray], ours: Answers, peers: dict) -> dict[str, Any]:
    found = {peer: answers for (peer, line, at), answers in peers.items() if (line, at) == (name, budget)}
    errors = {peer: round(float(np.abs(answers - exact[name]).mean()), 4) for peer, answers in found.items()}
    own = ours[name, budget]
    row: dict[str, Any] = {"line": name, "setting": SETTINGS_OF[budget], "peers": errors}
    row["cloister"] = round(float(np.abs(own - exact[name]).mean()), 4)
    same = {peer for peer in errors if CONTENDERS[peer].accounting == "zcdp"}
    for against, chosen in (("same", same), ("any", set(errors))):
        row[against] = {}
        if chosen:
            best = min(sorted(chosen), key=lambda peer: errors[peer])
            row[against] = {"best": best, **compared(own, found[best], exact[name])}
            row[against]["met"] = row[against]["ratio"] <= TARGET
    return row


def _text(row: dict[str, Any]) -> str:
    ratios = [
        f"{one['ratio']:g} [{one['low']:g}, {one['high']:g}] {one['best']}" if one else "no peer"
        for one in (row["same"], row["any"])
    ]
    peers = ", ".join(f"{name} {error:g}" for name, error in row["peers"].items())
    return f"{row['setting']:<16} {row['line']:<24} {row['cloister']:>9g} | {ratios[0]} | {ratios[1]} | {peers}"


if __name__ == "__main__":
    main()
