"""The office: what administrators, analysts and auditors ask a broker over HTTP, each by a signed request.

Read in this order: 1. one signature, of the actor it names, for this broker; 2. fresh, and never seen before; 3. the
actor is not revoked and a role of his may do this; 4. what takes a second person waits for one, who did not ask for it;
5. the act itself (``office_acts``). Whatever comes of it is in the event log.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from cloister.contract.findings import parse_time
from cloister.errors import CloisterError, MalformedError, RefusedError, SignatureError
from cloister.provider import event_log, revoked, roles, schema
from cloister.provider.broker import Broker
from cloister.provider.office_acts import Acts
from cloister.receipt.events import Event, Kind
from cloister.receipt.office import ANSWER_TYPE, ASK_TYPE, Answer, Ask
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope, open_envelope, seal, unverified_payload

FRESH_S = 300
WAITS_DAYS = 7
"""How long a request waits for a second person."""
_KINDS: dict[str, Kind] = {"contract": "decision", "identity": "identity", "role": "role", "catalogue": "catalogue"}
_READS = frozenset(
    {"broker.status", "catalogue.search", "catalogue.show", "account.show", "account.own", "request.list"}
)
_MAX_NAME = 64


class Office:
    """The office of one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._acts = Acts(broker)

    def ask(self, body: bytes) -> bytes:
        """Return the signed answer to a signed request.

        Raises:
            MalformedError, SignatureError: Not a request signed by the actor it names.
        """
        ask = _open(body)
        try:
            status, result = self._decide(ask)
            answer = self._answer(ask, status, result=result)
        except CloisterError as error:
            self._refused(ask, error)
            answer = self._answer(ask, "refused", error=error)
        self._broker.metrics.count("office", answer.code if answer.code.startswith("role.") else answer.status)
        return canonical.encode(seal(ANSWER_TYPE, canonical.encode(answer), self._broker.key))

    def _refused(self, ask: Ask, error: CloisterError) -> None:
        """Keep a refusal; who has no role here has no name in the log either."""
        with contextlib.suppress(CloisterError):
            actor = ask.actor if self.roles_of(ask.actor) else ""
            self._broker.journal.add(
                Event(
                    "refusal", self._broker.now(), actor=actor, op=ask.action if actor else "office", status=error.code
                )
            )

    def _decide(self, ask: Ask) -> tuple[str, Any]:
        broker = self._broker
        if ask.broker != broker.did:
            raise RefusedError(
                "request.broker", "the request is for another broker", next_step="name this broker's did"
            )
        age = parse_time(broker.now()) - parse_time(ask.time)
        if abs(age) > timedelta(seconds=FRESH_S):
            raise RefusedError("request.stale", "the request is too old or from the future", next_step="sign it anew")
        action = roles.ACTIONS.get(ask.action)
        if action is None or not action.roles & self.roles_of(ask.actor):
            raise RefusedError(
                "role.denied",
                "no role of yours may do this",
                clause=ask.action[:64],
                next_step="docs/roles.md has the table",
            )
        wait = bool(action.approvers)
        if wait:
            self._acts.check(ask)
        if broker.restored is not None and ask.action not in _READS:
            raise RefusedError("broker.restored", broker.restored.reason, next_step="cloister ledger recover")
        read = ask.action in _READS
        self._remember(ask, "pending" if wait else "read" if read else "done", read=read)
        if wait:
            return "pending", {"request": ask.request, "digest": canonical.digest_bytes(canonical.encode(ask))}
        if ask.action in {"request.approve", "request.reject"}:
            return "done", self._settle(ask)
        return "done", self._act(ask, ask.actor)

    def roles_of(self, did: str) -> frozenset[str]:
        """Return the roles of a did: none if it was revoked."""
        if did in revoked.read(self._broker.home).dids:
            return frozenset()
        return roles.read(self._broker.home).of(did)

    def _remember(self, ask: Ask, state: str, *, read: bool) -> None:
        """Keep the request, so that the same bytes are never acted on again.

        Raises:
            RefusedError: ``request.twice``.
        """
        if not 0 < len(ask.request) <= _MAX_NAME:
            raise MalformedError("office.request", "a request is named by 1 to 64 characters")
        # What does not wait is known by its name: nobody fills the disk with what he asks.
        body = canonical.encode(ask) if state == "pending" else b""
        values = {"request": ask.request, "actor": ask.actor, "body": body}
        now = self._broker.now()
        with self._broker.accounts.database.transaction() as db:
            key = schema.requests.c.request == values["request"]
            if db.scalar(sa.select(schema.requests.c.state).where(key)) is not None:
                raise RefusedError("request.twice", "this request was answered before", next_step="sign a new one")
            db.execute(sa.insert(schema.requests), {**values, "time": ask.time, "state": state})
            # What only read and can no longer be replayed, because it is stale, need not be kept. The name of whatever
            # changed something or waited is never free again: an approval of it would be one of something else.
            stale = (schema.requests.c.state == "read") & (schema.requests.c.time < _before(now, 2 * FRESH_S))
            db.execute(sa.delete(schema.requests).where(stale))
            if not read:
                event_log.open_log(db, now)
                event_log.record(db, Event("request", now, actor=ask.actor, op=ask.action, subject=ask.request))

    def _settle(self, ask: Ask) -> Any:
        """Approve or reject a request that waits; who approves names the digest of what was shown to him."""
        name, broker = str(ask.arguments.get("request", "")), self._broker
        table = schema.requests.c
        with broker.accounts.database.transaction() as db:
            found = db.scalar(sa.select(table.body).where(table.request == name, table.state == "pending"))
        if found is None:
            raise RefusedError("request.unknown", "no such request waits", next_step="request.list shows what waits")
        asked = msgspec.json.decode(found, type=Ask)
        approvers, mine = roles.ACTIONS[asked.action].approvers, self.roles_of(ask.actor)
        rejected = ask.action == "request.reject"
        if ask.actor == asked.actor and not rejected:
            raise RefusedError(
                "approval.own", "nobody approves his own request", clause="separation of duties",
                next_step="somebody else with the role approves it",
            )  # fmt: skip
        if not approvers & mine and ask.actor != asked.actor:
            raise RefusedError("role.denied", "no role of yours may approve this", clause=asked.action)
        if not rejected and not roles.ACTIONS[asked.action].roles & self.roles_of(asked.actor):
            raise RefusedError("approval.lapsed", "who asked for it may not ask for it any more")
        if not rejected:
            if ask.arguments.get("digest") != canonical.digest_bytes(found):
                raise RefusedError(
                    "approval.digest", "the approval is not of the request that waits under this name",
                    clause="separation of duties", next_step="approve with the digest that request.list shows",
                )  # fmt: skip
            if asked.time < _before(broker.now(), WAITS_DAYS * 86400):
                raise RefusedError("approval.expired", "the request has waited too long", next_step="ask for it anew")
        self._close(asked.request, ask, asked, "rejected" if rejected else "approved")
        return {"rejected": name} if rejected else self._act(asked, asked.actor)

    def _close(self, key: str, ask: Ask, asked: Ask, status: str) -> None:
        """Take a request off the list, once, whoever comes first."""
        now, table = self._broker.now(), schema.requests
        with self._broker.accounts.database.transaction() as db:
            change = sa.update(table).where(table.c.request == key, table.c.state == "pending").values(state="done")
            if db.execute(change).rowcount != 1:
                raise RefusedError("request.unknown", "somebody else has decided on it")
            named: dict[str, Any] = {"actor": ask.actor, "op": asked.action, "subject": asked.request, "status": status}
            event_log.record(db, Event("approval", now, **named))

    def _act(self, ask: Ask, actor: str) -> Any:
        result = self._acts.act(ask, self.roles_of(actor))
        kind = _KINDS.get(ask.action.partition(".")[0])
        if kind is not None and ask.action not in _READS:
            subject = str(next((ask.arguments[k] for k in ("did", "contract", "manifest") if k in ask.arguments), ""))
            role = str(ask.arguments.get("role", ""))
            event = Event(kind, self._broker.now(), actor=actor, op=ask.action, subject=subject[:200], status=role[:32])
            event_log.record_all(self._broker.accounts.database, [event])
        return result

    def _answer(self, ask: Ask, status: Any, *, result: Any = None, error: CloisterError | None = None) -> Answer:
        said = ("", "", "") if error is None else (error.code, error.reason, error.next_step)
        named = (ask.request, self._broker.did, ask.actor, ask.action)
        return Answer(*named, status, self._broker.now(), *said, result=result)


def _open(body: bytes) -> Ask:
    try:
        document = msgspec.json.decode(body, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("office.request", "not a signed request") from error
    ask = documents.decode(unverified_payload(document), Ask)
    if len(document.signatures) != 1:
        raise SignatureError("office.signature", "a request has exactly one signature, its actor's")
    open_envelope(document, ASK_TYPE, ask.actor)
    return ask


def _before(now: str, seconds: int) -> str:
    return (parse_time(now) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
