"""Accuracy beside peers at equal epsilon on the Adult census table: mean absolute error per question, and ratios.

Every peer runs in a virtual environment of its own under ``build/peers/``, made here from pinned requirements. Two
settings: one question that may use the whole epsilon (.1, 1 and 4), and one of the 50 questions of a session whose
total is epsilon 8. Cloister and OpenDP's Gaussian spend zCDP converted at delta 1e-6; the others pure epsilon, so a
session gives them 8 / 50 each. One person is one row; neighbours differ in one row. Ratios are Cloister over the peer
with the smallest error, with 95 % bootstrap intervals over the repetitions.

    python -m benchmarks.accuracy --data adult.csv [--repeat 50] [--reuse]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
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
EPSILONS = (0.1, 1.0, 4.0)
SESSION_EPSILON, QUESTIONS = 8, 50
SHARE = SESSION_EPSILON / QUESTIONS
BUDGETS = (*EPSILONS, SHARE)
RESAMPLES = 2_000
TARGET = 1.0
# A peer: its environment, what is installed there, its runner, whether it spends zCDP, and the budgets it is asked.
CONTENDERS: dict[str, tuple[str, tuple[str, ...], str, bool, tuple[float, ...]]] = {
    "opendp-laplace": ("opendp", ("opendp[polars]==0.16.0",), "opendp_polars.py", False, BUDGETS),
    "opendp-gaussian": ("opendp", ("opendp[polars]==0.16.0",), "opendp_polars.py", True, BUDGETS),
    "smartnoise": ("smartnoise", ("smartnoise-sql==1.0.10",), "smartnoise_sql.py", False, BUDGETS),
    "diffprivlib": (
        "diffprivlib", ("diffprivlib==0.6.6", "scikit-learn<1.9"), "diffprivlib_tools.py", False, BUDGETS
    ),
    # Half a second and more per answer: one budget only.
    "pipelinedp": ("pipelinedp", ("pipeline-dp==0.3.1",), "pipelinedp_local.py", False, (1.0,)),
}  # fmt: skip
Answers = dict[tuple[str, float], np.ndarray]


def rho(budget: float) -> Fraction:
    """Return the zCDP price of one question."""
    return rho_at(SESSION_EPSILON) / QUESTIONS if budget == SHARE else rho_at(budget)


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
    environment, requirements, runner, zcdp, budgets = CONTENDERS[name]
    kept, problem = PEERS / f"{name}.jsonl", ""
    if not (reuse and kept.exists()):
        PEERS.mkdir(parents=True, exist_ok=True)
        try:
            python = interpreter(environment, requirements)
        except subprocess.CalledProcessError as error:
            return [], f"does not install: {_last(error.stderr)}"
        command = [python, "-W", "ignore", ROOT / "benchmarks" / "peers" / runner, data]
        command += [",".join(map(str, budgets)), str(repeat)]
        command += [",".join(str(float(rho(budget))) for budget in budgets)] if zcdp else []
        with kept.open("w") as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        problem = f"stopped: {_last(done.stderr)}" if done.returncode else ""
    return [json.loads(line) for line in kept.read_text().splitlines()], problem


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
    parser.add_argument("--reuse", action="store_true", help="use the peers' answers of an earlier run")
    asked = parser.parse_args()
    if not asked.data.exists():
        print(json.dumps({"skipped": "name the Adult table with --data or CLOISTER_BENCH_ADULT"}))
        return
    data, exact = asked.data.resolve(), truth(asked.data)
    ours, missing = cloister(data, asked.repeat)
    peers, problems, settings = {}, {}, {"cloister": SETTINGS}
    for name in CONTENDERS:
        told, problem = run_peer(name, data, asked.repeat, asked.reuse)
        if problem:
            problems[name] = problem
        for item in told:
            settings[name] = item["settings"]
            if "error" in item:
                problems[f"{name}, {item['line']}"] = item["error"]
            else:
                peers[name, item["line"], item["epsilon"]] = np.array(item["answers"])
    lines = [_line(line.name, budget, exact, ours, peers) for budget in BUDGETS for line in LINES
             if (line.name, budget) in ours]  # fmt: skip
    for row in lines:
        print(_text(row), file=sys.stderr)
    result = {
        "repeat": asked.repeat, "delta": DELTA, "bounds": [LOW, HIGH], "bins": len(EDGES) - 1,
        "domains": {name: len(labels) for name, labels in DOMAINS.items()}, "unit": "one row is one person",
        "python": platform.python_version(), "time": time.strftime("%Y-%m-%d"), "settings": settings,
        "requirements": {name: known[1] for name, known in CONTENDERS.items()}, "problems": problems,
        "not_answered_by_cloister": missing,
        "met": sum(row["met"] for row in lines), "of": len(lines), "lines": lines,
    }  # fmt: skip
    print(json.dumps(result))


def _line(name: str, budget: float, exact: dict[str, np.ndarray], ours: Answers, peers: dict) -> dict[str, Any]:
    errors = {
        peer: round(float(np.abs(found - exact[name]).mean()), 4)
        for (peer, line, at), found in peers.items()
        if (line, at) == (name, budget)
    }
    setting = f"session of {QUESTIONS}, epsilon {SESSION_EPSILON}" if budget == SHARE else f"epsilon {budget}"
    row: dict[str, Any] = {"line": name, "setting": setting, "peers": errors}
    row["cloister"] = round(float(np.abs(ours[name, budget] - exact[name]).mean()), 4)
    if not errors:
        return {**row, "best": None, "met": False}
    best = min(errors, key=lambda peer: errors[peer])
    row |= {"best": best, **compared(ours[name, budget], peers[best, name, budget], exact[name])}
    return {**row, "met": row["ratio"] <= TARGET}


def _text(row: dict[str, Any]) -> str:
    verdict = "met" if row["met"] else "NOT MET"
    ratio = f"{row['ratio']} [{row['low']}, {row['high']}]" if row["best"] else "no peer"
    peers = ", ".join(f"{name} {error:g}" for name, error in row["peers"].items())
    return f"{row['setting']:<26} {row['line']:<26} {row['cloister']:>9g}  {ratio:<24} {verdict:<8} {peers}"


if __name__ == "__main__":
    main()
