"""Decisions that a recovery takes from the event log, or stops everything where it cannot know them.

A copy that is put back also forgets who was revoked, which roles were taken away, which contracts, approvals and keys
ended. What the longest proven log tells of them is done again, in its order. Where events are lost for good, a
decision may be among them: nobody has a role any more, every contract is suspended until the owner resumes it, and
every data key is withheld until he says that it is to be kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

from cloister.attest import endorsements
from cloister.attest.endorsements import Floor
from cloister.attest.references import Launch
from cloister.attest.releases import Highest
from cloister.contract.states import Decision
from cloister.errors import ContractError, MalformedError, TrustError
from cloister.provider import accounts as books
from cloister.provider import revoked, roles, software
from cloister.provider.approvals import Withdrawal
from cloister.provider.data_keys import Gone, Withheld
from cloister.provider.home import BrokerHome
from cloister.provider.software import Veto
from cloister.receipt.events import Event
from cloister.wire import documents

_T = TypeVar("_T", Launch, Floor)
State = Literal["active", "suspended", "revoked"]
KINDS = frozenset({"decision", "identity", "role", "approval", "key", "session", "catalogue", "request"})
"""Of events whose consequences are not in the accounts, or are and went back with them."""
_STATES: dict[str, State] = {"contract.suspend": "suspended", "contract.resume": "active", "contract.revoke": "revoked"}
_MAY_BE_GONE = "it may have been destroyed in the time that was lost"
_UNKNOWN = "decisions about it may have been lost with restored accounts; the provider looks, and resumes it"


def again(home: BrokerHome, events: Iterable[Event]) -> int:
    """Do again what was decided; return how many decisions that were.

    Raises:
        TrustError: ``recover.key``: the broker's key was replaced, and the present one is the old one.
        CloisterError: A file of the broker cannot be read.
    """
    return sum(_one(home, event) for event in events)


def _one(home: BrokerHome, event: Event) -> bool:
    subject, reason = event.subject, event.reason
    match event.kind, event.op:
        case "identity", _:
            revoked.revoke(home, subject, now=event.time, reason=reason)
        case "role", "role.grant":
            roles.grant(home, subject, event.status)
        case "role", "role.remove":
            roles.remove(home, subject, event.status)
        case "approval", "approval.withdraw":
            home.approvals.withdraw(subject, Withdrawal(event.time, reason), unseen=True)
        case "key", "wipe":
            mark = Gone(event.time, event.status, reason, event.contract, told=True, actor=event.actor)
            home.data_keys.wipe(subject, mark, unseen=True)
            home.data_keys.told(subject)  # also where it was destroyed anew before this was read
        case "key", "keep":
            home.data_keys.keep(subject)
        case "key", "rotate":
            if home.identity().did != subject:
                raise TrustError(
                    "recover.key",
                    f"this broker's key was replaced by {subject}, and the restored one is the old one",
                    next_step="restore a backup made after the rotation, or sign new contracts at a new broker",
                )
        case "decision", "release.veto":
            software.veto_code(home, subject, Veto(event.status, event.time, reason))
        case "decision", "release.veto-launch":
            software.veto_launch(home, _told(subject, Launch), Veto(event.status, event.time, reason))
        case "decision", "release.least":
            software.least(home, event.contract, event.status)
        case "decision", "endorse":
            home.keep_endorsements(endorsements.require(home.endorsements(), _told(subject, Floor)))
        case "session", books.RELEASE:
            software.remember_version(home, event.contract, Highest(event.status, event.time))
            return False
        case "decision", _:
            return _contract(home, event)
        case _:
            return False
    return True


def _told(subject: str, kind: type[_T]) -> _T:
    return documents.decode(subject.encode(), kind)


def _contract(home: BrokerHome, event: Event) -> bool:
    said: dict[str, State] = {"active": "active", "suspended": "suspended", "revoked": "revoked"}
    state = _STATES.get(event.op) or said.get(event.status)
    if state is None:
        return False
    with contextlib.suppress(ContractError, MalformedError):  # revoked already, or no digest
        # Also of a contract that is not on file: it was added since, and may be added again.
        home.contracts.decide(event.contract or event.subject, Decision(state, event.time, event.reason), unseen=True)
        return True
    return False


def withhold_keys(home: BrokerHome, *, now: str) -> Iterator[str]:
    """Withhold every data key until its owner says that it is to be kept; yield the capsules' manifests."""
    for manifest in home.data_keys.manifests():
        home.data_keys.withhold(manifest, Withheld(now, _MAY_BE_GONE))
        yield manifest


def stop_everything(home: BrokerHome, *, now: str) -> Iterator[str]:
    """Take all roles away and suspend every active contract; yield the contracts' digests.

    What was remembered of software and endorsements counts no more either: higher versions and newer statements than
    these may have been known. The owner says anew what is the least (``software.least``, ``cloister endorse``).
    """
    roles.clear(home)
    software.lose(home, now=now)
    home.keep_endorsements(endorsements.lose(home.endorsements(), now))
    for digest in home.contracts.digests():
        known = home.contracts.get(digest)
        if known is not None and known.decision is not None and known.decision.state == "active":
            home.contracts.decide(digest, Decision("suspended", now, _UNKNOWN))
            yield digest
