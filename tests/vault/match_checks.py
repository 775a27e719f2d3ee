"""What a match must do and must not, run as it is and on mutants by ``test_match.py``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from match_world import CLAUSES, NAME, TABLE, ask, bits, contract, flagged, fraud, inquiry, listed, match, vault
from vault_world import DirectTransport, World, context

from cloister.contract.capsule_keys import table_secret
from cloister.contract.exits import MatchTerms
from cloister.contract.terms import Limits
from cloister.errors import CloisterError
from cloister.provider import matches
from cloister.receipt.ledger import REPLY_TYPE, LedgerReply, Matched
from cloister.vault import deadline
from cloister.vault.executions import Executions
from cloister.vault.exits import AGAIN_MS
from cloister.vault.keys import load_secret
from cloister.vault.match import GRACE_S
from cloister.vault.state import VaultState
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal, unverified_payload

NUMBERS = (0, 3, 5, 7, 15, 21, 105, 199, 200, 999)


def key(number: int) -> str:
    """Return the key of a person as the list spells it."""
    return NAME.format(number)


def refused(state: VaultState, world: World, code: str, document: dict[str, Any], **who: str) -> CloisterError:
    """Check that a match is refused before anything is charged, with a next step."""
    before = size(world)
    with pytest.raises(CloisterError) as caught:
        match(state, msgspec.structs.replace(context(world), **who), document)
    assert caught.value.code == code
    assert caught.value.next_step
    assert size(world) == before, "nothing was charged"
    return caught.value


def size(world: World) -> int:
    """Return the entries of the account."""
    return world.anna_broker.tip(world.card.population).size


def answers(world: World) -> None:
    """Every clause answers what a plain reading of the list says, one by one and together."""
    state, _, _ = vault(world)
    keys = [key(number) for number in NUMBERS]
    for column, holds in (("person", listed), ("flagged", flagged), ("category", fraud)):
        expected = tuple(holds(number) for number in NUMBERS)
        assert bits(state, world, *keys, column=column) == expected
        assert tuple(bits(state, world, one, column=column)[0] for one in keys[:5]) == expected[:5]
    assert bits(state, world, key(3).lower(), " " + key(3), "", " ", key(3)[1:]) == (True, True, False, False, False)
    alone = ask(state, world, "\0")
    assert (alone.answers, alone.settled.receipt.exits.targets) == ((False,), 1)


def per_contract(world: World) -> None:
    """Targets under a clause are limited, in every vault together, and a repetition is free."""
    state, _, document = vault(world, MatchTerms(TABLE, "person", 3, 9))
    bits(state, world, key(1), key(2))
    error = refused(state, world, "limit.match", inquiry(key(3), key(4)))
    assert "per_contract 3" in error.clause
    assert bits(state, world, key(3)) == (True,)
    again, _ = world.state(document)
    refused(again, world, "limit.match", inquiry(key(9)))
    found = ask(again, world, key(1), key(2))
    assert (found.answers, found.settled.recalled) == ((True, True), True)


def per_target(world: World) -> None:
    """One unit is asked about so often, by whatever spelling, analyst and vault, alone and in company."""
    state, _, document = vault(world, MatchTerms(TABLE, "person", 99, 3))
    bits(state, world, key(1))
    ask(state, world, key(1).lower(), analyst=world.other_analyst.did)
    again, _ = world.state(document)
    bits(again, world, f" {key(1)} ", key(2))
    error = refused(again, world, "limit.target", inquiry(key(5), key(1).lower() + " "))
    assert "per_target 3" in error.clause
    assert key(5) not in str(error), "which one it is, is not said"
    refused(again, world, "limit.target", inquiry(key(5), key(5).lower(), " " + key(5).lower(), key(5).lower() + " "))
    assert bits(again, world, key(5)) == (True,)
    last, _ = world.state(document)
    refused(last, world, "limit.target", inquiry(key(1).lower() + " "))


def only_as_declared(world: World) -> None:
    """No clause, another column, an unknown table: one refusal; another analyst, purpose or regime: as anywhere."""
    state, _, _ = vault(world, CLAUSES[1])
    assert bits(state, world, key(3), column="flagged") == (True,)
    for column, table in (("person", TABLE), ("year", TABLE), ("nothing", TABLE), ("flagged", "st_anna.none"),
                          ("flagged", "bank.customers")):  # fmt: skip
        refused(state, world, "exit.match", inquiry(key(3), column=column, table=table))
    refused(state, world, "contract.analyst", inquiry(key(3), column="flagged"), analyst=world.anna.did)
    refused(state, world, "contract.purpose", inquiry(key(3), column="flagged"), purpose="marketing")
    without, _ = world.state(world.sign(world.contract()))
    refused(without, world, "exit.match", inquiry(key(3)))


def malformed(world: World) -> None:
    """No predicate and nothing else beside the keys; no empty, double or huge batch."""
    state, _, _ = vault(world)
    good = inquiry(key(1))
    for change in ({"where": {"op": "col", "name": "year"}}, {"value": "debt"}, {"targets": [1]}, {"targets": [None]},
                   {"targets": key(1)}, {"version": 2}, {"targets": ["\ud800"]}):  # fmt: skip
        refused(state, world, "plan.malformed", {**good, **change})
    for targets in ([], ["a", "a"]):
        refused(state, world, "plan.targets", {**good, "targets": targets})
    huge = [str(number) for number in range(200_000)]
    assert refused(state, world, "plan.limits", {**good, "targets": huge}).kind == "malformed"


def limits_beside(world: World) -> None:
    """A match counts as a release that scans its table."""
    tight = Limits(releases=1, rows=10**9, compute=10**6, models=100)
    state, _, _ = vault(world, limits=tight)
    used = ask(state, world, key(1)).settled.receipt.charges[0].used
    assert (used.releases, used.rows, used.models) == (1, world.card.row_limit, 0)
    refused(state, world, "limit.releases", inquiry(key(2)))
    none = msgspec.structs.replace(tight, rows=world.card.row_limit - 1)
    state, transport, _ = vault(world, limits=none)
    refused(state, world, "limit.rows", inquiry(key(2)))
    assert "/v1/append" not in transport.posts, "what is beyond the contract alone is asked of no broker"


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """A broker that books whatever it is asked; its figures are honest."""
    real = matches.book

    def generous(db: Any, asked: Any, terms: MatchTerms) -> str:
        return real(db, asked, msgspec.structs.replace(terms, per_contract=99, per_target=99))

    matches.book = generous
    try:
        yield
    finally:
        matches.book = real


def kept_by_the_vault(world: World) -> None:
    """What a lenient broker books beyond a clause is not looked up."""
    for limits, code in (((1, 9), "limit.match"), ((9, 1), "limit.target")):
        state, _, _ = vault(world, MatchTerms(TABLE, "person", *limits))
        with lenient():
            bits(state, world, key(1))
            with pytest.raises(CloisterError) as caught:
                bits(state, world, key(1).lower())
            assert caught.value.code == code


def settled_beyond(world: World) -> None:
    """A settled match whose clause was passed since is not looked up again."""
    for document, spent in ((contract(world, MatchTerms(TABLE, "person", 1, 9)), False), (contract(world), True)):
        state, _ = world.state(document)
        bits(state, world, key(1))
        again, transport = world.state(document)
        looked: list[str] = []
        again.engine.found = lambda *given, looked=looked: looked.append(given[0])  # type: ignore[method-assign]
        says(world, transport, (Matched(0, 2, 1),), **({"analyst_spent": str(10**6)} if spent else {}))
        with pytest.raises(CloisterError) as caught:
            bits(again, world, key(1))
        assert caught.value.code == ("limit.analyst" if spent else "limit.match")
        assert not looked


def sent(world: World) -> None:
    """A broker that drops requests does not get tags for guesses without end; what is sent again is not counted."""
    state, transport, _ = vault(world, MatchTerms(TABLE, "person", 2, 9), MatchTerms(TABLE, "flagged", 2, 9))
    posts: list[str] = []
    transport.before = lambda path, body: posts.append(path) if path == "/v1/append" else body
    for number in (1, 1, 1, 2, 3, 3):
        refused(state, world, "broker.unavailable", inquiry(key(2 * number), key(2 * number + 1)))
    assert "per_contract 2" in refused(state, world, "limit.match", inquiry(key(20), key(21), key(22))).clause
    refused(state, world, "broker.unavailable", inquiry(key(8), key(9)))
    assert len(posts) == 7
    refused(state, world, "limit.match", inquiry(key(10)))
    assert len(posts) == 7, "nothing was sent"
    refused(state, world, "broker.unavailable", inquiry(key(10), column="flagged"))
    transport.before = lambda _path, body: body
    assert bits(state, world, key(2), key(3)) == (True, True)


def keys_of_all_tables(world: World) -> None:
    """A broker that sends another key for a table that is not read cannot make other tags; a session may change."""
    state, _, _ = vault(world)
    bits(state, world, key(1))
    real = state.brokers.session

    def other(broker: Any) -> Any:
        session = real(broker)
        other_keys = {name: keys._replace(secret=bytes(32)) for name, keys in session.table_keys.items()}
        return session if broker.name == "anna-broker" else msgspec.structs.replace(session, table_keys=other_keys)

    state.brokers.session = other  # type: ignore[method-assign]
    refused(state, world, "capsule.key", inquiry(key(1)))


def says(world: World, transport: DirectTransport, told: tuple[Matched, ...], **figures: str) -> None:
    """Make the broker sign these counts from now on."""
    signing_key = world.anna_home.identity()

    def alter(path: str, body: bytes) -> bytes:
        if path != "/v1/append":
            return body
        reply = msgspec.json.decode(unverified_payload(msgspec.json.decode(body, type=Envelope)), type=LedgerReply)
        altered = msgspec.structs.replace(reply, matched=told, **figures)
        return canonical.encode(seal(REPLY_TYPE, canonical.encode(altered), signing_key))

    transport.after = alter


def repeated(world: World) -> None:
    """A repetition looks nothing up; what is looked up again after a restart is late like a release, and counted."""
    state, _, document = vault(world)
    looked: list[str] = []
    late: list[tuple[bool, float]] = []
    planned: list[float] = []

    def observe(state: VaultState) -> None:
        real, contained = state.engine.found, state.faults.contained
        state.engine.found = lambda *given: looked.append(given[0]) or real(*given)  # type: ignore[method-assign]

        def note(deadline: Any, *, counts_late: bool) -> Any:
            late.append((counts_late, deadline._grace_s))
            planned.append(deadline._planned_s)
            return contained(deadline, counts_late=counts_late)

        state.faults.contained = note  # type: ignore[method-assign]

    observe(state)
    first = ask(state, world, key(3), key(999))
    assert (len(looked), late) == (1, [(False, GRACE_S)])
    for _ in range(2):
        again = ask(state, world, key(3), key(999))
        assert (again.answers, again.settled.recalled, len(looked)) == (first.answers, True, 1)
    restarted = state_of(world, document)
    observe(restarted)
    late.clear()
    assert ask(restarted, world, key(3), key(999)).answers == first.answers == (True, False)
    assert (len(looked), late) == (2, [(True, deadline.GRACE_S)])
    # A late answer of the few that count is not to come of a planned time that any busy machine exceeds.
    assert planned[0] < AGAIN_MS / 1000 == planned[-1]
    forgetful, transport = world.state(document)
    forgetful.executions = Executions(capacity=0)
    observe(forgetful)
    transport.before = lambda path, body: None if path == "/v1/settle" else body
    for _ in range(2):
        late.clear()
        with pytest.raises(CloisterError):
            ask(forgetful, world, key(5))
    assert (len(looked), late) == (4, [(True, deadline.GRACE_S)])


def understated(world: World) -> None:
    """A broker that counts fewer targets than it did, or than this vault asked, is not believed."""
    for told in ((), (Matched(0, 1, 1),), (Matched(0, 2, 0),), (Matched(1, 9, 9),)):
        state, transport, _ = vault(world)
        says(world, transport, told)
        with pytest.raises(CloisterError) as caught:
            bits(state, world, key(1), key(2))
        assert caught.value.code == "broker.rollback"
    state, transport, document = vault(world)
    bits(state, world, key(1), key(2))
    other, transport = world.state(document)
    bits(other, world, key(3))
    says(world, transport, (Matched(0, 2, 1),))
    with pytest.raises(CloisterError) as caught:
        bits(other, world, key(4))
    assert caught.value.code == "broker.rollback"


def hidden(world: World) -> None:
    """Neither key nor unit hash, nor what a single provider can compute from a guess, leaves the vault."""
    state, transport, document = vault(world)
    seen: list[bytes] = []
    transport.before = lambda _path, body: seen.append(body) or body  # type: ignore[func-returns-value]
    found = ask(state, world, key(3), key(777))
    outside = b"".join([*map(opened, seen), opened(canonical.encode(found.settled.envelope)),
                        *(json.dumps(entry).encode() for entry in world.anna_broker.entries(world.card.population)),
                        world.anna_home.accounts_file.read_bytes()])  # fmt: skip
    from cloister.contract import signing
    from cloister.vault.keys import derived, exit_secret
    from cloister.vault.targets import targets

    digest = signing.contract_digest(document)
    asked = targets(world.card, (key(3), key(777)), digest.encode())
    sealed = {one.manifest_digest: secret_of(one) for one in (world.visits, world.customers)}
    own, everything = [secret_of(world.visits)], [sealed[name] for name in sorted(sealed)]

    def tag_key(keys: list[bytes]) -> bytes:
        return derived(exit_secret(keys, digest), "cloister/match-tags/v1")

    guesses = {key(3), key(3).lower(), key(777), *(unit.hex() for unit in asked.units), found.salt.hex()}
    for secret in (tag_key(own), exit_secret(own, digest), load_secret(own[0]), b"", bytes(32)):
        guesses.update(asked.tags(secret))
    for guess in guesses:
        assert guess.encode() not in outside, guess
    for unit in asked.units:
        assert unit not in outside
    for tag in asked.tags(tag_key(everything)):
        assert tag.encode() in outside, "the tags are what the broker counts"
    commitment_hides(world, found, document)


def secret_of(sealed: Any) -> bytes:
    """Return the secret of the one table of a capsule."""
    return table_secret(sealed.data_key, sealed.tables[0].card.name)


def opened(body: bytes) -> bytes:
    """Return a signed message with its payload in the clear."""
    return body + unverified_payload(msgspec.json.decode(body, type=Envelope)) if b'"payload"' in body else body


def commitment_hides(world: World, found: Any, document: Any) -> None:
    """Salt and plan open the commitment; the receipt names plan and answers nowhere, and no guess of a name fits."""
    from cloister.plan import codec
    from cloister.receipt import exits, naming

    receipt, plan = found.settled.receipt, codec.decode_exit(inquiry(key(3), key(777)))
    assert (receipt.plan, receipt.raw, receipt.noise) == ({}, (), ())
    exits.check_opened(receipt, found.salt, codec.canonical_exit(plan))
    with pytest.raises(CloisterError):
        exits.check_opened(receipt, found.salt, codec.canonical_exit(codec.decode_exit(inquiry(key(777), key(3)))))
    guessed = codec.exit_digest(plan)
    assert guessed != receipt.plan_digest
    assert naming.commitment(b"", codec.canonical_exit(plan)) != receipt.plan_digest


def hidden_from_other_analysts(world: World) -> None:
    """Whoever asks the same cannot open another analyst's commitment, unless the contract shares releases."""
    for share in (False, True):
        state, _, _ = vault(world, share_releases=share)
        mine, other = ask(state, world, key(3)), ask(state, world, key(3), analyst=world.other_analyst.did)
        assert (mine.salt == other.salt) is share
        assert (mine.settled.receipt.plan_digest == other.settled.receipt.plan_digest) is share
        assert other.settled.recalled is share
        assert mine.answers == other.answers == (True,)


