"""What a verification says: findings by step, four anchors, one verdict, and the exit code of the CLI.

The JSON form (``to_dict``) is stable: fields are only ever added. Levels: ``ok``; ``note`` (worth knowing, no
weaker claim); ``reservation`` (the claim is weaker, and the exit code says so); ``fail`` (something is false).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Level = Literal["ok", "note", "reservation", "fail"]
Anchor = Literal["pinned", "unknown", "simulated", "consistent", "failed"]

VERIFIED = "verified"
ORIGIN_UNKNOWN = "self-consistent, origin unknown"
SIMULATED = "internal consistency only (simulated)"
INCOMPLETE = "verified with reservations"
FAILED = "failed"

STEPS = (
    "Bundle: the notebook carries signed documents",
    "Contract: every party signed it, and it makes sense",
    "Providers: the signers are whom the reviewer knows",
    "Cards: each table is described by its provider",
    "Admissions: a broker of the contract let the vault in",
    "Evidence: the vault runs in a TEE, with code the reviewer knows",
    "Receipts: signed by an admitted vault, for this contract, analyst and purpose",
    "Arithmetic: plan, price, noise and names follow from each other",
    "Shown values: the chips are what the receipts say",
    "Code: the cells are those that caused the releases, in this order",
    "Accounts: the releases are entries of the brokers' logs",
    "Completeness: what was released and is not shown",
    "Numbers: which printed numbers a receipt accounts for",
)


class Finding(msgspec.Struct, frozen=True):
    """One line: the step it belongs to, a stable code, and where it was found.

    ``cell`` is the index in the notebook's ``cells``, ``release`` the release key; either may be absent.
    """

    step: int
    level: Level
    code: str
    text: str
    cell: int | None = None
    release: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """How many receipts, releases shown, and numbers of each kind."""

    receipts: int = 0
    shown: int = 0
    not_shown: int = 0
    numbers_bound: int = 0
    numbers_unaccounted: int = 0


class Anchors(msgspec.Struct, frozen=True):
    """The four anchors of a verification, each in one word."""

    tee: Anchor = "failed"
    providers: Anchor = "failed"
    brokers: Anchor = "failed"
    receipts: Anchor = "failed"


class Report(msgspec.Struct, frozen=True):
    """The outcome. ``run`` says how the notebook was executed, ``completeness`` what is not shown."""

    overall: str
    exit_code: int
    reservations: tuple[str, ...]
    anchors: Anchors
    counts: Counts
    run: str
    completeness: str
    contract: str
    contract_digest: str
    time: str
    findings: tuple[Finding, ...]
    version: Literal[1] = 1

    @property
    def failed(self) -> bool:
        """Whether something in the notebook is false."""
        return self.overall == FAILED

    def of_step(self, step: int) -> tuple[Finding, ...]:
        """Return the findings of one step."""
        return tuple(finding for finding in self.findings if finding.step == step)

    def level(self, step: int) -> Level:
        """Return the worst level of one step."""
        order: tuple[Level, ...] = ("ok", "note", "reservation", "fail")
        return max((finding.level for finding in self.of_step(step)), key=order.index, default="note")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        data["steps"] = [
            {"number": number, "title": title, "level": self.level(number)} for number, title in enumerate(STEPS, 1)
        ]
        return data

    def to_text(self) -> str:
        """Return the report for reading, worst news first within each step."""
        lines = [f"{self.overall.upper()}", ""]
        if self.reservations:
            lines += ["Reservations: " + ", ".join(self.reservations), ""]
        for number, title in enumerate(STEPS, 1):
            lines.append(f"{_MARKS[self.level(number)]} {number:>2}. {title}")
            lines += [f"        {_line(found)}" for found in self.of_step(number)]
        lines += [
            "",
            f"Releases: {self.counts.shown} shown of {self.counts.receipts} receipts. {self.completeness}",
            f"Run: {self.run}",
            f"Numbers: {self.counts.numbers_bound} bound to a receipt, {self.counts.numbers_unaccounted} unaccounted",
            f"Anchors: TEE {self.anchors.tee}, providers {self.anchors.providers}, brokers {self.anchors.brokers}, "
            f"receipts {self.anchors.receipts}",
        ]
        return "\n".join(lines)


_MARKS: dict[Level, str] = {"ok": "[ok]", "note": "[--]", "reservation": "[!!]", "fail": "[NO]"}


def _line(found: Finding) -> str:
    place = "" if found.cell is None else f"cell {found.cell}: "
    name = "" if found.release is None else f" [{found.release.removeprefix('sha256:')[:12]}]"
    code = "" if found.level == "ok" else f" ({found.code})"
    return f"{place}{found.text}{name}{code}"
