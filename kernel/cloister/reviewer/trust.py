"""What a reviewer brings along: the identities and measurements that must not come from the notebook.

A TOML file the reviewer keeps (or gets from a publisher over another path than the notebook):

    version = 1

    [[provider]]
    name = "st_anna"
    did = "did:key:z6Mk..."

    [[measurement]]
    env_digest = "sha384:..."          # a released Cloister, from its release notes
    launch = ["mr_td=..."]             # for hardware: launch measurements that cover that code (docs/evidence.md)

    release_signers = ["did:key:..."]  # whose releases of the software you believe (before the first table)
    releases = ["release.json"]        # the releases: paths from this file on

    [policy]                           # which enclaves you accept (attest/policy.py); names and sections as there
    name = "mine"
    [policy.accept]
    tees = ["tdx"]
    [policy.hardware]
    evaluation = 17

Without a file nothing is pinned, and the best verdict is *self-consistent, origin unknown*. Without a policy every TEE
is appraised by the defaults of policies: no advisory open, no warning accepted, and no age of Intel's collateral or
least version of AMD's firmware named, so that a platform of theirs is a reservation.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from cloister.attest import releases
from cloister.attest.policy import Policy, check_policy
from cloister.errors import MalformedError, UnavailableError
from cloister.wire import identity
from cloister.wire.envelope import Envelope

MAX_TRUST_FILE = 256 * 1024


class ProviderPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider whose signature the reviewer knows; ``name`` is for reading only."""

    did: str
    name: str = ""


class MeasurementPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Code the reviewer knows: the digest of its files and, for hardware, launch measurements that cover it."""

    env_digest: str
    launch: tuple[str, ...] = ()
    name: str = ""


class ReviewerTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reviewer's own pins and policy. Empty by default: nothing is trusted because a notebook says so.

    ``releases`` names files; they are in ``documents``, and what they say is in ``measurement``, once ``load_trust``
    has read and checked them.
    """

    provider: tuple[ProviderPin, ...] = ()
    measurement: tuple[MeasurementPin, ...] = ()
    policy: Policy | None = None
    release_signers: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    version: Literal[1] = 1
    documents: tuple[Envelope, ...] = ()

    def knows_provider(self, did: str) -> bool:
        """Whether the provider with this did is pinned."""
        return any(pin.did == did for pin in self.provider)

    def knows_env(self, env_digest: str) -> bool:
        """Whether code of this digest is pinned; on hardware ``reviewer.appraising`` asks for more."""
        return any(pin.env_digest == env_digest for pin in self.measurement)


def parse_trust(text: str) -> ReviewerTrust:
    """Return the trust written in ``text``.

    Raises:
        MalformedError: ``trust.malformed``: not TOML, an unknown field, or a did that is none; ``policy.malformed``.
    """
    try:
        table: dict[str, Any] = tomllib.loads(text)
        trust = msgspec.convert(table, type=ReviewerTrust)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise MalformedError(
            "trust.malformed", f"the trust file cannot be read: {error}", next_step="see docs/verification.md"
        ) from error
    if trust.policy is not None:
        check_policy(trust.policy)
    for did in (*(pin.did for pin in trust.provider), *trust.release_signers):
        identity.public_from_did(did)
    if trust.documents:
        raise MalformedError(
            "trust.malformed", "documents are not written here", next_step="name their files: releases"
        )
    if trust.releases and not trust.release_signers:
        raise MalformedError(
            "trust.malformed", "releases, but nobody whose releases count", next_step="name release_signers"
        )
    return trust


def load_trust(path: Path | None) -> ReviewerTrust:
    """Return the trust in a file, or an empty one for ``None``.

    Raises:
        UnavailableError: ``trust.file``: the file, or a release that it names, cannot be read.
        MalformedError: ``trust.malformed``; ``release.*``.
        TrustError: ``release.signer``: a release of somebody else, or not signed by whom it names.
    """
    if path is None:
        return ReviewerTrust()
    try:
        if path.stat().st_size > MAX_TRUST_FILE:
            raise MalformedError("trust.malformed", "the trust file is too long", next_step="see docs/verification.md")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError("trust.file", f"{path} cannot be read", next_step="check the path") from error
    trust = parse_trust(text)
    documents = tuple(_document(path.parent / name) for name in trust.releases)
    pins = tuple(pin for document in documents for pin in _released(document, trust.release_signers))
    return msgspec.structs.replace(trust, measurement=(*trust.measurement, *pins), documents=documents)


def _document(path: Path) -> Envelope:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_TRUST_FILE), type=Envelope)
    except OSError as error:
        raise UnavailableError("trust.file", f"{path} cannot be read", next_step="check the path") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("release.file", f"{path} is no signed release", next_step="check the path") from error


def _released(document: Envelope, signers: tuple[str, ...]) -> tuple[MeasurementPin, ...]:
    """Return what a release pins: its code, with the measurements of each TEE that cover it, one pin each."""
    release = releases.open_release(document, signers)
    covering = [one.launch for one in release.references if one.covers_code]
    return tuple(MeasurementPin(release.env_digest, launch, f"release {release.version}") for launch in (*covering, ()))
