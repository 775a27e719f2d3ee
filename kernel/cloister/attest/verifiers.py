"""Verifiers by TEE name: one small file each, found through the entry point group ``cloister.verifiers``.

A verifier is a pure function ``verify(evidence, binding, endorsements, now) -> Claims`` that raises only
``RejectedError``. Adding a TEE adds a file and an entry point; nobody edits a switch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Protocol

from cloister.attest.encoding import unb64
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.errors import CloisterError, TrustError

GROUP = "cloister.verifiers"


class Verifier(Protocol):
    """Checks one TEE's evidence against 64 bytes of report data at time ``now``."""

    def __call__(
        self, evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime, /
    ) -> Claims:
        """Return the claims, or raise ``RejectedError``."""


@functools.cache
def installed() -> Mapping[str, Verifier]:
    """Return the installed verifiers by TEE name.

    Raises:
        TrustError: Two packages offer a verifier for one TEE: nobody may shadow another.
    """
    found: dict[str, Verifier] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in found:
            raise TrustError("verifier.twice", f"two installed packages verify {entry.name}")
        found[entry.name] = entry.load()
    return MappingProxyType(found)


def verify(
    evidence: Evidence,
    report_data: bytes,
    now: datetime,
    *,
    endorsements: Mapping[str, bytes] | None = None,
    verifiers: Mapping[str, Verifier] | None = None,
) -> Claims:
    """Verify evidence with the verifier of its TEE.

    Raises:
        RejectedError: ``evidence.tee`` (nobody verifies it here) or the verifier's own code.
    """
    verifier = (installed() if verifiers is None else verifiers).get(evidence.tee)
    if verifier is None:
        raise RejectedError("evidence.tee", f"no verifier for {evidence.tee!r} is installed here")
    try:
        given = {name: unb64(text, code="evidence.malformed") for name, text in evidence.endorsements.items()}
        claims = verifier(evidence, report_data, {**given, **(endorsements or {})}, now)
    except RejectedError:
        raise
    except CloisterError as error:
        raise RejectedError("evidence.malformed", error.reason) from error
    except Exception as error:
        # A verifier that fails in any way must not admit.
        raise RejectedError("evidence.malformed", f"the verifier failed ({type(error).__name__})") from error
    # A policy names the TEEs it accepts: a verifier of one must not speak in the name of another.
    if claims.tee != evidence.tee:
        raise RejectedError("evidence.claims", f"a verifier of {evidence.tee} made claims of {claims.tee!r}")
    return claims
