"""Which attester speaks for this enclave: what the machine is, or what its configuration says; never a fall-back.

A machine that shows a TEE has that TEE's attester or none: an attester that fails stops the agent. A simulator on such
a machine must be asked for by name, because evidence that quietly changes its kind is how a downgrade looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from cloister.attest.evidence import Evidence
from cloister.enclave import machine
from cloister.enclave.simulator import SimulatorAttester
from cloister.enclave.tsm import REPORTS, Configfs, TsmAttester
from cloister.errors import UnavailableError

Choice = Literal["auto", "simulator", "tsm"]


class Attester(Protocol):
    """Produces evidence; ``tee`` names its verifier."""

    tee: str

    def collect(self, report_data: bytes, *, contract: str, env_digest: str, runtime: dict[str, Any]) -> Evidence:
        """Return evidence over 64 bytes of report data.

        Raises:
            UnavailableError: There is none now.
        """


def assurance(attester: Attester) -> str:
    """Return what receipts say: ``simulated``, or the TEE."""
    return "simulated" if attester.tee == SimulatorAttester.tee else attester.tee


def choose(
    choice: Choice, home: Path, *, endorsements: Mapping[str, Path] | None = None, root: Path = Path("/")
) -> Attester:
    """Return the attester that the configuration names, or that this machine has.

    ``root`` is where the machine's ``/proc``, ``/sys`` and ``/dev`` are (tests look elsewhere).

    Raises:
        UnavailableError: ``attester.failed`` or ``attester.unsupported``: it has a TEE, and no evidence can be made.
    """
    reports = root / REPORTS.relative_to("/")
    if choice == "simulator":
        return SimulatorAttester.load(home)
    if choice == "tsm" or reports.is_dir():
        return TsmAttester(Configfs(reports), endorsements)
    if shown := machine.looks_like_tee(root):
        raise UnavailableError(
            "attester.unsupported",
            f"this machine looks like the inside of a TEE ({shown}), and no attester here speaks for it",
            next_step='mount configfs (Linux 6.7 or newer), or write "attester": "simulator" into enclave.json if a '
            "simulated enclave is what you want here",
        )
    return SimulatorAttester.load(home)
