"""Software releases: a signed statement of which code a version of Cloister is, measured for each TEE.

A contract pins who may sign them and the least version (clause ``software``), so that a patch needs no new contract. A
release is a document of this schema in canonical JSON, signed as every other document here (DSSE, ``did:key``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from cloister.attest.evidence import Claims
from cloister.attest.references import CODE_REGISTERS, covered
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.wire import canonical, documents, envelope
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

RELEASE_TYPE = "application/vnd.cloister.software-release.v1+json"
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DIGEST = re.compile(r"sha384:[0-9a-f]{96}")


class References(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Measurements of the release as one TEE reports them.

    ``launch`` holds ``name=value``, every one that covers the code (docs/evidence.md), several values of one name where
    machines differ. ``covers_code``: they cover the code that computes ``env_digest``. ``found`` says of each name how
    its value was found (``cloister measure``).
    """

    tee: str
    launch: tuple[str, ...]
    covers_code: bool = False
    found: dict[str, str] = {}


class SoftwareRelease(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of the software. ``policies``: digests of the policies it was made for; none: any.

    ``version`` is one to four numbers separated by points; they are compared number by number.
    """

    version: str
    signer: str
    env_digest: str
    not_before: str
    references: tuple[References, ...] = ()
    policies: tuple[str, ...] = ()
    schema: Literal[1] = 1

    def references_of(self, tee: str) -> References:
        """Return the measurements for a TEE; empty ones, which approve nothing, where it states none."""
        return next((one for one in self.references if one.tee == tee), References(tee, ()))


class Highest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The highest version a relying party admitted for a contract, and when it first did."""

    version: str
    time: str


class SoftwareRules(msgspec.Struct, frozen=True):
    """What code may be, by contract and relying party.

    ``signers``, ``minimum`` and ``overlap`` are the contract's; ``documents`` the releases this party was given;
    ``policy`` the digest of its policy; ``highest`` what it remembers.
    """

    signers: tuple[str, ...]
    minimum: str
    overlap: timedelta
    documents: tuple[Envelope, ...] = ()
    policy: str = ""
    highest: Highest | None = None


def version_key(text: str) -> tuple[int, ...]:
    """Return what versions are compared by; trailing zeros do not count.

    Raises:
        MalformedError: ``release.version``.
    """
    if not _VERSION.fullmatch(text):
        raise MalformedError("release.version", f"{text!r} is no version", next_step="write one like 1.4.2")
    numbers = [int(part) for part in text.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def moment(text: str) -> datetime:
    """Return the moment written as RFC 3339 in UTC (``2026-01-31T00:00:00Z``).

    Raises:
        MalformedError: ``release.time``.
    """
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise MalformedError("release.time", f"{text!r} is not a time", next_step="write 2026-01-31T00:00:00Z")


def check_release(release: SoftwareRelease) -> None:
    """Check what the schema cannot say.

    Raises:
        MalformedError: ``release.version``, ``release.time``, ``release.malformed``.
    """
    version_key(release.version)
    moment(release.not_before)
    if not _DIGEST.fullmatch(release.env_digest):
        raise MalformedError("release.malformed", "env_digest is sha384:<hex>", next_step="cloister measure")
    if len({one.tee for one in release.references}) != len(release.references):
        raise MalformedError("release.malformed", "two sets of references for one TEE")
    for one in release.references:
        named = {text.partition("=")[0].rpartition(":")[2] for text in one.launch}
        if missing := sorted(set(CODE_REGISTERS.get(one.tee, ("(an unknown TEE)",))) - named):
            raise MalformedError(
                "release.malformed",
                f"{one.tee}: nothing is said of {', '.join(missing)}",
                next_step="state every measurement that covers the code (docs/evidence.md), or leave the TEE out",
            )


def sign_release(release: SoftwareRelease, key: SigningKey) -> Envelope:
    """Return the signed document.

    Raises:
        MalformedError: As ``check_release``.
        TrustError: ``release.signer``: the key is another than the release names.
    """
    check_release(release)
    if release.signer != key.did:
        raise TrustError("release.signer", "the release names another signer than this key")
    return envelope.seal(RELEASE_TYPE, canonical.encode(release), key)


def digest_of(document: Envelope) -> str:
    """Return the digest by which a release is named: of its payload."""
    return canonical.digest_bytes(envelope.unverified_payload(document))


def open_release(document: Envelope, signers: Collection[str] = ()) -> SoftwareRelease:
    """Return a release after checking its signature by the signer it names, who is one of ``signers`` if any are given.

    Raises:
        MalformedError: ``release.malformed`` or ``release.version``.
        SignatureError: Not signed by the signer it names.
        TrustError: ``release.signer``: signed by somebody who may not.
    """
    try:
        release = documents.decode(envelope.unverified_payload(document), SoftwareRelease)
        check_release(release)
    except MalformedError as error:
        code = error.code if error.code.startswith("release.") else "release.malformed"
        raise MalformedError(code, f"not a software release: {error.reason}") from error
    envelope.open_envelope(document, RELEASE_TYPE, release.signer)
    if signers and release.signer not in signers:
        raise TrustError(
            "release.signer",
            f"release {release.version} is signed by {release.signer}, whom the contract does not name",
            clause="software.signers",
            next_step="use a release of a signer that the contract names, or sign a contract that names this one",
        )
    return release


def select(env_digest: str, rules: SoftwareRules, now: datetime, *, claims: Claims | None = None) -> SoftwareRelease:
    """Return the release that the measured code (its digest) is, the highest of those the rules accept.

    ``claims``: what evidence says of the code's launch, where there is evidence.

    Raises:
        TrustError: ``release.unknown``: none lists this code; else why the releases that do are not accepted.
        SignatureError, MalformedError: A release that lists it is not what it should be.
    """
    found: list[SoftwareRelease] = []
    refusals: list[CloisterError] = []
    for document in rules.documents:
        try:
            if not lists(document, {env_digest}):
                continue
            release = open_release(document, rules.signers)
            _check(release, rules, now)
            found.append(release)
        except CloisterError as error:
            refusals.append(error)
    if found:
        # Of two releases of one code, what runs is the one whose launch was measured.
        measured = [
            one
            for one in found
            if claims is not None and covered(claims.tee, claims.launch, one.references_of(claims.tee).launch)
        ]
        return max(measured or found, key=lambda one: version_key(one.version))
    if refusals:
        raise refusals[0]
    raise TrustError(
        "release.unknown",
        f"no software release that is known here lists the measured code ({env_digest[:23]}...)",
        clause="software",
        next_step="cloister release add RELEASE, with the release the enclave's operator installed",
    )


def highest_of(known: Iterable[Highest | None]) -> Highest | None:
    """Return the highest of several, the one seen first where versions are equal."""
    return max(
        (one for one in known if one is not None),
        key=lambda one: (version_key(one.version), -moment(one.time).timestamp()),
        default=None,
    )


def lists(document: Envelope, code: Collection[str]) -> bool:
    """Whether a document claims to be a release of code with one of these digests; what cannot be read claims none."""
    try:
        return documents.decode(envelope.unverified_payload(document), SoftwareRelease).env_digest in code
    except CloisterError:
        return False


def _check(release: SoftwareRelease, rules: SoftwareRules, now: datetime) -> None:
    version = version_key(release.version)
    if version < version_key(rules.minimum):
        raise TrustError(
            "release.minimum",
            f"release {release.version} is older than the contract's least version {rules.minimum}",
            clause="software.minimum",
            next_step="the enclave's operator installs a newer release",
        )
    if now < moment(release.not_before):
        raise TrustError(
            "release.early", f"release {release.version} counts from {release.not_before} on", clause="software"
        )
    if release.policies and rules.policy not in release.policies:
        raise TrustError(
            "release.policy",
            f"release {release.version} was not made for this party's policy",
            clause="software",
            next_step="ask its signer for a release that lists your policy's digest",
        )
    highest = rules.highest
    if highest and version < version_key(highest.version) and now > moment(highest.time) + rules.overlap:
        raise TrustError(
            "release.rollback",
            f"release {release.version} is older than {highest.version}, admitted here since {highest.time}, and the "
            f"time in which both run ({rules.overlap.days} days) is over",
            clause="software.overlap_days",
            next_step="the enclave's operator installs the newer release again",
        )
