"""The approvals a broker holds: signed documents in a directory, and which of them were withdrawn.

A vault names with every charge the approvals that the release rests on. The broker looks at the documents themselves
again: one that it does not hold, that is of another contract or analyst, whose time is over, or that was withdrawn gets
no charge signed, so ``cloister broker withdraw`` takes effect with the next release.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from cloister.contract.approvals import open_approval
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, ContractError, MalformedError
from cloister.provider import files
from cloister.wire import canonical
from cloister.wire.envelope import Envelope


class Withdrawal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an approval was withdrawn, and why."""

    time: str
    reason: str = ""


class Refused(msgspec.Struct, frozen=True):
    """Why a charge is not signed: a status of the protocol, and the reason in words."""

    status: str
    reason: str


class Approvals:
    """Approvals by digest in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, document: Envelope, contract: Contract, digest: str) -> str:
        """Take up an approval of a contract; return the approval's digest.

        Raises:
            ContractError: Not rightly signed, of another contract, or withdrawn before (``approval.withdrawn``).
        """
        approved = open_approval(document, contract, digest)
        if (gone := self.withdrawn(approved.digest)) is not None:
            raise ContractError(
                "approval.withdrawn",
                f"it was withdrawn at {gone.time} and does not come back",
                clause="approvers",
                next_step="ask for a new approval",
            )
        files.private_directory(self._directory)
        files.write_private(self._path(approved.digest, "json"), canonical.encode(document))
        return approved.digest

    def withdraw(self, digest: str, withdrawal: Withdrawal, *, unseen: bool = False) -> None:
        """Withdraw an approval for good; what was released under it stays released.

        ``unseen``: also one that this broker does not hold, so that it is not taken up either.

        Raises:
            ContractError: ``approval.unknown``.
        """
        if unseen:
            files.private_directory(self._directory)
        elif not self._path(digest, "json").exists():
            raise ContractError("approval.unknown", f"this broker holds no approval {digest}", clause="approvers")
        if self.withdrawn(digest) is None:
            files.write_private(self._path(digest, "withdrawn"), canonical.encode(withdrawal))

    def withdrawn(self, digest: str) -> Withdrawal | None:
        """Return when and why an approval was withdrawn, if it was; a record that cannot be read counts as one."""
        path = self._path(digest, "withdrawn")
        try:
            return msgspec.json.decode(path.read_bytes(), type=Withdrawal)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError):
            return Withdrawal("a time that cannot be read")

    def get(self, digest: str) -> Envelope | None:
        """Return an approval's document, if the broker holds it."""
        try:
            return msgspec.json.decode(self._path(digest, "json").read_bytes(), type=Envelope)
        except (OSError, msgspec.MsgspecError):
            return None

    def digests(self) -> tuple[str, ...]:
        """Return the digests of the approvals on file."""
        return tuple(sorted(f"sha256:{path.stem}" for path in self._directory.glob("*.json")))

    def refusal(
        self, named: Iterable[str], contract: Contract, digest: str, *, analyst: str, now: str
    ) -> Refused | None:
        """Return why a charge that rests on these approvals is not signed, or None.

        Args:
            named: Digests of approvals.
            contract: The contract the charge is of.
            digest: Its digest.
            analyst: The did of who asks.
            now: The broker's time.
        """
        for name in named:
            try:
                document = self.get(name)
                gone = self.withdrawn(name)
                approved = None if document is None else open_approval(document, contract, digest)
            except (CloisterError, OSError):
                approved = gone = None
            if approved is None or approved.digest != name or approved.approval.analyst != analyst:
                return Refused("approval.unknown", "it holds no such approval")
            if gone is not None:
                return Refused("approval.withdrawn", f"withdrawn at {gone.time}. {gone.reason}".strip())
            if not approved.approval.holds_at(now):
                return Refused("approval.expired", f"it holds until {approved.approval.not_after}")
        return None

    def _path(self, digest: str, suffix: str) -> Path:
        name = digest.removeprefix("sha256:")
        if len(name) != 64 or set(name) - set("0123456789abcdef"):
            raise MalformedError("approval.digest", "an approval is named sha256:<hex>")
        return self._directory / f"{name}.{suffix}"
