"""Endorsements that a relying party keeps itself: vendors' signed statements and, where no vendor signs, its own word.

Collateral that travels with evidence is chosen by whoever sends it, who may prefer the oldest that is still valid; and
key sets that nothing signs (``jwks``, ``iak``) count only from here. A bundle is one JSON document, kept and carried as
a file, so that verification needs no network. It only moves forward: what would replace something by an older
statement is refused (``add``).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from cloister.attest import roots as packaged
from cloister.attest.encoding import b64, unb64
from cloister.attest.evidence import Evidence, RejectedError
from cloister.attest.tee import azure_vtpm, cca, dcap, gcp_oidc, intel_collateral, sgx, snp, tdx, vek, x509
from cloister.attest.tee import sgx_report as sgx_body
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.wire import canonical

MAX_BUNDLE = 32 << 20
Kind = Literal["collateral", "vek", "jwks", "iak"]
# What only the relying party may say: nobody signs it, so nothing tells an older one from a newer one either.
OWN_WORD: frozenset[str] = frozenset({"jwks", "iak"})
MAX_OWN_WORD = 256 * 1024
_MAX_EVIDENCE = 4 << 20


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One endorsement: base64 of what is handed to the verifier.

    ``subject`` is whose it is: ``tdx:<fmspc>``, ``vcek:<chip>:<tcb>``, ``vlek:<product>:<tcb>``, or empty. ``marks``
    tell how new it is: none of them may ever fall. ``until`` is the end of its validity (RFC 3339), if it has one.
    """

    kind: Kind
    subject: str
    data: str
    marks: dict[str, int] = {}
    until: str = ""


class Floor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a bundle was known to hold: an entry of this kind for this subject must not be older.

    ``marks`` as of an entry; ``digest`` names a key set that nobody signs, and nothing else will do.
    """

    kind: Kind
    subject: str
    marks: dict[str, int] = {}
    digest: str = ""

    def older(self, entry: Entry | None) -> list[str]:
        """Return in which marks an entry is older (``data``: another key set, or nothing at all)."""
        if entry is None or (self.digest and canonical.digest_bytes(base64.b64decode(entry.data)) != self.digest):
            return ["data"]
        return sorted(name for name, mark in self.marks.items() if entry.marks.get(name, -1) < mark)


def floor_of(entry: Entry) -> Floor:
    """Return what an entry has to be replaced by at least."""
    own = entry.kind in OWN_WORD
    digest = canonical.digest_bytes(base64.b64decode(entry.data)) if own else ""
    return Floor(entry.kind, entry.subject, entry.marks, digest)


class Endorsements(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle; at most one entry of a kind for a subject.

    ``floors`` say what it was known to hold before it was put back to an older state, and ``lost`` when what it held
    became unknown: from then on nothing is verified without an entry of its own.
    """

    entries: tuple[Entry, ...] = ()
    version: Literal[1] = 1
    floors: tuple[Floor, ...] | msgspec.UnsetType = msgspec.UNSET
    lost: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def known(self) -> tuple[Floor, ...]:
        """The floors."""
        return self.floors if isinstance(self.floors, tuple) else ()

    def of(self, kind: str, subject: str = "") -> Entry | None:
        """Return the entry of a kind for a subject."""
        return next((one for one in self.entries if (one.kind, one.subject) == (kind, subject)), None)

    def for_evidence(self, evidence: Evidence) -> dict[str, bytes]:
        """Return what this bundle holds for evidence, by the names verifiers know; evidence that cannot be read: {}.

        Raises:
            TrustError: ``endorsements.lost``: something newer was held before, or may have been.
        """
        try:
            wanted = _wanted(evidence)
        except CloisterError:
            return {}
        for kind, subject in wanted.values():
            self._check_held(kind, subject)
        found = {name: self.of(kind, subject) for name, (kind, subject) in wanted.items()}
        return {name: base64.b64decode(entry.data) for name, entry in found.items() if entry is not None}

    def _check_held(self, kind: Kind, subject: str) -> None:
        entry = self.of(kind, subject)
        floor = next((one for one in self.known if (one.kind, one.subject) == (kind, subject)), None)
        gone = entry is None and isinstance(self.lost, str)
        if gone or (floor is not None and floor.older(entry)):
            raise TrustError(
                "endorsements.lost",
                f"{kind} of {subject or 'this party'}: a newer one {'may have been' if gone else 'was'} held here",
                next_step="get it anew, and `cloister endorse` it",
            )

    def beside(self, evidence: Evidence) -> dict[str, bytes]:
        """Return what this bundle holds and the evidence does not bring: for evidence of an earlier time."""
        return {name: data for name, data in self.for_evidence(evidence).items() if name not in evidence.endorsements}


