"""Lists of revoked certificates (RFC 5280 section 5): read, checked against their issuer and the time, asked."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cloister.attest.tee import der, x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.der import Der
from cloister.attest.tee.x509 import Certificate, Window

MAX_CRL = 1 << 20
_AREA = "endorsements"
# RFC 5280 section 5.2.3.
_CRL_NUMBER = "2.5.29.20"


class RevocationList(msgspec.Struct, frozen=True):
    """One list: its issuer's name (DER), its times, the revoked serial numbers, and its own number if it has one."""

    tbs: bytes
    algorithm: bytes
    issuer: bytes
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int]
    signature: bytes
    number: int | None = None

    @property
    def window(self) -> Window:
        """From when to when the list speaks."""
        return Window(self.this_update, self.next_update)


def parse(data: bytes) -> RevocationList:
    """Return the list of exactly these DER bytes; one without an end of validity is refused.

    Raises:
        RejectedError: ``endorsements.malformed`` or ``endorsements.oversize``.
    """
    if len(data) > MAX_CRL:
        raise rejected("endorsements.oversize", f"a revocation list of {len(data)} bytes")
    outer = Der(data, _AREA)
    whole = outer.enter()
    outer.end()
    tbs, algorithm, signature = whole.next(der.SEQUENCE), whole.next(der.SEQUENCE), whole.bits()
    whole.end()
    body = Der(tbs.value, _AREA)
    if body.integer() != 1 or body.next(der.SEQUENCE).raw != algorithm.raw:
        raise body.fail("not a revocation list of version 2, or two different signature algorithms")
    issuer = body.next(der.SEQUENCE).raw
    this_update, next_update = body.time(), body.time()
    revoked = _entries(body.enter()) if body.peek() == der.SEQUENCE else frozenset[int]()
    extensions = x509.read_extensions(body.enter(0xA0)) if body.peek() == 0xA0 else {}
    body.end()
    # A critical extension may narrow what the list covers (RFC 5280 section 5.2.5): then its silence proves nothing.
    if any(critical for critical, _ in extensions.values()):
        raise body.fail("a revocation list with a critical extension")
    stated = extensions.get(_CRL_NUMBER)
    number = Der(stated[1], _AREA).integer() if stated else None
    return RevocationList(tbs.raw, algorithm.raw, issuer, this_update, next_update, revoked, signature, number)


def _entries(listed: Der) -> frozenset[int]:
    serials: set[int] = set()
    while listed.more:
        entry = listed.enter()
        serials.add(entry.integer())
        entry.time()
        # Why it was revoked changes nothing here, not even "remove from list", which only delta lists may say.
        if entry.more:
            entry.next(der.SEQUENCE)
        entry.end()
    return frozenset(serials)


def check_time(found: RevocationList, now: datetime) -> None:
    """Check that the list speaks for ``now`` (both ends included).

    Raises:
        RejectedError: ``crl.expired`` or ``crl.not_yet_valid``.
    """
    if now < found.this_update:
        raise rejected("crl.not_yet_valid", f"the revocation list begins on {found.this_update:%Y-%m-%d}")
    if now > found.next_update:
        raise rejected("crl.expired", f"the revocation list ended on {found.next_update:%Y-%m-%d}")


def check_issuer(found: RevocationList, issuer: Certificate) -> None:
    """Check that ``issuer`` signed the list.

    Raises:
        RejectedError: ``endorsements.chain`` (another name, or a key that may not sign lists),
            ``endorsements.signature`` or ``evidence.algorithm``.
    """
    usage = issuer.extensions.get(x509.KEY_USAGE)
    bits = Der(usage[1], _AREA).next(der.BIT_STRING).value if usage else b""
    # cRLSign is bit 6 of the first byte, from the left.
    if found.issuer != issuer.subject or len(bits) < 2 or not bits[1] & 0x02:
        raise rejected("endorsements.chain", "a revocation list of another issuer, or of a key that may not sign it")
    x509.check_signature(issuer, found.algorithm, found.tbs, found.signature, "endorsements.signature")
