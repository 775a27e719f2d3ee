"""The analyst's trust store: which enclaves, contracts and policies this person decided to use.

``CLOISTER_HOME/trust/<name>/`` holds ``entry.json``, ``contract.json`` and ``policy.toml``; the analyst's Ed25519
seed is in ``trust/analyst.key`` (0600). Everything that decides about trust is chosen here, by a person, and never
taken from a notebook: a notebook may name an entry, not an endpoint and not a policy.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Any

import msgspec

from cloister import kept
from cloister.attest import releases
from cloister.attest.endorsements import Endorsements
from cloister.attest.policy import Policy, parse_policy, policy_digest
from cloister.contract import signing
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, ContractError, MalformedError, TrustError, UnavailableError
from cloister.home import cloister_home
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class TrustEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One decision: use the enclave at ``endpoint`` for this contract under this policy.

    ``endpoint`` is a ``ws://`` or ``wss://`` address, or ``demo:`` for the embedded pair. ``accept_simulated`` is this
    person's explicit choice, and works only if contract and policy say the same. ``operator`` is who runs the machine
    this proxy is on, if that is not the analyst (a hosted Lab). ``purpose`` is the default, one of the contract's.
    """

    name: str
    endpoint: str
    contract: Envelope
    contract_digest: str
    policy: str
    policy_digest: str
    accept_simulated: bool
    purpose: str
    operator: str = ""

    def terms(self, *, now: str) -> Contract:
        """Return the contract after every check this entry allows: signatures, validity, pinned digests.

        Raises:
            ContractError: Not signed by every party, not valid at ``now``, or contradicting itself.
            TrustError: ``trust.contract``, ``trust.policy``: not the contract or policy that was agreed to.
        """
        if signing.contract_digest(self.contract) != self.contract_digest:
            raise TrustError("trust.contract", f"the stored contract of {self.name!r} is not the one that was accepted")
        if policy_digest(self.policy) != self.policy_digest:
            raise TrustError("trust.policy", f"the stored policy of {self.name!r} is not the one that was accepted")
        return signing.open_contract(self.contract, now=now)

    def parsed_policy(self) -> Policy:
        """Return the policy.

        Raises:
            MalformedError: It cannot be read.
        """
        return parse_policy(self.policy)


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    endpoint: str
    contract_digest: str
    policy_digest: str
    accept_simulated: bool
    purpose: str
    operator: str = ""