def parse(data: bytes) -> Endorsements:
    """Return a bundle.

    Raises:
        MalformedError: ``endorsements.bundle``.
    """
    if len(data) > MAX_BUNDLE:
        raise MalformedError("endorsements.bundle", f"a bundle of {len(data)} bytes")
    try:
        bundle = msgspec.json.decode(data, type=Endorsements)
        for entry in bundle.entries:
            base64.b64decode(entry.data, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError) as error:
        raise MalformedError(
            "endorsements.bundle", f"not a bundle of endorsements: {error}", next_step="cloister endorse makes one"
        ) from error
    names = [(entry.kind, entry.subject) for entry in bundle.entries]
    if len(set(names)) != len(names):
        raise MalformedError("endorsements.bundle", "a bundle holds one endorsement of a kind for a subject")
    return bundle


def read_entry(
    kind: Kind, data: bytes, now: datetime, *, trusted: Mapping[str, tuple[x509.Certificate, ...]] | None = None
) -> Entry:
    """Return an endorsement as an entry, after every check that needs no evidence.

    ``trusted`` replaces the packaged roots by vendor (``intel``, ``amd``).

    Raises:
        RejectedError: Its signature, chain or time does not hold.
        MalformedError: ``endorsements.malformed``: empty or too large.
    """
    text = b64(data)
    if kind == "collateral":
        stands = intel_collateral.standing(data, _roots("intel", trusted), now)
        return Entry(kind, f"{stands.tee}:{stands.fmspc}", text, stands.marks, _time(stands.window.not_after))
    if kind == "vek":
        key = vek.check(data, _roots("amd", trusted), now)
        whose = key.hardware_id.ljust(64, b"\0").hex() if key.kind == "VCEK" else key.product.lower()
        mark = {"notBefore": int(key.window.not_before.timestamp())}
        return Entry(kind, f"{key.kind.lower()}:{whose}:{key.tcb.hex()}", text, mark, _time(key.window.not_after))
    if not data or len(data) > MAX_OWN_WORD:
        raise MalformedError("endorsements.malformed", f"{kind} of {len(data)} bytes")
    return Entry(kind, "", text)


def add(bundle: Endorsements, entry: Entry, *, replace: bool = False) -> Endorsements:
    """Return the bundle with one entry more, or one replaced by a newer one.

    ``replace``: the person says that another key set takes the place of the one that is held.

    Raises:
        TrustError: ``endorsements.older``: something about it is older than what is held; ``endorsements.held``:
            nothing tells which of two key sets is newer.
    """
    held = bundle.of(entry.kind, entry.subject)
    floor = next((one for one in bundle.known if (one.kind, one.subject) == (entry.kind, entry.subject)), None)
    if floor is not None and floor.older(entry) and not (floor.digest and replace):
        raise TrustError(
            "endorsements.older",
            f"{entry.kind} of {entry.subject}: {', '.join(floor.older(entry))} would go back behind what was held",
            next_step="take what the vendor publishes now; --replace for another key set of your own",
        )
    if held is not None and held.data != entry.data:
        if entry.kind in OWN_WORD and not replace:
            raise TrustError(
                "endorsements.held",
                f"the bundle holds another {entry.kind}; nobody signs them, so nothing says which is newer",
                next_step="--replace, if you know that the new one is right",
            )
        older = sorted(name for name, mark in held.marks.items() if entry.marks.get(name, -1) < mark)
        if older:
            raise TrustError(
                "endorsements.older",
                f"{entry.kind} of {entry.subject}: {', '.join(older)} would go back",
                next_step="take what the vendor publishes now; what is held stays",
            )
    kept = [one for one in bundle.entries if (one.kind, one.subject) != (entry.kind, entry.subject)]
    ordered = sorted([*kept, entry], key=lambda one: (one.kind, one.subject))
    return _with_floors(msgspec.structs.replace(bundle, entries=tuple(ordered)), bundle.known, dropped=floor)


