"""The contracts a broker serves: signed documents in a directory, and the provider's decisions about them.

A decision is its own small file, read again when it changed, so that ``cloister contract revoke`` takes effect with
the next request, while the broker runs.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from cloister.contract import amendments, signing, states
from cloister.contract.states import Decision
from cloister.contract.terms import Contract
from cloister.errors import ContractError, MalformedError
from cloister.provider import files
from cloister.wire import canonical
from cloister.wire.envelope import Envelope


class Registered(msgspec.Struct, frozen=True):
    """A contract as the broker knows it; it exists only with every signature checked."""

    digest: str
    document: Envelope
    contract: Contract
    decision: Decision | None

    def state(self, now: str) -> states.State:
        """Return the contract's state at ``now``."""
        return states.state_of_signed(self.contract, self.decision, now=now)


class Registry:
    """Contracts by digest in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cache: dict[str, tuple[tuple[int, ...], Registered]] = {}
        self._lock = threading.Lock()

    def add(self, document: Envelope, *, now: str, activate: bool = True) -> str:
        """Take up a contract; return its digest. The contract that it amends, if this broker has it, ends first.

        Raises:
            ContractError: Not signed by every party, malformed, contradictory, or over; or ``contract.amends``: a party
                of the contract it amends has not signed, or that one was revoked.
        """
        contract = signing.read_unverified(document)
        # A contract may be registered before it begins; every use checks the time again.
        signing.open_contract(document, now=max(now, contract.not_before))
        digest = signing.contract_digest(document)
        files.private_directory(self._directory)
        former = self.get(contract.former) if contract.former else None
        if former is not None and self.get(digest) is None:
            amendments.check(contract, former.contract)
            if former.decision is not None and former.decision.state == "revoked":
                raise amendments.refused(
                    "the contract it amends was revoked, and what was taken back does not come back"
                )
        files.write_private(self._path(digest, "json"), canonical.encode(document))
        if former is not None and (former.decision is None or former.decision.state != "revoked"):
            self.decide(contract.former, Decision("revoked", now, f"amended by {digest}"))
        if activate and self.get(digest) is not None:
            self.decide(digest, Decision("active", now))
        return digest

    def decide(self, digest: str, decision: Decision, *, unseen: bool = False) -> None:
        """Activate, suspend or revoke a contract.

        ``unseen``: also one that is not on file, so that it is in this state when it is added.

        Raises:
            ContractError: ``contract.unknown``, or ``contract.state``: a revoked one stays revoked.
        """
        registered = self.get(digest)
        if registered is None and not unseen:
            raise ContractError("contract.unknown", f"this broker has no contract {digest}")
        states.decide(self._decision(digest) if registered is None else registered.decision, decision)
        files.private_directory(self._directory)
        files.write_private(self._path(digest, "state"), canonical.encode(decision))

    def get(self, digest: str) -> Registered | None:
        """Return the contract, signatures checked, or None if it is unknown or does not verify."""
        try:
            paths = self._path(digest, "json"), self._path(digest, "state")
            # Size and inode besides the time: two decisions may fall into one tick of the clock.
            stamp = tuple(n for path in paths if path.exists() for n in _stamp(path))
            with self._lock:
                cached = self._cache.get(digest)
                if cached is None or cached[0] != stamp:
                    self._cache[digest] = cached = (stamp, self._load(digest))
            return cached[1]
        except (ContractError, MalformedError, OSError, msgspec.MsgspecError):
            return None

    def digests(self) -> tuple[str, ...]:
        """Return the digests of the contracts on file."""
        return tuple(sorted(f"sha256:{path.stem}" for path in self._directory.glob("*.json")))

    def _load(self, digest: str) -> Registered:
        document = msgspec.json.decode(self._path(digest, "json").read_bytes(), type=Envelope)
        contract = signing.read_unverified(document)
        signing.open_contract(document, now=contract.not_before)
        if signing.contract_digest(document) != digest:
            raise ContractError("contract.digest", "the file holds another contract than its name says")
        return Registered(digest, document, contract, self._decision(digest))

    def _decision(self, digest: str) -> Decision | None:
        state = self._path(digest, "state")
        return msgspec.json.decode(state.read_bytes(), type=Decision) if state.exists() else None

    def _path(self, digest: str, suffix: str) -> Path:
        name = digest.removeprefix("sha256:")
        if len(name) != 64 or set(name) - set("0123456789abcdef"):
            raise MalformedError("contract.digest", "a contract is named sha256:<hex>")
        return self._directory / f"{name}.{suffix}"


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino, status.st_size
