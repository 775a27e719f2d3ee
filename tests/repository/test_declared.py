"""The repository's own promises: declared packages, top level, kernelspecs."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _names(requirements: list[str]) -> set[str]:
    return {r.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip().lower() for r in requirements}


def test_the_cards_packages_are_declared():
    base = _names(PYPROJECT["project"]["dependencies"])
    assert {"jupyterlab", "ipywidgets", "pandas", "numpy", "scikit-learn", "cryptography", "matplotlib"} <= base
    assert {"pytest", "nbval"} <= _names(PYPROJECT["project"]["optional-dependencies"]["test"])


def test_what_the_privacy_proof_leans_on_is_pinned_exactly():
    pinned = set(PYPROJECT["project"]["optional-dependencies"]["enclave"])
    assert "duckdb==2.0.0" in pinned
    assert "opendp==0.16.0" in pinned


def test_top_level_is_as_agreed():
    agreed = {
        "pyproject.toml", "kernel", "extension", "notebooks", "tests", "binder", "benchmarks", "docs", "Makefile",
        ".ci", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", ".gitignore", "deploy", "changelog.d",
        ".pre-commit-config.yaml",
    }  # fmt: skip
    ignored = {".git", ".venv", "build", "dist", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"}
    ignored |= {".hypothesis", ".benchmarks", "node_modules", "__pycache__"}
    assert {p.name for p in ROOT.iterdir()} - ignored <= agreed


def test_the_wheel_carries_both_kernelspecs():
    shared = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for name, mode in (("cloister", "confidential"), ("cloister-mock", "mock")):
        folder = next(source for source, target in shared.items() if target == f"share/jupyter/kernels/{name}")
        spec = json.loads((ROOT / folder / "kernel.json").read_text())
        assert spec["argv"][:3] == ["python", "-m", "cloister.analyst"]
        assert spec["env"] == {"PYTHONSAFEPATH": "1"}
        assert spec["argv"][-2:] == ["--mode", mode]
        assert spec["interrupt_mode"] == "message"
        assert spec["metadata"]["debugger"] is False


def test_launchers_can_tell_the_kernels_apart():
    shared = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    targets = {target: (ROOT / source).read_text() for source, target in shared.items() if source.endswith(".svg")}
    assert set(targets) == {
        f"share/jupyter/kernels/{name}/logo-svg.svg" for name in ("cloister", "cloister-mock", "cloister-replay")
    }
    assert len(set(targets.values())) == 3
    assert not any(word in logo for logo in targets.values() for word in ("href", "<script", "<style"))


def test_the_nightly_run_sets_every_length_that_a_test_reads():
    """What a test reads as a whole number from the environment is how long it runs."""
    read = re.compile(r'int\(os\.environ\.get\("(CLOISTER_\w+)", "\d+"\)\)')
    lengths = {name for path in (ROOT / "tests").rglob("*.py") for name in read.findall(path.read_text())}
    recipe = (ROOT / "Makefile").read_text().partition("nightly: check")[2].partition("\n\n")[0]
    assert len(lengths) > 10
    assert not {name for name in lengths if f"{name}=" not in recipe}
