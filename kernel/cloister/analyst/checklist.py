"""The enclave as a checklist: genuine hardware, approved code, fresh, bound to this session, placement, isolation.

Every line says what *this* machine established, and no more: what was not checked is ``unknown``, a simulator is never
genuine hardware, and after the connection is lost nothing is claimed about the enclave at its other end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from cloister.analyst import page
from cloister.analyst.session import Verdict
from cloister.analyst.uplink import State
from cloister.contract.terms import Contract
from cloister.errors import CloisterError

Name = Literal["hardware", "code", "fresh", "session", "placement", "isolation"]
Level = Literal["ok", "warn", "fail", "unknown"]
NOT_ATTESTED = "not attested"
NAMES: tuple[Name, ...] = ("hardware", "code", "fresh", "session", "placement", "isolation")
_REFUSED_BY: dict[str, Name] = {
    "evidence.tee": "hardware",
    "evidence.format": "hardware",
    "evidence.signature": "hardware",
    "evidence.claims": "hardware",
    "appraisal.tee": "hardware",
    "appraisal.instance": "hardware",
    "appraisal.simulated": "hardware",
    "appraisal.debug": "hardware",
    "appraisal.tcb": "hardware",
    "appraisal.collateral": "hardware",
    "appraisal.migratable": "hardware",
    "appraisal.vmpl": "hardware",
    "appraisal.component": "hardware",
    "appraisal.token": "hardware",
    "appraisal.measurement": "code",
    "appraisal.tenancy": "session",
    "appraisal.env_digest": "code",
    "appraisal.warning": "code",
    "evidence.binding": "session",
    "offer.contract": "session",
    "offer.previous": "session",
    "appraisal.contract": "session",
    "channel.key": "session",
    "appraisal.isolation": "isolation",
    "isolation.grade": "isolation",
    "sandbox.isolation": "isolation",
}
# Areas of codes that say what is wrong with a platform, its endorsements or its helpers (docs/evidence.md).
_HARDWARE_AREAS = ("evidence.", "endorsements.", "references.", "crl.", "tcb.", "qe.", "tdx.")
_NOT_NOW: dict[State, str] = {
    State.DIALLING: "not verified yet",
    State.REFUSED: "not verified: there is no session with this enclave",
    State.LOST: "the connection was lost: nothing can be said about the enclave now",
}


def checklist(
    state: State, verdict: Verdict | None, error: CloisterError | None, contract: Contract | None
) -> list[page.ChecklistItem]:
    """Return the six lines, in the order of ``NAMES``."""
    if verdict is None or state in _NOT_NOW:
        culprit = _culprit(error.code) if error is not None and state is State.REFUSED else None
        lines = dict.fromkeys(NAMES, _NOT_NOW.get(state, "not verified"))
        if error is not None and culprit is not None:
            lines[culprit] = error.reason
        return [_item(name, "fail" if name == culprit else "unknown", text) for name, text in lines.items()]
    if verdict.status == NOT_ATTESTED:
        text = (
            "not attested: this kernel answers from receipts, and no enclave runs; `cloister verify` says their worth"
        )
        return [_item(name, "unknown", text) for name in NAMES[:-1]] + [_isolation(verdict.isolation)]
    return [
        _hardware(verdict),
        _code(verdict),
        _item("fresh", "ok", "the evidence answers a nonce that this machine made for this session"),
        _session(verdict),
        _placement(contract),
        _isolation(verdict.isolation),
    ]


def _culprit(code: str) -> Name | None:
    return _REFUSED_BY.get(code, "hardware" if code.startswith(_HARDWARE_AREAS) else None)


def _hardware(verdict: Verdict) -> page.ChecklistItem:
    if verdict.assurance == "simulated":
        text = "simulated: there is no genuine hardware, so the owner of its machine can read and change everything"
        return _item("hardware", "fail", text)
    return _item("hardware", "ok", f"{verdict.word}; its evidence was verified on this machine")


def _code(verdict: Verdict) -> page.ChecklistItem:
    digest = str(getattr(verdict, "env_digest", ""))
    named = f" ({digest[:23]}...)" if digest else ""
    if verdict.status == "affirming":
        return _item("code", "ok", f"measured by the hardware, and approved by your policy{named}")
    text = f"approved by your policy{named}, but only the enclave itself says that it runs this code"
    return _item("code", "warn", text)


def _session(verdict: Verdict) -> page.ChecklistItem:
    binding = str(getattr(verdict, "binding", ""))
    if not binding:
        return _item("session", "unknown", "no binding of this channel is known")
    return _item("session", "ok", f"the evidence names the keys of this very channel (binding {binding[:16]}...)")


def _placement(contract: Contract | None) -> page.ChecklistItem:
    if contract is None:
        return _item("placement", "unknown", "not known before the contract is")
    if contract.placement == "colocated":
        text = (
            "notebook code runs on the machine that holds the data, in another process: timing and cache channels "
            "between them are not stopped"
        )
        return _item("placement", "warn", text)
    return _item("placement", "unknown", "the contract keeps notebook code on another machine; not checked from here")


def _isolation(reached: Any) -> page.ChecklistItem:
    found = reached if isinstance(reached, Mapping) else {}
    level = found.get("level")
    features = ", ".join(
        f"{key} {value}" for key, value in found.items() if isinstance(value, str | int) and key != "level"
    )
    shown = f" ({features})" if features else ""
    if level == "full":
        return _item("isolation", "ok", f"full: notebook code is confined by the system{shown}")
    if level == "reduced":
        return _item("isolation", "warn", f"reduced: the system offers only a part of the confinement{shown}")
    if level == "none":
        return _item("isolation", "fail", "none: notebook code runs without a sandbox; demonstration data only")
    return _item("isolation", "unknown", "the enclave did not say how notebook code is confined")


def _item(name: Name, state: Level, text: str) -> page.ChecklistItem:
    return {"name": name, "state": state, "text": text}
