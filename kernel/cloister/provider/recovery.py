"""``cloister ledger recover``: bring restored accounts forward to the longest state proven, or burn the gap.

1. every proof is this broker's own, and its logs and ours are one history; 2. entries and events we lack are taken from
the longest export; no charge without a receipt, old or brought back, can be executed any more; 3. what a checkpoint
or the witness proves beyond that is a *gap*: without ``burn`` nothing is done; with it every account is spent to its
limit, contracts with exits, whose counts are lost, are revoked, and every data key is withheld, for it may have been
destroyed; 4. every vault has to prove itself again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from cloister.contract.states import Decision
from cloister.contract.usage import Usage
from cloister.errors import RefusedError, TrustError
from cloister.provider import accounts as books
from cloister.provider import catalogue, decisions, event_log, matches, restored, rotation, schema, shredding
from cloister.provider.home import BrokerHome
from cloister.receipt import export, log
from cloister.receipt.account import BURNT, broker_of, granted_by
from cloister.receipt.audit import Audit
from cloister.receipt.checkpoint import Checkpoint, open_checkpoint, raw_root
from cloister.receipt.events import Event, decode_event
from cloister.receipt.ledger import Entry
from cloister.receipt.receipt import Admission
from cloister.receipt.succession import keys_of
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope, unverified_payload

# Vaults of the lost time hold epochs that the restored accounts do not know: all later ones are above them.
_EPOCHS = 1_000_000
_LOST = "the counts of its exits were lost with a restored account; sign a new contract"


class Outcome(msgspec.Struct, frozen=True):
    """What a recovery did.

    Entries, events and decisions taken, populations spent to their limit, contracts revoked with their exits, contracts
    suspended because decisions about them may be lost, capsules whose keys are withheld because they may be destroyed.
    """

    entries: int = 0
    events: int = 0
    burnt: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    decisions: int = 0
    suspended: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


def recover(
    home: BrokerHome, *, exports: Sequence[Path], checkpoints: Iterable[Envelope], burn: bool, now: str
) -> Outcome:
    """Recover the accounts of a broker that is not running.

    Raises:
        RefusedError: ``recover.gap``: more was booked than can be brought back, and ``burn`` is false.
        TrustError: ``recover.fork``: a proof shows another history than ours; ``recover.proof``: it is not sound.
        UnavailableError: ``ledger.unavailable``.
    """
    dids = keys_of(home.identity().did, rotation.read(home))
    mark = restored.read_mark(home)
    proofs = [_own(document, dids) for document in checkpoints]
    heads = {path: _sound(path, dids) for path in exports}
    longest = max(heads, key=lambda path: heads[path].events, default=None)
    proofs += heads.values()
    ledger = home.open_accounts(busy_ms=20_000)
    try:
        with ledger.database.transaction(recovering=True) as db:
            for proof in proofs:
                _same_history(db, proof)
            had = event_log.tip(db).size
            # Files of a backup may be older than its logs, or than the accounts of a server that went on.
            decided = [] if mark is None else _decided_since(db, mark.events)
            done = Outcome() if longest is None else _take(db, longest, decided)
            for proof in proofs:  # what was longer than our logs before may be another history than the export
                _same_history(db, proof)
            seen = home.witness.seen()
            least = max(mark.events if mark else 0, seen.size if seen else 0)
            # A proof that is no newer than the copy (the one in the backup itself) says nothing of what came later.
            newest = max((proof.events for proof in proofs), default=0)
            gap = _gap(db, proofs, least, unproven=mark is not None and newest <= had)
            if gap and not burn:
                raise RefusedError(
                    "recover.gap",
                    "; ".join(gap),
                    clause="a restored broker goes on from the longest proven tip, or burns what it cannot prove",
                    next_step="give a newer export with --proof, or --burn: every account is then spent to its limit",
                )
            _requests(db, decided)
            catalogue.again(db, ((one.op, one.subject) for one in decided if one.kind == "catalogue"))
            done = msgspec.structs.replace(done, decisions=decisions.again(home, decided))
            if gap:
                revoked = tuple(_with_exits(home))
                done = msgspec.structs.replace(
                    done, burnt=tuple(_burn(db, _limits(home, dids), proofs, now)), revoked=revoked
                )
                for digest in revoked:
                    home.contracts.decide(digest, Decision("revoked", now, _LOST))
                withheld = tuple(decisions.withhold_keys(home, now=now))
                suspended = tuple(decisions.stop_everything(home, now=now))
                done = msgspec.structs.replace(done, suspended=suspended, withheld=withheld)
            # What waited for a second person may have been decided on since.
            waits = schema.requests.c.state == "pending"
            db.execute(sa.update(schema.requests).where(waits).values(state="done"))
            _burn_unsettled(db)
            # Also the vaults whose admissions came back are fenced.
            db.execute(sa.update(schema.epochs).values(epoch=schema.epochs.c.epoch + _EPOCHS))
            matches.recount(db)
            event_log.open_log(db, now)
            event_log.record(db, Event("recover", now, actor="owner", reason="; ".join(gap), count=done.entries))
            tip = event_log.tip(db)
    finally:
        ledger.close()
    home.witness.reset(tip.size, tip.root())
    home.restored_file.unlink(missing_ok=True)
    shredding.tell(home)
    return done


def _decided_since(db: sa.Connection, size: int) -> list[Event]:
    events = schema.events.c
    kinds = (events.position >= size) & events.kind.in_(decisions.KINDS) & events.body.is_not(None)
    return [decode_event(body) for body in db.scalars(sa.select(events.body).where(kinds).order_by(events.position))]


def _own(document: Envelope, dids: frozenset[str]) -> Checkpoint:
    stated = open_checkpoint(document)
    if stated.broker not in dids:
        raise TrustError("recover.proof", "a checkpoint of another broker")
    return stated


def _sound(path: Path, dids: frozenset[str]) -> Checkpoint:
    with path.open("rb") as lines:
        report = Audit().check(lines)
    if not report.sound or report.broker not in dids:
        raise TrustError(
            "recover.proof", f"{path} is not a sound export of this broker", next_step="cloister audit check"
        )
    with path.open("rb") as lines:
        return open_checkpoint(export.read_header(iter(lines)).checkpoint)


def _same_history(db: sa.Connection, proof: Checkpoint) -> None:
    """Check that our logs go through a proof, as far as both reach (what is longer is looked at when it is taken)."""
    for name, (size, root) in proof.logs().items():
        ours = _leaves(db, name)
        if len(ours) >= size and log.root(ours[:size]) != raw_root(root):
            raise _fork(name)


def _leaves(db: sa.Connection, name: str) -> Sequence[bytes]:
    if not name:
        return event_log.event_leaves(db)
    return db.scalars(schema.SELECT_LEAVES, {"k_population": name}).all()


def _take(db: sa.Connection, path: Path, decided: list[Event]) -> Outcome:
    """Append what an export holds beyond our logs; put what was decided in it on a list."""
    entries = events = 0
    charged: dict[tuple[str, int], Event] = {}
    with path.open("rb") as lines:
        feed = iter(lines)
        header = export.read_header(feed)
        for section, leaves in export.read_sections(feed):
            ours = _leaves(db, section.log)
            for at, leaf in enumerate(leaves):
                if at < len(ours):
                    if ours[at] != leaf.digest:
                        raise _fork(section.log)
                elif section.log:
                    _entry(db, leaf, at, charged)
                    entries += 1
                else:
                    event = None if leaf.body is None else decode_event(leaf.body)
                    event_log.take(db, leaf.digest, leaf.body, event)
                    events += 1
                    if event is not None and event.kind in decisions.KINDS:
                        decided.append(event)
                    if event is not None and event.kind == "charge":
                        charged[event.population, event.position] = event
        _admissions(db, header)
    return Outcome(entries, events)


def _requests(db: sa.Connection, events: Iterable[Event]) -> None:
    """Take the names of requests that were answered in the lost time: the same bytes must not be acted on again."""
    table = schema.requests
    known = set(db.scalars(sa.select(table.c.request)))
    for event in events:
        if event.kind == "request" and event.subject not in known:
            known.add(event.subject)
            values = {"request": event.subject, "actor": event.actor, "body": b"", "time": event.time, "state": "done"}
            db.execute(sa.insert(table), values)


def _entry(db: sa.Connection, leaf: export.Leaf, at: int, charged: dict[tuple[str, int], Event]) -> None:
    entry = msgspec.json.decode(leaf.body or b"", type=Entry)
    event = charged.get((entry.population, at))
    vault, epoch, time = ("", 0, "") if event is None else (event.actor, event.epoch, event.time)
    books.take(db, entry, leaf.body or b"", position=at, vault_id=vault, epoch=epoch, time=time)


def _burn_unsettled(db: sa.Connection) -> None:
    """Let no charge without a receipt be executed: its receipt may have been deposited in the time that was lost.

    That goes for the entries of the restored accounts as for those that came back: a vault that asks for such a charge
    would be told to release it, with a second noise beside the one that somebody has seen.
    """
    entries, settled, burnt = schema.entries.c, schema.settlements.c, schema.burnt.c
    paid = sa.exists().where(settled.population == entries.population, settled.charge_id == entries.charge_id)
    known = sa.exists().where(burnt.population == entries.population, burnt.charge_id == entries.charge_id)
    open_ = sa.select(entries.population, entries.charge_id).where(entries.contract != "", ~paid, ~known)
    db.execute(sa.insert(schema.burnt).from_select(["population", "charge_id"], open_))


def _admissions(db: sa.Connection, header: export.Header) -> None:
    known = set(db.scalars(sa.select(schema.sessions.c.vault_id)))
    for document in header.admissions:
        one = documents.decode(unverified_payload(document), Admission)
        if one.vault_id not in known:
            known.add(one.vault_id)
            values = {"vault_id": one.vault_id, "contract": one.contract, "epoch": one.epoch, "time": one.time}
            db.execute(schema.INSERT[schema.sessions], {**values, "admission": canonical.encode(document)})
        books.raise_epoch(db, one.contract, one.epoch)


def _gap(db: sa.Connection, proofs: list[Checkpoint], least: int, *, unproven: bool) -> list[str]:
    """Return in words what was booked and cannot be brought back."""
    gap = ["the accounts are marked as restored, and nothing proves what was booked since"] if unproven else []
    size = event_log.tip(db).size
    if size < (most := max([least, *(proof.events for proof in proofs)])):
        gap.append(f"the event log holds {size} events and had at least {most}")
    have = {tip.population: tip.size for tip in event_log.account_tips(db)}
    for proof in proofs:
        longer = [tip for tip in proof.accounts if tip.size > have.get(tip.population, 0)]
        gap += [f"the account of {tip.population} had {tip.size} entries" for tip in longer]
    return gap


def _burn(
    db: sa.Connection, limits: dict[str, tuple[Fraction, Fraction]], proofs: list[Checkpoint], now: str
) -> Iterator[str]:
    """Spend every account to the largest limit of its contracts, and beyond any size that was ever signed."""
    tips = {tip.population: tip for tip in event_log.account_tips(db)}
    for population in sorted(limits.keys() | tips.keys() | {t.population for proof in proofs for t in proof.accounts}):
        tip = tips.get(population)
        size = 0 if tip is None else tip.size
        rho, delta = limits.get(population, (Fraction(0), Fraction(0)))
        signed = [t for proof in proofs if (t := proof.account(population)) is not None]
        rho = max([rho, *(log.exact_sum(one.spent) for one in signed)])
        delta = max([delta, *(log.exact_sum(one.delta) for one in signed)])
        amounts = [max(Fraction(0), rho - (Fraction(tip.spent) if tip else 0))]
        deltas = [max(Fraction(0), delta - (Fraction(tip.delta) if tip else 0))]
        # Longer than any state a vault may have seen, or it would take the same size for a fork.
        count = 1 + max([0, *(one.size - size for one in signed)])
        for number in range(count):
            first = number == 0
            spent, spent_delta = (amounts[0], deltas[0]) if first else (Fraction(0), Fraction(0))
            named = (f"{BURNT}{now}:{size + number}", population, "", "")
            entry = Entry(*named, str(spent), str(spent_delta), "recover", Usage(0, 0, 0))
            body = canonical.encode(entry)
            books.take(db, entry, body, position=size + number, vault_id="", epoch=0, time=now)
            named_event: dict[str, Any] = {
                "population": population,
                "charge_id": entry.charge_id,
                "position": size + number,
            }
            event_log.record(db, Event("charge", now, actor="owner", leaf=log.leaf_hash(body).hex(), **named_event))
        yield population


def _limits(home: BrokerHome, dids: frozenset[str]) -> dict[str, tuple[Fraction, Fraction]]:
    """Return the largest limit of every account under any contract that names a key this broker has or had."""
    found: dict[str, tuple[Fraction, Fraction]] = {}
    for digest in home.contracts.digests():
        known = home.contracts.get(digest)
        named = () if known is None else (broker_of(known.contract, did) for did in sorted(dids))
        for terms in named:
            if known is None or terms is None:
                continue
            for budget in known.contract.budgets:
                granted = granted_by(known.contract, terms, budget.population, "")
                if granted is not None and budget.broker == terms.name:
                    rho, delta = found.get(budget.population, (Fraction(0), Fraction(0)))
                    found[budget.population] = max(rho, granted.rho), max(delta, granted.delta)
    return found


def _with_exits(home: BrokerHome) -> Iterator[str]:
    for digest in home.contracts.digests():
        known = home.contracts.get(digest)
        outside = None if known is None else known.contract.outside
        revoked = known is not None and known.decision is not None and known.decision.state == "revoked"
        if outside is not None and (outside.matches or outside.deliveries) and not revoked:
            yield digest


def _fork(name: str) -> TrustError:
    return TrustError(
        "recover.fork",
        f"the log {name or 'of events'} of the proof and ours are two histories",
        next_step="both were signed by this broker: stop it, keep both, and sign new contracts at a new broker",
    )
