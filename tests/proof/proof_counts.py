"""The test families of the proof: where they live, and how many of their tests ran and passed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

FAMILIES = {
    "a": ("differential stability", ("vault/test_fuzz", "vault/test_lineage", "proof/test_lineage_attacks")),
    "b": (
        "engine equals interpreter",
        ("vault/test_interpret", "vault/test_engine", "vault/test_load", "vault/test_scalar", "vault/test_thresholds"),
    ),
    "c": ("record and replay", ("proof/test_record_replay",)),
    "d": ("mutants", ("vault/test_mutants", "proof/test_lineage_mutants")),
    "e": ("distributions", ("vault/test_noise", "vault/test_truth", "vault/test_coverage", "proof/test_epsilon")),
    "f": ("audit cases", ("proof/test_audit_cases",)),
    "g": (
        "ledger",
        ("provider/test_account_histories", "crash/", "provider/test_accounts", "vault/test_ledger_replies"),
    ),
    "h": ("attack catalogue", ("proof/test_attack_catalogue", "proof/test_attacks")),
    "i": ("timing", ("proof/test_timing", "vault/test_release_faults")),
    "j": ("decoder fuzz", ("plan/test_codec", "proof/test_decoder")),
    "G": ("gate invariants", ("proof/test_gate_invariants",)),
}


def family_of(nodeid: str) -> str | None:
    """Return the letter of the family a test belongs to."""
    for letter, (_, places) in FAMILIES.items():
        if nodeid.removeprefix("tests/").startswith(places):
            return letter
    return None


class Counts:
    """Tests that ran and passed, and the figures they reported, by family."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.figures: dict[str, Counter[str]] = {letter: Counter() for letter in FAMILIES}

    def add(self, nodeid: str, *, passed: bool, figures: dict[str, object]) -> None:
        letter = family_of(nodeid)
        if letter is None:
            return
        self.ran[letter] += 1
        self.passed[letter] += passed
        for name, value in figures.items():
            if isinstance(value, int | float):
                self.figures[letter][name] += value

    def lines(self) -> list[str]:
        """One line per family that ran; none if the proof's own folder did not take part."""
        if not self.ran:
            return []
        return [
            f"({letter}) {title:<26} {self.passed[letter]:>5} of {self.ran[letter]:>5} tests"
            + "".join(f" · {value:,} {name}" for name, value in sorted(self.figures[letter].items()))
            for letter, (title, _) in FAMILIES.items()
            if self.ran[letter]
        ]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {
            letter: {"title": title, "ran": self.ran[letter], "passed": self.passed[letter], **self.figures[letter]}
            for letter, (title, _) in FAMILIES.items()
            if self.ran[letter]
        }
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
