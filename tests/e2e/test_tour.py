"""The tour as CI, a newcomer and a reviewer run it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from cloister.receipt.bundle import read_bundle
from cloister.wire.envelope import unverified_payload

TOUR = Path(__file__).parents[2] / "notebooks" / "01-tour.ipynb"


@pytest.fixture(scope="module")
def tour(demo, tmp_path_factory):
    target = tmp_path_factory.mktemp("tour") / "01-tour.ipynb"
    done = demo.command("run", str(TOUR), "--output", str(target), "--allow-simulated", timeout=300)
    assert done.returncode == 0, done.stderr
    return target, done.stdout


def test_every_released_value_has_an_error_and_a_cost(tour):
    _, printed = tour
    values = [line for line in printed.splitlines() if " +- " in line]
    assert len(values) >= 15
    assert "cost 2 %" in printed
    assert "Simulated" in printed


def test_the_only_reservations_are_simulated_and_origin_unknown(demo, tour):
    done = demo.command("verify", str(tour[0]), "--json", "--allow-simulated")
    report = json.loads(done.stdout)
    assert set(report["reservations"]) == {"simulated", "origin unknown"}
    assert report["counts"]["receipts"] == report["counts"]["shown"] >= 4
    assert report["anchors"]["receipts"] != "failed"
    assert done.returncode == 1  # the origin is unknown: no trust file was given
    assert demo.command("verify", str(tour[0]), "--allow-simulated", "--allow-unknown-origin").returncode == 0


def test_verify_is_clean_for_a_reviewer_who_knows_the_providers_and_the_code(demo, tour, tmp_path):
    world = json.loads((demo.home / "demo" / "world" / "world.json").read_text())
    trust = tmp_path / "trust.toml"
    providers = "".join(f'[[provider]]\nname = "{n}"\ndid = "{d}"\n' for n, d in world["provider_dids"].items())
    trust.write_text(f'{providers}[[measurement]]\nname = "this build"\nenv_digest = "{world["env_digest"]}"\n')
    done = demo.command("verify", str(tour[0]), "--json", "--allow-simulated", "--trust", str(trust))
    assert json.loads(done.stdout)["reservations"] == ["simulated"]
    assert done.returncode == 0
    assert demo.command("verify", str(tour[0]), "--trust", str(trust)).returncode == 1


def test_one_changed_digit_is_found(demo, tour, tmp_path):
    notebook = json.loads(tour[0].read_text())
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            facts = output.get("metadata", {}).get("cloister")
            if facts:
                row = facts["releases"][0]["rows"][0]
                row["values"][0] = row["values"][0][:-1] + ("1" if row["values"][0][-1] != "1" else "2")
                break
    forged = tmp_path / "forged.ipynb"
    forged.write_text(json.dumps(notebook))
    done = demo.command("verify", str(forged), "--allow-simulated")
    assert done.returncode == 2
    assert "FAILED" in done.stdout.upper()


def test_run_refuses_a_simulated_enclave_unless_it_is_allowed(demo, tmp_path):
    done = demo.command("run", str(TOUR), "--output", str(tmp_path / "out.ipynb"))
    assert done.returncode == 1
    assert "run.simulated" in done.stderr
    assert "next step" in done.stderr
    assert not (tmp_path / "out.ipynb").exists()


def charged(notebook: Path) -> dict[str, Fraction]:
    """What the receipts of a notebook cost each population."""
    found: dict[str, Fraction] = {}
    for receipt in read_bundle(json.loads(notebook.read_text())).receipts:
        for charge in json.loads(unverified_payload(receipt))["charges"]:
            found[charge["population"]] = found.get(charge["population"], Fraction(0)) + Fraction(charge["rho"])
    return found


def test_rehearsal_on_the_mock_kernel_charges_nothing_and_says_what_the_real_one_charged(demo, tour, tmp_path):
    notebook = json.loads(TOUR.read_text())
    said = "import json\nprint(json.dumps({name: str(rho) for name, rho in cl.rehearsal().rho.items()}))"
    asks = {"cell_type": "code", "execution_count": None, "id": "rehearsed", "metadata": {}, "outputs": []}
    source = tmp_path / "tour.ipynb"
    source.write_text(json.dumps({**notebook, "cells": [*notebook["cells"], {**asks, "source": said}]}))
    broker = str(demo.home / "demo" / "world" / "broker")
    before = demo.command("account", "show", broker).stdout
    done = demo.command("run", str(source), "--mock", "--output", str(tmp_path / "mock.ipynb"), timeout=300)
    assert done.returncode == 0, done.stderr
    assert demo.command("account", "show", broker).stdout == before
    ran = json.loads((tmp_path / "mock.ipynb").read_text())
    assert "bundle" not in ran["metadata"].get("cloister", {})
    printed = "".join(ran["cells"][-1]["outputs"][0]["text"])
    rehearsed = {name: Fraction(rho) for name, rho in json.loads(printed).items()}
    assert rehearsed == charged(tour[0]), "cl.rehearsal() is what the same notebook was charged, exactly"
    kept = [json.loads(path.read_text()) for path in (demo.home / "rehearsals").glob("*.json")]
    costs = {item["release"]: item["costs"] for file in kept for cell in file["cells"].values() for item in cell}
    estimated: dict[str, Fraction] = {}
    for cost in (cost for items in costs.values() for cost in items):
        estimated[cost["population"]] = estimated.get(cost["population"], Fraction(0)) + Fraction(cost["rho"])
    assert estimated == rehearsed, "and so is what is kept for the estimate"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("verify", "missing.ipynb"), "notebook.file"),
        (("run", "missing.ipynb", "--allow-simulated"), "run.notebook"),
        (("bundle", "missing.ipynb"), "notebook.file"),
        (("card", "lint", "missing.json"), "card.file"),
        (("contract", "show", "missing.json"), "file.missing"),
        (("connect", "missing.json", "--enclave", "ws://127.0.0.1:1"), "contract.malformed"),
        (("account", "show", "missing"), "keys.missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_wrong_input_on_the_command_line_says_what_to_do(demo, arguments, code):
    done = demo.command(*arguments)
    assert done.returncode == 1
    assert f"[{code}]" in done.stderr
    assert "next step" in done.stderr
    assert "Traceback" not in done.stderr
