"""Manifests of evidence with expected verdicts: their schema, and the judgement of one case. Pure: bytes come in.

Anybody can bring vectors. What a manifest says in its own words (its verdicts and reasons) is mapped to the closed
lists of ``codes`` here and nowhere else; a word that is not listed is a mismatch, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from cloister.attest.evidence import RejectedError
from cloister.attest.tee.codes import CODES, VERDICTS
from cloister.attest.tee.examined import Examined, Roots
from cloister.attest.tee.formats import FORMATS
from cloister.errors import MalformedError

SCHEMA = 1
MAX_MANIFEST = 4 << 20

WORDS: Mapping[str, tuple[str, bool | None]] = MappingProxyType({
    "quote_signatures_ok": ("unanchored", None),
    "quote_signature_ok_ak_unanchored": ("unanchored", None),
    "verified_no_rim": ("references_missing", None),
    "binding_ok_debug": ("endorsements_missing", True),
})  # fmt: skip
"""Verdicts in a manifest's own words: our verdict, and the debug flag that the words imply (None: none)."""

REASONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"crl time", ("crl.expired", "crl.not_yet_valid")),
    (r"no matching TCB level", ("tcb.no_matching_level",)),
    (r"fmspc/pceid", ("tcb.fmspc",)),
    (r"InvalidSignature: ", ("evidence.signature", "evidence.chain")),
    (r"AssertionError: \(\{'bl': .*\}, \{'bl': .*\}\)", ("tcb.mismatch",)),
    (r"AssertionError: \('validity', '.*'\)", ("evidence.expired", "evidence.not_yet_valid")),
    (r"ValueError: Issuer certificate subject does not match certificate issuer\.", ("evidence.chain",)),
)  # fmt: skip
"""Reasons in a manifest's own words (the whole text must match): the codes that say the same."""


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a case must come out as; UNSET is not compared. ``steps``, ``binding`` and ``note`` are for readers."""

    verdict: str
    reason: str | None = None
    debug: bool | None = None
    tcb_status: str | msgspec.UnsetType | None = msgspec.UNSET
    qe_status: str | msgspec.UnsetType | None = msgspec.UNSET
    module_status: str | msgspec.UnsetType | None = msgspec.UNSET
    advisories: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    tcb: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    tcb_date: str | msgspec.UnsetType = msgspec.UNSET
    tcb_eval_num: int | msgspec.UnsetType = msgspec.UNSET
    signing_key: str | msgspec.UnsetType = msgspec.UNSET
    extra_data: str | msgspec.UnsetType = msgspec.UNSET
    steps: tuple[str, ...] = ()
    binding: str = ""
    note: str = ""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vector: paths relative to the manifest, times, claims and expectation.

    Fields without meaning for the verdict (``note``, ``trailing_bytes``, ...) are for readers.
    """

    id: str
    tee: str
    format: str
    evidence: str
    evidence_sha256: str
    expect: Expect
    endorsements: str | None = None
    endorsements_sha256: str | None = None
    event_log: str | None = None
    event_log_sha256: str | None = None
    roots: tuple[str, ...] = ()
    verification_time: datetime | None = None
    pck_not_before: datetime | None = None
    claims: dict[str, Any] = {}
    fmspc: str | None = None
    trailing_bytes: int = 0
    trailing_all_zero: bool = True
    vek_validity: tuple[str, ...] = ()
    leaf_validity: tuple[str, ...] = ()
    quote_signature_chain: str = ""
    dcap_qvl_0_7_0: str = ""
    note: str = ""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A list of cases; ``generated`` is a date."""

    schema: int
    generated: str
    vectors: tuple[Case, ...]


class Outcome(msgspec.Struct, frozen=True):
    """What came out of a case: verdict, reason code, and every difference from what was expected, in words."""

    verdict: str
    reason: str
    differences: tuple[str, ...]


def parse(data: bytes) -> Manifest:
    """Return the manifest of JSON ``data``.

    Raises:
        MalformedError: ``manifest.malformed``: not of this schema.
    """
    if len(data) > MAX_MANIFEST:
        raise MalformedError("manifest.malformed", "the manifest is too long")
    try:
        found = msgspec.json.decode(data, type=Manifest)
        datetime.fromisoformat(found.generated)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedError("manifest.malformed", f"not a manifest of schema {SCHEMA}: {error}") from error
    if found.schema != SCHEMA:
        raise MalformedError("manifest.malformed", f"a manifest of schema {found.schema}; known is {SCHEMA}")
    names = [case.id for case in found.vectors]
    if len(set(names)) != len(names):
        raise MalformedError("manifest.malformed", "two cases have the same id")
    if not names:
        raise MalformedError("manifest.malformed", "a manifest without cases")
    return found


def time_of(case: Case, manifest: Manifest) -> datetime:
    """Return when a case is verified: its own time, else a day after its PCK certificate began, else the manifest's."""
    if case.verification_time is not None:
        return _aware(case.verification_time)
    if case.pck_not_before is not None:
        return _aware(case.pck_not_before) + timedelta(days=1)
    return _aware(datetime.fromisoformat(manifest.generated))


