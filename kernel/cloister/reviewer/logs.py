"""Steps 6 and 11 with more than the notebook: what the brokers' logs say, where a reviewer was given exports of them.

A notebook holds the admissions of its own vaults. Whether a broker of its contract admitted older software after newer
one for somebody else, and whether the charges are in its accounts, is in the broker's log (``cloister audit export``).
An export is checked whole before anything in it counts; checkpoints are states that it must have gone through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from cloister.attest.releases import Highest
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.receipt import audit, export, succession
from cloister.receipt.audit_accounts import Charged
from cloister.receipt.checkpoint import open_checkpoint
from cloister.receipt.events import Event
from cloister.receipt.receipt import Admission, Receipt
from cloister.reviewer.findings import Findings
from cloister.wire.envelope import Envelope

_RELEASE = "release"


class Session(msgspec.Struct, frozen=True):
    """An admission as the log has it; ``version`` is that of the software, where the contract has a clause on it."""

    vault_id: str
    epoch: int
    time: str
    version: str = ""


class BrokerLog(msgspec.Struct, frozen=True):
    """What a sound export says about one contract: the broker's keys, up to when, its sessions in order, its charges.

    ``charges`` are positions in the account, by population and charge id.
    """

    dids: frozenset[str]
    time: str
    sessions: tuple[Session, ...]
    charges: Mapping[tuple[str, str], int]


def read_log(path: Path, contract: str, earlier: Iterable[Envelope] = ()) -> BrokerLog:
    """Return what an export says about the contract with this digest.

    Raises:
        MalformedError: Not an export.
        TrustError: ``audit.unsound``, or its checkpoint is not signed.
    """
    sessions: list[Session] = []
    charges: dict[tuple[str, str], int] = {}

    def event(told: Event) -> None:
        if told.kind == "session" and told.contract == contract:
            version = told.status if told.op == _RELEASE else ""
            sessions.append(Session(told.actor, told.epoch, told.time, version))

    def charge(told: Charged) -> None:
        if told.entry.contract == contract:
            charges[told.entry.population, told.entry.charge_id] = told.position

    checking = audit.Audit(charge=charge, event=event)
    try:
        with path.open("rb") as lines:
            found = checking.check(lines, earlier=earlier)
    except OSError as error:
        raise MalformedError("export.file", f"{path} cannot be read", next_step="check the path") from error
    if not found.sound:
        why = next(one.text for one in found.findings if one.level == "fail")
        raise TrustError("audit.unsound", f"{path} is not sound: {why}", next_step="cloister audit check says more")
    return BrokerLog(checking.dids, found.time, tuple(sessions), charges)


def read_logs(exports: Iterable[Path], contract: str, earlier: Iterable[Envelope] = ()) -> list[BrokerLog]:
    """Return what several exports say, each held to those checkpoints that its own broker signed.

    Raises:
        MalformedError: ``log.checkpoint``: a checkpoint of none of these brokers; and as ``read_log``.
        TrustError: As ``read_log``.
    """
    waiting = [(open_checkpoint(one).broker, one) for one in earlier]
    found = []
    for path in exports:
        with path.open("rb") as lines:
            header = export.read_header(iter(lines))
        keys = succession.keys_of(open_checkpoint(header.checkpoint).broker, header.succession)
        found.append(read_log(path, contract, [one for did, one in waiting if did in keys]))
    known = frozenset[str]().union(*(log.dids for log in found))
    if strange := sorted({did for did, _ in waiting} - known):
        raise MalformedError(
            "log.checkpoint", f"a checkpoint of {strange[0]}, and no export of its log",
            next_step="a checkpoint says where a log stood: give --log the export as well",
        )  # fmt: skip
    return found


def is_export(path: Path) -> bool:
    """Whether a file begins as an export does; of any other kind it may hold checkpoints.

    Raises:
        MalformedError: ``export.file``.
    """
    try:
        with path.open("rb") as lines:
            export.read_header(iter(lines))
    except OSError as error:
        raise MalformedError("export.file", f"{path} cannot be read", next_step="check the path") from error
    except CloisterError:
        return False
    return True


def admitted_by(admission: Admission, logs: Iterable[BrokerLog]) -> list[Highest]:
    """Return the versions that the log has by the time of an admission, each with its time."""
    return [
        Highest(session.version, session.time)
        for log in _of(admission.broker, logs)
        for session in log.sessions
        if session.version and session.time <= admission.time
    ]


def check_sessions(
    admissions: Sequence[Admission], contract: Contract, logs: Sequence[BrokerLog], findings: Findings
) -> None:
    """Check that every admission of the notebook is in its broker's log, if that goes so far."""
    brokers = {broker.did for broker in contract.brokers}
    for log in logs:
        if not log.dids & brokers:
            findings.add(
                6, "note", "log.broker", f"the log of {min(log.dids)} is of no broker of this contract: unused"
            )
    for admission in admissions:
        for log in _of(admission.broker, logs):
            mine = Session(admission.vault_id, admission.epoch, admission.time)
            known = (msgspec.structs.replace(session, version="") for session in log.sessions)
            if admission.time <= log.time and mine not in known:
                text = f"the log of {admission.broker} up to {log.time} has no such session at {admission.time}"
                findings.add(6, "fail", "admission.unlogged", text)


def say_rollback(
    admissions: Sequence[Admission], contract: Contract, logs: Sequence[BrokerLog], findings: Findings
) -> None:
    """Say among which admissions older software was looked for: of some brokers the log is here, of others not."""
    if contract.signed_software is None:
        return
    for broker in contract.brokers:
        mine = [one for one in admissions if one.broker == broker.did]
        log = next(iter(_of(broker.did, logs)), None)
        if log is not None:
            late = sum(one.time > log.time for one in mine)
            beyond = f"; {late} of the notebook's are later" if late else ""
            text = f"looked for in all {len(log.sessions)} sessions of broker {broker.name} up to {log.time}{beyond}"
            findings.add(6, "note" if late else "ok", "agreed.rollback", f"software that went back was {text}")
        elif mine:
            text = f"only among the {len(mine)} admissions by broker {broker.name} in this notebook, not in its log"
            findings.add(6, "note", "agreed.rollback", f"software that went back was looked for {text} (--log)")


def check_charges(
    receipts: Mapping[str, Receipt], logs: Sequence[BrokerLog], findings: Findings
) -> set[tuple[str, str]]:
    """Check that the charges of receipts are in the logs; return charge id and population of those that are."""
    proven: set[tuple[str, str]] = set()
    for receipt in receipts.values():
        for charge in receipt.charges:
            for log in _of(charge.broker, logs):
                position = log.charges.get((charge.population, receipt.charge_id))
                if position is not None and position < charge.size:
                    proven.add((receipt.charge_id, charge.population))
                elif receipt.time <= log.time:
                    text = f"the log of {charge.broker} up to {log.time} has no such charge"
                    findings.add(11, "fail", "account.entry", text, release=receipt.release)
    return proven


def _of(broker: str, logs: Iterable[BrokerLog]) -> Iterable[BrokerLog]:
    return (log for log in logs if broker in log.dids)
