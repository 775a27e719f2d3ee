"""The attester of confidential virtual machines on Linux: configfs-tsm, for TDX and SEV-SNP guests.

ABI: Linux ``Documentation/ABI/testing/configfs-tsm-report``. A request is a directory of its own; ``generation`` counts
writes to it, so a count that is not ours means that somebody else wrote in between and the report may be theirs.
Untested on hardware: the tests run against a tree that behaves as the ABI says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence
from cloister.enclave import snp_table
from cloister.errors import MalformedError, UnavailableError

REPORTS = Path("/sys/kernel/config/tsm/report")
MAX_REPORT = 64 * 1024
MAX_ENDORSEMENT = 128 * 1024
_ATTEMPTS = 5
_TEES = {"tdx_guest": "tdx", "sev_guest": "snp"}


class Tree(Protocol):
    """The directory of reports: one entry per request, with attributes that are read and written whole."""

    def make(self, name: str) -> None:
        """Make an entry."""

    def read(self, name: str, attribute: str) -> bytes:
        """Return an attribute."""

    def write(self, name: str, attribute: str, data: bytes) -> None:
        """Write an attribute in one call."""

    def remove(self, name: str) -> None:
        """Remove an entry."""


class Configfs:
    """The tree as the kernel shows it."""

    def __init__(self, root: Path = REPORTS) -> None:
        self._root = root

    def make(self, name: str) -> None:
        """Make an entry; the kernel fills it with attributes."""
        (self._root / name).mkdir(mode=0o700)

    def read(self, name: str, attribute: str) -> bytes:
        """Return an attribute of at most ``MAX_REPORT`` bytes.

        Raises:
            OSError: It cannot be read, or is larger (EFBIG).
        """
        with (self._root / name / attribute).open("rb", buffering=0) as file:
            found = b""
            while part := file.read(MAX_REPORT + 1 - len(found)):
                found += part
                if len(found) > MAX_REPORT:
                    raise OSError(errno.EFBIG, "a report larger than any")
        return found

    def write(self, name: str, attribute: str, data: bytes) -> None:
        """Write an attribute; the kernel takes it from one call or not at all."""
        descriptor = os.open(self._root / name / attribute, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.EIO, "an attribute that was taken in part")
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove an entry (the kernel removes its attributes)."""
        (self._root / name).rmdir()


class TsmAttester:
    """Collects evidence of this machine.

    Args:
        tree: Where requests are made.
        endorsements: Files that travel with the evidence, by the verifier's names (``collateral`` for TDX); read anew
            for each request, because they are replaced every few weeks while the agent runs.
    """

    def __init__(self, tree: Tree, endorsements: Mapping[str, Path] | None = None) -> None:
        self._tree = tree
        self._endorsements = dict(endorsements or {})
        self.tee = self._probe()

    def collect(self, report_data: bytes, *, contract: str, env_digest: str, runtime: dict[str, Any]) -> Evidence:
        """Return evidence over 64 bytes of ``report_data``, which hash everything else the arguments say.

        Raises:
            UnavailableError: ``attester.failed``: no report, or one that somebody else asked for.
        """
        del contract, env_digest, runtime
        if len(report_data) != 64:
            raise MalformedError("attester.report_data", "a report covers 64 bytes")
        for _ in range(_ATTEMPTS):
            try:
                found = self._request(report_data)
            except OSError as error:
                # EBUSY: another request is being answered.
                if error.errno == errno.EBUSY:
                    continue
                name = errno.errorcode.get(error.errno or 0, "error")
                raise _failed(f"the machine gave no report ({name})") from error
            if found is not None:
                return self._evidence(*found)
        raise _failed("others kept writing into the request; the report may have been theirs")

    def _probe(self) -> str:
        """Return the TEE of this machine.

        Raises:
            UnavailableError: ``attester.failed``: the tree cannot be used, or its provider is unknown.
        """
        name = _name()
        try:
            self._tree.make(name)
            with _removed(self._tree, name):
                provider = self._tree.read(name, "provider").strip().decode("ascii", "replace")
        except OSError as error:
            raise _failed(f"{REPORTS} cannot be used ({error.strerror})") from error
        if provider not in _TEES:
            raise _failed(f"reports of {provider!r} are not known here")
        return _TEES[provider]

    def _request(self, report_data: bytes) -> tuple[bytes, bytes] | None:
        """Return the report and its auxiliary data, or None if the entry was written by somebody else too."""
        name = _name()
        self._tree.make(name)
        with _removed(self._tree, name):
            before = int(self._tree.read(name, "generation"))
            self._tree.write(name, "inblob", report_data)
            report = self._tree.read(name, "outblob")
            extra = self._tree.read(name, "auxblob") if self.tee == "snp" else b""
            after = int(self._tree.read(name, "generation"))
        return (report, extra) if after == before + 1 else None

    def _evidence(self, report: bytes, extra: bytes) -> Evidence:
        endorsements = {name: _file(path) for name, path in self._endorsements.items()}
        if self.tee == "tdx":
            version = int.from_bytes(report[:2], "little")
            form = f"tdx_quote_v{version}"
        else:
            form = f"snp_report_v{int.from_bytes(report[:4], 'little')}"
            # The hypervisor's own table, unless whoever runs this machine gave a certificate.
            found = snp_table.endorsement(extra, report)
            endorsements = {**({"vek": found} if found else {}), **endorsements}
        return Evidence(
            tee=self.tee,
            format=form,
            blob=b64(report),
            endorsements={name: b64(data) for name, data in endorsements.items()},
        )


def _file(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _failed(f"the endorsement {path} cannot be read ({error.strerror})") from error
    if len(data) > MAX_ENDORSEMENT:
        raise _failed(f"the endorsement {path} is larger than any")
    return data


@contextlib.contextmanager
def _removed(tree: Tree, name: str) -> Any:
    """Remove the entry in the end; what cannot be removed is left, and says nothing to anybody."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            tree.remove(name)


def _name() -> str:
    return f"cloister-{os.getpid()}-{secrets.token_hex(8)}"


def _failed(reason: str) -> UnavailableError:
    return UnavailableError(
        "attester.failed",
        reason,
        next_step="docs/evidence.md, section Attesters; a simulator is used only where enclave.json says so",
    )