def deposit_is_sealed_for_all(world: World) -> None:
    """The deposit opens under the keys of all providers, and not under those of the table's own."""
    from cloister.contract import signing
    from cloister.receipt.deposit import open_deposit, receipt_key

    state, transport, document = vault(world)
    deposits: list[str] = []

    def note(path: str, body: bytes) -> bytes:
        if path == "/v1/settle":
            deposits.append(json.loads(unverified_payload(msgspec.json.decode(body, type=Envelope)))["sealed"])
        return body

    transport.before = note
    charge = ask(state, world, key(3)).settled.receipt.charge_id
    digest = signing.contract_digest(document)
    secrets = {s.manifest_digest: secret_of(s) for s in (world.visits, world.customers)}
    both = [secrets[name] for name in sorted(secrets)]
    assert open_deposit(deposits[0], receipt_key(both, digest, charge), charge).receipt
    for keys in ([secret_of(world.visits)], [secret_of(world.customers)], []):
        with pytest.raises(CloisterError):
            open_deposit(deposits[0], receipt_key(keys, digest, charge), charge)


def charge_first(world: World) -> None:
    """Nothing is looked up unless it was charged, and nothing leaves before its deposit is confirmed."""
    state, transport, document = vault(world)
    looked: list[str] = []
    real = state.engine.found
    state.engine.found = lambda *arguments: looked.append(arguments[0]) or real(*arguments)  # type: ignore[method-assign]
    transport.before = lambda path, body: None if path == "/v1/append" else body
    with pytest.raises(CloisterError):
        bits(state, world, key(1))
    assert not looked
    transport.before = lambda path, body: None if path == "/v1/settle" else body
    with pytest.raises(CloisterError):
        bits(state, world, key(1))
    assert looked == [TABLE]
    charged = size(world)
    transport.before = lambda _path, body: body
    again, _ = world.state(document)
    assert not ask(again, world, key(1)).settled.recalled
    assert ask(state_of(world, document), world, key(1)).settled.recalled
    assert size(world) == charged, "a retry is one charge"