def judge(case: Case, blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Outcome:
    """Return what the verifier of the case's format says, and how that differs from the expectation.

    Raises:
        MalformedError: ``manifest.format``: no verifier for this TEE and format.
    """
    known = FORMATS.get((case.tee, case.format))
    if known is None:
        raise MalformedError("manifest.format", f"no verifier for {case.tee} in the format {case.format!r}")
    try:
        examined = known.examine(blob, endorsements, roots, now)
    except RejectedError as error:
        return Outcome("rejected", error.code, tuple(_rejection(case.expect, error.code)))
    return Outcome(examined.verdict, "", tuple(_differences(case, examined)))


def codes_for(reason: str) -> tuple[str, ...]:
    """Return the codes that a manifest's reason stands for: one of our own, or words of ``REASONS``; else none."""
    if reason in CODES:
        return (reason,)
    return next((codes for pattern, codes in REASONS if re.fullmatch(pattern, reason, re.DOTALL)), ())


def _rejection(expect: Expect, code: str) -> list[str]:
    if expect.verdict != "rejected":
        return [f"verdict rejected, expected {expect.verdict}"]
    if expect.reason is None:
        return []
    codes = codes_for(expect.reason)
    if not codes:
        return [f"the manifest's reason {expect.reason!r} is in no list"]
    return [] if code in codes else [f"reason {code}, expected {' or '.join(codes)}"]


def _differences(case: Case, examined: Examined) -> list[str]:
    expect = case.expect
    verdict, implied = (expect.verdict, None) if expect.verdict in VERDICTS else WORDS.get(expect.verdict, ("", None))
    if not verdict:
        return [f"the manifest's verdict {expect.verdict!r} is in no list"]
    wanted: dict[str, Any] = {"verdict": verdict}
    if implied is not None:
        wanted["debug"] = implied
    for name in (
        "debug", "tcb_status", "qe_status", "module_status", "advisories", "tcb", "tcb_date", "tcb_eval_num",
        "signing_key", "extra_data",
    ):  # fmt: skip
        value = getattr(expect, name)
        if value is not msgspec.UNSET and (value is not None or name != "debug"):
            wanted[name] = value
    if case.fmspc is not None:
        wanted["fmspc"] = case.fmspc
    wanted |= case.claims
    return [
        f"{name} {found!r}, expected {value!r}"
        for name, value in wanted.items()
        if (found := _found(examined, name)) != value
    ]


def _found(examined: Examined, name: str) -> Any:
    """Return what the evidence says under a name of the manifest: a field, a measurement or a detail."""
    if name in examined.__struct_fields__:
        return getattr(examined, name)
    return examined.launch.get(name, examined.details.get(name))


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