class TrustStore:
    """The store in one folder (default: ``CLOISTER_HOME/trust``)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cloister_home() / "trust" if folder is None else folder

    def names(self) -> tuple[str, ...]:
        """Return the names of all entries."""
        return tuple(sorted(path.parent.name for path in self.folder.glob("*/entry.json")))

    def load(self, name: str) -> TrustEntry:
        """Return one entry.

        Raises:
            TrustError: ``trust.unknown``: there is none of that name; ``trust.name``: not a name.
            MalformedError: Its files cannot be read.
        """
        folder = self._folder(name)
        try:
            stored = msgspec.json.decode((folder / "entry.json").read_bytes(), type=_Stored)
            contract = msgspec.json.decode((folder / "contract.json").read_bytes(), type=Envelope)
            policy = (folder / "policy.toml").read_bytes().decode()
        except FileNotFoundError as error:
            known = ", ".join(self.names()) or "none"
            raise TrustError(
                "trust.unknown",
                f"the trust store has no complete entry {name!r} (there is: {known})",
                next_step="cloister connect CONTRACT --enclave URL",
            ) from error
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedError(
                "trust.malformed", f"the trust store's entry {name!r} cannot be read", next_step="connect again"
            ) from error
        fields: dict[str, Any] = msgspec.structs.asdict(stored)
        return TrustEntry(name=name, contract=contract, policy=policy, **fields)

    def save(self, entry: TrustEntry) -> None:
        """Write an entry, replacing one of the same name.

        Raises:
            TrustError: ``trust.name``: not a name.
            UnavailableError: The folder cannot be written.
        """
        folder = self._folder(entry.name)
        stored = _Stored(
            endpoint=entry.endpoint,
            contract_digest=entry.contract_digest,
            policy_digest=entry.policy_digest,
            accept_simulated=entry.accept_simulated,
            purpose=entry.purpose,
            operator=entry.operator,
        )
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(folder / "contract.json", msgspec.json.encode(entry.contract))
            _write(folder / "policy.toml", entry.policy.encode())
            _write(folder / "entry.json", msgspec.json.format(msgspec.json.encode(stored)))
        except OSError as error:
            raise UnavailableError("trust.write", f"{folder} cannot be written: {error.strerror}") from error

    def analyst_key(self) -> SigningKey:
        """Return the analyst's key, made on first use.

        Raises:
            TrustError: The file is readable by others, or damaged.
            UnavailableError: The file cannot be used.
        """
        path = self.folder / "analyst.key"
        try:
            if not path.exists():
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _create(path, SigningKey.generate().private_bytes())
            # Windows has no such bits; its user folders are private by default.
            if os.name == "posix" and path.stat().st_mode & 0o077:
                raise TrustError("trust.key", f"{path} is readable by others", next_step=f"chmod 600 {path}")
            seed = path.read_bytes()
        except OSError as error:
            raise UnavailableError("trust.key", f"{path} cannot be used: {error.strerror}") from error
        if len(seed) != 32:
            raise TrustError("trust.key", f"{path} is damaged", next_step="restore it from a backup")
        return SigningKey.from_bytes(seed)

    def releases(self) -> tuple[Envelope, ...]:
        """Return the software releases this person keeps (``trust/software``); other files count for nothing."""
        found = []
        for path in sorted((self.folder / "software").glob("*.json")):
            with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
                found.append(msgspec.json.decode(path.read_bytes(), type=Envelope))
        return tuple(found)

    def add_release(self, document: Envelope) -> Path:
        """Keep a software release; whether it counts is decided by each contract.

        Raises:
            CloisterError: As ``releases.open_release``.
            UnavailableError: ``trust.write``.
        """
        releases.open_release(document)
        path = self.folder / "software" / f"{releases.digest_of(document).removeprefix('sha256:')}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(path, msgspec.json.encode(document))
        except OSError as error:
            raise UnavailableError("trust.write", f"{path} cannot be written: {error.strerror}") from error
        return path

    @property
    def endorsements_file(self) -> Path:
        """Where this person keeps endorsements (``cloister endorse``)."""
        return self.folder / "endorsements.json"

    def endorsements(self) -> Endorsements:
        """Return the endorsements this person keeps; none where there is no file.

        Raises:
            UnavailableError: ``endorsements.file``: it is there and cannot be read.
            MalformedError: ``endorsements.bundle``.
        """
        return kept.read_endorsements(self.endorsements_file)

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise TrustError("trust.name", f"{name!r} is not a name of a trust store entry")
        return self.folder / name


def make_entry(
    name: str,
    *,
    endpoint: str,
    contract: Envelope,
    policy: str,
    accept_simulated: bool,
    purpose: str = "",
    operator: str = "",
) -> TrustEntry:
    """Return an entry with its digests filled in; ``purpose`` defaults to the contract's first.

    Raises:
        ContractError: The contract cannot be read, or has no such purpose.
        MalformedError: The policy cannot be read.
    """
    terms = signing.read_unverified(contract)
    parse_policy(policy)
    chosen = purpose or next(iter(terms.purposes), "")
    check_purpose(terms, chosen)
    return TrustEntry(
        name=name,
        endpoint=endpoint,
        contract=contract,
        contract_digest=signing.contract_digest(contract),
        policy=policy,
        policy_digest=policy_digest(policy),
        accept_simulated=accept_simulated,
        purpose=chosen,
        operator=operator,
    )


def check_analyst(terms: Contract, did: str, digest: str) -> None:
    """Check that the contract names ``did`` as an analyst, with the policy of ``digest`` if it pins one.

    Raises:
        ContractError: ``analyst.unknown``.
        TrustError: ``trust.policy``: the contract pins another policy for this analyst.
    """
    party = next((party for party in terms.parties if party.role == "analyst" and party.did == did), None)
    if party is None:
        raise ContractError(
            "analyst.unknown",
            f"the contract does not name you ({did}) as an analyst",
            clause="parties",
            next_step="send your did to the providers; they sign a contract that names you",
        )
    if terms.policies.get(party.name, digest) != digest:
        raise TrustError(
            "trust.policy",
            "the contract pins another policy for you than the one in your trust store",
            clause="policies",
            next_step="connect again with the policy that the contract names",
        )


def check_purpose(terms: Contract, purpose: str) -> None:
    """Check that the contract lists ``purpose``.

    Raises:
        ContractError: ``contract.purpose``.
    """
    if purpose not in terms.purposes:
        raise ContractError(
            "contract.purpose",
            f"the contract does not list the purpose {purpose!r}",
            clause="purposes",
            next_step="choose one of: " + ", ".join(terms.purposes),
        )


def read_contract(path: Path) -> Envelope:
    """Return the envelope in a contract file.

    Raises:
        ContractError: ``contract.malformed``: not a signed contract.
    """
    try:
        envelope = msgspec.json.decode(path.read_bytes(), type=Envelope)
        signing.read_unverified(envelope)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, CloisterError) as error:
        raise ContractError(
            "contract.malformed", f"{path} is not a signed contract", next_step="check the path"
        ) from error
    return envelope


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    temporary.write_bytes(data)
    temporary.chmod(0o600)
    temporary.replace(path)


def _create(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)
    try:
        # Two kernels starting at once must end up with one key.
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
