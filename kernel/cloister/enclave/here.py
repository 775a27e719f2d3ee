"""``cloister attest here``: ask this machine's own TEE for evidence, verify it, and keep it as a vector for others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from cloister.attest import roots as packaged
from cloister.attest.appraise import appraise
from cloister.attest.encoding import unb64
from cloister.attest.evidence import Evidence, RejectedError
from cloister.attest.policy import Accept, Policy, Reference
from cloister.attest.tee.examined import Examined, conclude
from cloister.attest.tee.formats import FORMATS
from cloister.enclave.attesters import Attester
from cloister.enclave.simulator import SimulatorAttester
from cloister.errors import UnavailableError


class Found(msgspec.Struct, frozen=True):
    """What this machine produced, and what its verifier said of it: ``examined``, or ``rejected`` with a code."""

    evidence: Evidence
    asked: bytes
    time: datetime
    examined: Examined | None
    rejected: str

    @property
    def bound(self) -> bool:
        """Whether the evidence reports the very bytes that were asked for."""
        return self.examined is not None and self.examined.report_data == self.asked.hex()

    @property
    def verdict(self) -> str:
        """The verdict in the words of ``docs/evidence.md``."""
        return self.examined.verdict if self.examined else "rejected"


def ask(attester: Attester, report_data: bytes, now: datetime) -> Found:
    """Return evidence over 64 bytes of report data and what its verifier says of it now.

    Raises:
        UnavailableError: ``attester.none``: only a simulator is here; or the attester's own.
    """
    if attester.tee == SimulatorAttester.tee:
        raise UnavailableError(
            "attester.none",
            "this machine shows no TEE",
            next_step="run it inside a confidential virtual machine (docs/evidence.md, section Attesters)",
        )
    evidence = attester.collect(report_data, contract="", env_digest="", runtime={})
    known = FORMATS.get((evidence.tee, evidence.format))
    if known is None:
        return Found(evidence, report_data, now, None, "evidence.format")
    roots = tuple(certificate for vendor in known.vendors for certificate in packaged.of(vendor))
    try:
        given = {name: unb64(text) for name, text in evidence.endorsements.items()}
        return Found(evidence, report_data, now, known.examine(unb64(evidence.blob), given, roots, now), "")
    except RejectedError as error:
        return Found(evidence, report_data, now, None, error.code)
    except Exception:  # noqa: BLE001 (boundary: evidence may be anything)
        # What the machine produced is kept and said, whatever the verifier makes of it.
        return Found(evidence, report_data, now, None, "evidence.malformed")


def lines(found: Found) -> list[str]:
    """Return what was found, one fact a line."""
    told = [f"tee: {found.evidence.tee}", f"format: {found.evidence.format}", f"verdict: {found.verdict}"]
    if found.examined is None:
        return [*told, f"reason: {found.rejected}"]
    examined = found.examined
    facts: Mapping[str, Any] = {
        "reports what was asked": "yes" if found.bound else "NO",
        "debug": "YES" if examined.debug else "no",
        "tcb_status": examined.tcb_status,
        "advisories": ", ".join(examined.advisories),
        "tcb": examined.tcb,
        "signer": examined.signer,
        **examined.launch,
    }
    told += [f"{name}: {value}" for name, value in facts.items() if value not in (None, "", {})]
    return told + [f"warning: {text}" for text in examined.warnings]


def appraised(found: Found) -> str:
    """Return what a policy would think of this machine that approves exactly what it reports, "" if nothing verified.

    The vector says what else stands in the way of *affirming*: status, advisories, warnings, versions, age of
    collateral. It approves no code: whoever relies on the machine has references of their own.
    """
    if found.examined is None or found.examined.verdict != "verified" or not found.bound:
        return ""
    claims = conclude(found.examined, found.asked)
    launch = tuple(f"{claims.tee}:{name}={value}" for name, value in claims.launch.items())
    policy = Policy("here", Accept((claims.tee,)), Reference(("",), launch, covers_code=True))
    vector = appraise(claims, policy, contract="")
    lines = [f"{result.claim} {result.value}" for result in vector.results if result.value not in (0, 2, 3)]
    return vector.status + (f" ({', '.join(lines)})" if lines else "")


def row(found: Found, kernel: str, attester: str) -> str:
    """Return the machine as a row of docs/hardware.md: nothing in it names the machine or its owner."""
    cells = (
        f"{found.time:%Y-%m-%d}",
        kernel,
        f"{found.evidence.tee} ({found.evidence.format})",
        attester,
        found.verdict + (f" {found.rejected}" if found.rejected else "") + ("" if found.bound else ", NOT as asked"),
        appraised(found) or "not appraised",
    )
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def save(found: Found, folder: Path) -> Path:
    """Write evidence and endorsements with a manifest for ``cloister attest check``, and return the manifest's path.

    Raises:
        UnavailableError: ``attester.save``: the folder exists or cannot be written.
    """
    case: dict[str, Any] = {
        "id": f"{found.evidence.tee}-{found.time:%Y-%m-%d}",
        "tee": found.evidence.tee,
        "format": found.evidence.format,
        "verification_time": f"{found.time:%Y-%m-%dT%H:%M:%SZ}",
        "expect": {"verdict": found.verdict, **({"reason": found.rejected} if found.rejected else {})},
    }
    if found.examined:
        case["expect"]["debug"] = found.examined.debug
        case["claims"] = {"report_data": found.examined.report_data, **found.examined.launch}
    files = {"evidence": ("evidence.bin", unb64(found.evidence.blob))}
    known = FORMATS.get((found.evidence.tee, found.evidence.format))
    if known and known.endorsement in found.evidence.endorsements:
        files["endorsements"] = ("endorsements.bin", unb64(found.evidence.endorsements[known.endorsement]))
    for field, (name, data) in files.items():
        case |= {field: name, f"{field}_sha256": hashlib.sha256(data).hexdigest()}
    document = {"schema": 1, "generated": f"{found.time:%Y-%m-%d}", "vectors": [case]}
    try:
        folder.mkdir(parents=True)
        for name, data in files.values():
            (folder / name).write_bytes(data)
        (folder / "MANIFEST.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnavailableError("attester.save", f"{folder} cannot be written ({error.strerror})") from error
    return folder / "MANIFEST.json"
