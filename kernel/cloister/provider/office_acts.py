"""What the office does, action by action. Who may ask was decided before (``office``, ``roles``)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from cloister.contract.states import Decision
from cloister.errors import ContractError, MalformedError, RefusedError
from cloister.provider import catalogue, checkpoints, event_log, revoked, roles, schema, shredding, software
from cloister.provider.broker import Broker
from cloister.receipt import alerts
from cloister.receipt.audit import Audit
from cloister.receipt.events import Event
from cloister.receipt.office import Ask
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

MAX_EXPORT = 64 * 2**20
_ADMINS = frozenset({"space_admin", "node_admin"})
_NEEDED = {
    "catalogue": ("manifest",),
    "capsule": ("manifest",),
    "contract": ("contract",),
    "role": ("did", "role"),
    "log": ("class", "before"),
}
Decided = Literal["active", "suspended", "revoked"]


class Acts:
    """The actions of one broker's office."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._home = broker, broker.home
        self._table: dict[str, Callable[[Ask, frozenset[str]], Any]] = {
            "broker.status": self._status,
            "catalogue.search": self._search,
            "catalogue.show": self._show,
            "catalogue.submit": self._submit,
            "catalogue.publish": lambda ask, _: self._move(ask, "published"),
            "catalogue.deprecate": lambda ask, _: self._move(ask, "deprecated"),
            "catalogue.withdraw": lambda ask, _: self._move(ask, "withdrawn"),
            "capsule.shred": self._shred,
            "release.veto": self._veto,
            "contract.suspend": lambda ask, _: self._decide(ask, "suspended"),
            "contract.resume": lambda ask, _: self._decide(ask, "active"),
            "contract.revoke": lambda ask, _: self._decide(ask, "revoked"),
            "identity.revoke": self._revoke,
            "role.grant": lambda ask, _: roles.grant(self._home, _text(ask, "did"), _text(ask, "role")),
            "role.remove": lambda ask, _: roles.remove(self._home, _text(ask, "did"), _text(ask, "role")),
            "account.show": self._accounts,
            "account.own": self._own,
            "log.checkpoint": self._checkpoint,
            "log.purge": self._purge,
            "audit.export": self._export,
            "audit.alerts": self._alerts,
            "request.list": self._waiting,
        }

    def act(self, ask: Ask, held: frozenset[str]) -> Any:
        """Do what is asked and return what there is to say.

        Raises:
            CloisterError: It cannot be done.
        """
        return self._table[ask.action](ask, held)

    def check(self, ask: Ask) -> None:
        """Check what can be checked of a request before it waits for a second person.

        Raises:
            MalformedError: ``office.argument``.
            CloisterError: A key that cannot be destroyed, as ``shredding.check``.
        """
        for name in _NEEDED[ask.action.partition(".")[0]]:
            _text(ask, name)
        if ask.action == "capsule.shred":
            end = _yes(ask, "end_contracts")
            shredding.check(self._home, _text(ask, "manifest"), now=self._broker.now(), end_contracts=end)

    def _status(self, _ask: Ask, _held: frozenset[str]) -> Any:
        with self._broker.accounts.database.transaction() as db:
            size = event_log.tip(db).size
        found = len(self._home.contracts.digests())
        return {"events": size, "contracts": found, "restored": self._broker.restored is not None}

    def _search(self, ask: Ask, held: frozenset[str]) -> Any:
        words = str(ask.arguments.get("text", ""))[:200]
        with self._broker.accounts.database.transaction() as db:
            found = catalogue.search(db, words, ask.actor, all_states=bool(held & _ADMINS))
        return msgspec.to_builtins(found)

    def _show(self, ask: Ask, held: frozenset[str]) -> Any:
        with self._broker.accounts.database.transaction() as db:
            one, card = catalogue.show(db, _text(ask, "manifest"), ask.actor, all_states=bool(held & _ADMINS))
        return {"entry": msgspec.to_builtins(one), "card": msgspec.to_builtins(card)}

    def _submit(self, ask: Ask, _held: frozenset[str]) -> Any:
        try:
            card = msgspec.convert(ask.arguments.get("card"), Envelope)
            visible = msgspec.convert(ask.arguments.get("visible", [catalogue.ANYBODY]), list[str])
        except msgspec.ValidationError as error:
            raise MalformedError("office.argument", "card is a signed card, visible a list of dids") from error
        manifest = _text(ask, "manifest")
        if self._home.data_keys.get(manifest) is None:
            raise RefusedError("catalogue.key", "this broker holds no key of that capsule", next_step="seal it here")
        with self._broker.accounts.database.transaction() as db:
            catalogue.submit(db, manifest, card, _text(ask, "provider"), visible=visible)

    def _move(self, ask: Ask, to: str) -> None:
        with self._broker.accounts.database.transaction() as db:
            catalogue.move(db, _text(ask, "manifest"), to)

    def _decide(self, ask: Ask, state: Decided) -> None:
        digest = _text(ask, "contract")
        known = self._home.contracts.get(digest)
        if known is None:
            raise ContractError("contract.unknown", "this broker has no such contract")
        if state == "active" and (known.decision is None or known.decision.state != "suspended"):
            raise ContractError("contract.state", "only a suspended contract is resumed")
        self._home.contracts.decide(
            digest, Decision(state, self._broker.now(), str(ask.arguments.get("reason", ""))[:500])
        )

    def _revoke(self, ask: Ask, _held: frozenset[str]) -> None:
        did = _text(ask, "did")
        if did == ask.actor:
            raise RefusedError("identity.self", "nobody revokes himself", next_step="another space_admin does it")
        revoked.revoke(self._home, did, now=self._broker.now(), reason=_reason(ask))

    def _shred(self, ask: Ask, _held: frozenset[str]) -> Any:
        done = shredding.shred(
            self._home, _text(ask, "manifest"), now=self._broker.now(), reason=_reason(ask),
            end_contracts=_yes(ask, "end_contracts"), actor=ask.actor,
        )  # fmt: skip
        return {"gone": list(done.gone), "ended": list(done.ended)}

    def _veto(self, ask: Ask, _held: frozenset[str]) -> Any:
        document, now, reason = software.named(self._home, _text(ask, "release")), self._broker.now(), _reason(ask)
        found = software.veto(self._home, document, now=now, reason=reason[:200])
        # Code and launches, not the document: that is what a recovered broker must know.
        named: dict[str, Any] = {"actor": ask.actor, "status": found.version, "reason": reason[:200]}
        told = [Event("decision", now, op=ask.action, subject=found.env_digest, **named)]
        for launch in software.launches_of(found):
            subject = canonical.encode(launch).decode()
            told.append(Event("decision", now, op="release.veto-launch", subject=subject, **named))
        event_log.record_all(self._broker.accounts.database, told)
        return {"version": found.version, "env_digest": found.env_digest}

    def _accounts(self, _ask: Ask, _held: frozenset[str]) -> Any:
        with self._broker.accounts.database.transaction() as db:
            return msgspec.to_builtins(event_log.account_tips(db))

    def _own(self, ask: Ask, _held: frozenset[str]) -> Any:
        table = schema.sums.c
        with self._broker.accounts.database.transaction() as db:
            mine = sa.select(table.population, table.contract, table.spent).where(table.analyst == ask.actor)
            rows = db.execute(mine.order_by(table.population, table.contract)).all()
        return [{"population": p, "contract": c, "spent": str(Fraction(spent))} for p, c, spent in rows]

    def _checkpoint(self, ask: Ask, _held: frozenset[str]) -> Any:
        before = ask.arguments.get("earlier")
        try:
            earlier = None if before is None else msgspec.convert(before, Envelope)
        except msgspec.ValidationError as error:
            raise MalformedError("office.argument", "earlier is a signed checkpoint") from error
        taken = checkpoints.take(
            self._home, self._broker.accounts, now=self._broker.now(), actor=ask.actor, earlier=earlier
        )
        return msgspec.to_builtins(taken)

    def _purge(self, ask: Ask, _held: frozenset[str]) -> Any:
        with self._broker.accounts.database.transaction() as db:
            named = (_text(ask, "class"), _text(ask, "before"))
            return {"purged": event_log.purge(db, *named, now=self._broker.now(), actor=ask.actor)}

    def _lines(self, ask: Ask) -> list[bytes]:
        self._broker.journal.flush()
        lines, size = [], 0
        for line in checkpoints.write_export(
            self._home, self._broker.accounts, now=self._broker.now(), actor=ask.actor
        ):
            lines.append(line)
            if (size := size + len(line)) > MAX_EXPORT:
                raise RefusedError(
                    "export.size",
                    "the logs are too long for one answer",
                    next_step="cloister audit export, at the broker",
                )
        return lines

    def _export(self, ask: Ask, _held: frozenset[str]) -> Any:
        return {"export": b"".join(self._lines(ask)).decode("utf-8")}

    def _alerts(self, ask: Ask, _held: frozenset[str]) -> Any:
        watch = alerts.Watch(alerts.pboc40())
        Audit(charge=watch.charge, event=watch.event).check(self._lines(ask))
        return msgspec.to_builtins(watch.alerts())

    def _waiting(self, _ask: Ask, _held: frozenset[str]) -> Any:
        table = schema.requests.c
        with self._broker.accounts.database.transaction() as db:
            bodies = db.scalars(sa.select(table.body).where(table.state == "pending").order_by(table.time)).all()
        return [{**_shown(body), "digest": canonical.digest_bytes(body)} for body in bodies]


def _shown(body: bytes) -> dict[str, Any]:
    ask = msgspec.json.decode(body, type=Ask)
    named = {"request": ask.request, "actor": ask.actor, "time": ask.time}
    return {**named, "action": ask.action, "arguments": ask.arguments}


def _reason(ask: Ask) -> str:
    return str(ask.arguments.get("reason", ""))[:500]


def _yes(ask: Ask, name: str) -> bool:
    value = ask.arguments.get(name, False)
    if not isinstance(value, bool):
        raise MalformedError("office.argument", f"{name!r} is true or false")
    return value


def _text(ask: Ask, name: str) -> str:
    value = ask.arguments.get(name)
    if not isinstance(value, str) or not value or len(value) > 500:
        raise MalformedError("office.argument", f"{ask.action} needs the text {name!r}")
    return value
