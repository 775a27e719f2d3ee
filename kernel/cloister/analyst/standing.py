"""What the page is told without asking: status, contract and receipts, each when it is new and not again.

Nothing is sent while nothing changes: a server that ends idle kernels must see an idle kernel, and a cell must not pay
for a panel that is open beside it.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal, cast

import msgspec

import cloister
from cloister.analyst import page
from cloister.analyst.about import about, badge
from cloister.analyst.agreed import Agreement
from cloister.analyst.checklist import checklist
from cloister.analyst.events import Events
from cloister.analyst.uplink import Uplink
from cloister.contract import packs
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, from_dict
from cloister.receipt.facts import ReleaseFacts

RECEIPTS_SHOWN = 200
ALERTS_SHOWN = 50
MARK_LENGTH = 120
# The kernelspecs that the wheel installs; all others are called by ``kernelspecs.kernel_name``.
_SHIPPED = {"demo": "cloister"}
Mode = Literal["confidential", "mock", "replay"]
Tone = Literal["green", "amber", "red", "grey"]
_LIMITS: dict[str, Any] = {
    "privacy": page.PrivacyLimit,
    "delta": page.PrivacyLimit,
    "releases": page.CountLimit,
    "rows": page.CountLimit,
    "compute": page.CountLimit,
    "models": page.CountLimit,
    "expiry": page.ExpiryLimit,
}


class Standing:
    """Where a kernel stands, in the messages of the page."""

    def __init__(self, entry: str, mode: str, uplink: Uplink, events: Events, agreement: Agreement) -> None:
        self._entry = entry
        self._mode = cast("Mode", mode)
        self._uplink = uplink
        self._events = events
        self._agreement = agreement
        self._told_status: page.StatusMessage | None = None
        self._told_contract = False
        self._told_receipts = 0
        self._analyst = ""

    def info(self) -> dict[str, Any]:
        """Return the block of ``kernel_info`` and ``%cloister status``."""
        return about(self._entry, self._mode, self._uplink, self._events)

    def all(self) -> list[page.Message]:
        """Return everything, for a comm that was just opened."""
        contract = self._agreement.message()
        return [self.status(), *([contract] if contract else []), self._receipts()]

    def news(self) -> list[page.Message]:
        """Return what is new since the last call."""
        found: list[page.Message] = []
        status = self.status()
        if status != self._told_status:
            self._told_status = status
            found.append(status)
        if not self._told_contract and (contract := self._agreement.message()):
            self._told_contract = True
            found.append(contract)
        fresh = min(self._events.released - self._told_receipts, len(self._events.verified))
        self._told_receipts = self._events.released
        arrived = islice(self._events.verified, len(self._events.verified) - fresh, None)
        return found + [{"type": "receipt", "item": receipt_item(facts)} for facts in arrived]

    def status(self) -> page.StatusMessage:
        """Return the proxy's word about the enclave."""
        verdict, state = self._uplink.verdict, self._uplink.state
        # The contract is shown as soon as it is known to be the one in force here; before, nothing rests on it.
        contract = self._agreement.get().contract if self._agreement.cards is not None else None
        return {
            "type": "status",
            "version": cloister.__version__,
            "entry": self._entry,
            "mode": self._mode,
            "state": state.value,
            "assurance": verdict.assurance if verdict else None,
            "word": badge(self._uplink),
            "tone": self._tone(),
            "session": str(getattr(self._uplink.session, "session", "")),
            "promote": promotes_to(self._entry) if self._mode == "mock" else "",
            "kernel_started": self._events.kernel_started,
            "checklist": checklist(state, verdict, self._uplink.error, contract),
            "error": self._error(),
            "budget": budget_of(self._events.budget),
            "releases": self._events.released,
            "time": str(verdict.time) if verdict else "",
            "display_mark": self._mark(),
        }

    def _mark(self) -> str:
        """Return who looks, and under which contract: of the person's own copy, whatever became of the enclave."""
        if self._mode != "confidential":
            return ""
        self._analyst = str(getattr(self._uplink.session, "analyst", "")) or self._analyst
        try:
            return mark_of(self._agreement.get().contract, self._analyst)
        except CloisterError:
            return ""

    def _tone(self) -> Tone:
        if self._uplink.gone:
            return "red"
        if self._uplink.verdict is None:
            return "grey"
        # A verdict that does not say how good it is, is not shown as good; a replay's is never better than grey.
        tone = cast("Tone", getattr(self._uplink.verdict, "tone", "amber"))
        return "grey" if self._mode == "replay" and tone != "red" else tone

    def _error(self) -> page.Refusal | None:
        error = self._uplink.error or _vault_error(self._events.vault) or self._events.stopped
        if error is None:
            return None
        return {"code": error.code, "reason": error.reason, "clause": error.clause, "next_step": error.next_step}

    def _receipts(self) -> page.ReceiptsMessage:
        verified = self._events.verified
        last = islice(verified, max(len(verified) - RECEIPTS_SHOWN, 0), None)
        return {"type": "receipts", "total": self._events.released, "items": [receipt_item(facts) for facts in last]}


def mark_of(contract: Contract, analyst: str) -> str:
    """Return the mark of displays under a contract for the analyst with this did ("" if not known yet), "" if none."""
    if not packs.marks_displays(contract):
        return ""
    named = [party for party in contract.parties if party.role == "analyst" and party.did == analyst]
    who = f"{named[0].name} ({analyst[-8:]})" if named else "?"
    return f"{who} · {contract.name}"[:MARK_LENGTH]


def receipt_item(facts: ReleaseFacts) -> page.ReceiptItem:
    """Return what the page lists of a verified receipt."""
    return {
        "release": facts.release,
        "receipt": facts.receipt,
        "session": facts.session,
        "question": facts.question,
        "costs": [
            {"population": cost.population, "epsilon": cost.epsilon, "share": cost.share} for cost in facts.costs
        ],
        "time": facts.time,
        "recalled": facts.recalled,
        "assurance": facts.assurance,
        "cells": facts.cells,
    }


def budget_of(reported: Any) -> page.Budget | None:
    """Return the budget an enclave reported, limits the page knows only; ``None`` if it is not one."""
    try:
        # A silent broker is named once, by the privacy limit of the same account.
        told = [limit for limit in reported["limits"] if limit["name"] != "delta" or "error" not in limit]
        limits = [_limit(limit) for limit in told if limit["name"] in _LIMITS]
        alerts = msgspec.convert(reported.get("alerts", []), type=list[page.OwnAlert])
        return {"limits": limits, "alerts": alerts[:ALERTS_SHOWN], "time": str(reported["time"])}
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError):
        return None


def _limit(limit: dict[str, Any]) -> Any:
    if limit["name"] == "privacy" and "error" in limit:
        return page.SilentLimit(
            name="silent",
            population=str(limit["population"]),
            broker=str(limit["broker"]),
            reason=str(limit["error"]["reason"]),
        )
    # What the guarantee excludes is always told, also where it is nothing: a page that drops it would promise too much.
    excludes = {"excludes": ""} if limit["name"] in ("privacy", "delta") else {}
    return msgspec.convert({**excludes, **limit}, type=_LIMITS[limit["name"]])


def promotes_to(entry: str) -> str:
    """Return the kernelspec that runs an entry confidentially."""
    return _SHIPPED.get(entry, f"cloister-{entry}")


def _vault_error(vault: dict[str, Any] | None) -> CloisterError | None:
    error = vault.get("error") if vault and vault.get("state") == "died" else None
    return from_dict(error) if isinstance(error, dict) else None
