"""The simulated attester: a signing key per install, in a file only its owner can read.

It signs what a TEE would report and never claims to be one. Anyone with the key file can sign anything: that is what
*simulated* means, and why appraisal contraindicates it whatever it says.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence
from cloister.attest.simulator import FORMAT, SIGNATURE_DOMAIN, TEE, Report, SignedReport
from cloister.errors import UnavailableError
from cloister.wire import canonical
from cloister.wire.identity import SigningKey


class SimulatorAttester:
    """Collects ``simulator/v1`` evidence.

    Args:
        key: The install's key; ``did`` names it in policies (``instance.allow``).
        debug: Report the debug flag, as a TEE started for debugging would (for lessons and tests).
    """

    tee = TEE

    def __init__(self, key: SigningKey, *, debug: bool = False) -> None:
        self._key = key
        self._debug = debug
        self.did = key.did

    @classmethod
    def load(cls, home: Path) -> SimulatorAttester:
        """Return the attester of this install, making its key on first use.

        Raises:
            UnavailableError: The key file cannot be used.
        """
        return cls(SigningKey.from_bytes(_load_or_create(home / "enclave" / "simulator.key")))

    def collect(self, report_data: bytes, *, contract: str, env_digest: str, runtime: dict[str, Any]) -> Evidence:
        """Return evidence over 64 bytes of ``report_data``."""
        report = Report(
            report_data=report_data.hex(),
            env_digest=env_digest,
            contract=contract,
            debug=self._debug,
            launch={"simulator": "none"},
            runtime=runtime,
        )
        signature = b64(self._key.sign(SIGNATURE_DOMAIN, canonical.encode(report)))
        blob = b64(canonical.encode(SignedReport(report, self._key.did, signature)))
        return Evidence(tee=TEE, format=FORMAT, blob=blob)


def _load_or_create(path: Path) -> bytes:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written whole under a private name and linked into place, so two agents starting at once share one key.
        if not path.exists():
            fresh = path.with_suffix(f".{os.getpid()}.tmp")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(SigningKey.generate().private_bytes())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        if path.stat().st_mode & 0o077:
            raise UnavailableError(
                "simulator.key", f"{path} is readable by others", next_step=f"chmod 600 {path}, or delete it"
            )
        key = path.read_bytes()
    except OSError as error:
        raise UnavailableError("simulator.key", f"the key in {path} cannot be used: {error.strerror}") from error
    if len(key) != 32:
        raise UnavailableError("simulator.key", f"{path} is damaged", next_step="delete it; a new key is made")
    return key