def state_of(world: World, document: Any) -> VaultState:
    """Return another vault of the contract."""
    return world.state(document)[0]


def faults(world: World) -> None:
    """What fails after the charge is the one fault, at the planned time; three of them stop the vault."""
    state, _, _ = vault(world)
    bits(state, world, key(1))

    def fail(*_: Any) -> tuple[bool, ...]:
        raise IndexError(f"{key(3)} is in row 7")

    state.engine.found = fail  # type: ignore[method-assign]
    for code in ("vault.fault",) * 3 + ("vault.suspended",):
        with pytest.raises(CloisterError) as caught:
            bits(state, world, key(3))
        assert caught.value.code == code
        assert key(3) not in str(caught.value)


def two_vaults_one_receipt(world: World) -> None:
    """Two vaults race on one charge: the first deposit is the receipt of both, and both give the same answers."""
    document = contract(world)
    (first, one), (second, _) = world.state(document), world.state(document)
    ask(first, world, key(7))
    one.before = lambda path, body: None if path == "/v1/settle" else body
    with pytest.raises(CloisterError):
        ask(first, world, key(1), key(999))
    mine = ask(second, world, key(1), key(999))
    assert mine.answers == (True, False)
    other = ask(state_of(world, document), world, key(1), key(999))
    assert other.settled.receipt == mine.settled.receipt
    assert (other.answers, other.salt, other.settled.recalled) == (mine.answers, mine.salt, True)


CHECKS: dict[str, Callable[[World], None]] = {
    check.__name__: check
    for check in (
        answers, per_contract, per_target, only_as_declared, malformed, limits_beside, kept_by_the_vault,
        repeated, settled_beyond, understated, hidden, hidden_from_other_analysts, deposit_is_sealed_for_all,
        charge_first, sent, keys_of_all_tables, faults, two_vaults_one_receipt,
    )
}  # fmt: skip