def require(bundle: Endorsements, floor: Floor) -> Endorsements:
    """Return the bundle with what it is known to have held, unless it holds that."""
    former = next((one for one in bundle.known if (one.kind, one.subject) == (floor.kind, floor.subject)), None)
    met = not floor.older(bundle.of(floor.kind, floor.subject))
    return _with_floors(bundle, bundle.known if met else (*bundle.known, floor), dropped=former)


def lose(bundle: Endorsements, now: str) -> Endorsements:
    """Return the bundle of somebody who does not know what it held: empty, and nothing gets older than it was."""
    floors = {(one.kind, one.subject): one for one in bundle.known}
    floors |= {(one.kind, one.subject): floor_of(one) for one in bundle.entries}
    # Which key set was the last one nobody knows; any may be said again, by the owner.
    kept = [one for one in floors.values() if not one.digest]
    return msgspec.structs.replace(_with_floors(Endorsements(), kept), lost=now)


def _with_floors(bundle: Endorsements, floors: Iterable[Floor], *, dropped: Floor | None = None) -> Endorsements:
    kept = sorted((one for one in floors if one is not dropped), key=lambda one: (one.kind, one.subject))
    return msgspec.structs.replace(bundle, floors=tuple(kept) or msgspec.UNSET)


def _wanted(evidence: Evidence) -> dict[str, tuple[Kind, str]]:
    """Return what evidence needs, as (kind, subject) by the verifier's name: it is only asked who it says it is."""
    blob = unb64(evidence.blob, limit=_MAX_EVIDENCE)
    if evidence.tee == gcp_oidc.TEE:
        return {gcp_oidc.ENDORSEMENT: ("jwks", "")}
    if evidence.tee == cca.TEE:
        return {cca.ENDORSEMENT: ("iak", "")}
    if evidence.tee in (sgx.TEE, tdx.TEE, azure_vtpm.TEE_TDX):
        quote = azure_vtpm.td_quote(blob) if evidence.tee == azure_vtpm.TEE_TDX else blob
        kind = "sgx" if evidence.tee == sgx.TEE else "tdx"
        return {dcap.COLLATERAL: ("collateral", f"{kind}:{_fmspc(quote)}")}
    if evidence.tee == snp.TEE:
        report = snp.parse(blob)
        whose = report.chip_id.hex() if report.signing_key == "VCEK" else snp.product_named(report)
        return {snp.ENDORSEMENT: ("vek", f"{report.signing_key.lower()}:{whose}:{report.reported_tcb.hex()}")}
    return {}


def _fmspc(quote: bytes) -> str:
    at, header = dcap.open_quote(quote)
    if header.version == 3:
        at.take(sgx_body.SIZE)
    else:
        tdx.read_body(at, header)
    return dcap.platform_named(dcap.read_signatures(at, header)).fmspc.hex()


def _roots(vendor: str, trusted: Mapping[str, tuple[x509.Certificate, ...]] | None) -> tuple[x509.Certificate, ...]:
    if trusted is not None:
        return trusted[vendor]
    names = {"intel": ("intel",), "amd": snp.VENDORS}[vendor]
    return tuple(certificate for name in names for certificate in packaged.of(name))


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = [
    "Endorsements",
    "Entry",
    "Floor",
    "Kind",
    "RejectedError",
    "add",
    "floor_of",
    "parse",
    "read_entry",
    "require",
]
