"""What is made from the log alone: invoices, to the last byte, and the alerts of a pack of rules."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from log_world import checked, exported
from provider_world import World

from cloister.contract.clauses import Tariff
from cloister.contract.exits import Exits, MatchTerms
from cloister.contract.usage import Usage
from cloister.errors import ContractError, MalformedError
from cloister.receipt import alerts, audit, invoice
from cloister.receipt.audit_accounts import Charged
from cloister.receipt.events import Event
from cloister.receipt.ledger import Entry, ExitEntry
from cloister.wire import canonical

TARIFF = """
currency = "CNY"
digits = 2
[[price]]
item = "releases"
amount = "0.125"
free = 1
[[price]]
item = "rows"
amount = "3"
per = 1000
[[price]]
item = "targets"
amount = "0.5"
"""


@pytest.fixture(scope="module")
def metered(tmp_path_factory):
    """Four releases, two of them a day later, and a match about three units."""
    exits = Exits(matches=(MatchTerms("clinic.visits", "smokes", 10, 5),))
    world = World(tmp_path_factory.mktemp("metered"), exits=exits)
    vault = world.vault()
    for number in range(2):
        assert vault.append(f"c{number}").status == "ok"
    world.later(days=1)
    for number in range(2, 4):
        assert vault.append(f"c{number}").status == "ok"
    asked = ExitEntry("match", 0, ("t1", "t2", "t3"))
    assert vault.append("m", "0", exit=asked, usage=Usage(64, 2, 0)).status == "ok"
    assert vault.append("beyond", "0", exit=ExitEntry("match", 3, ("t1",))).status == "exit.match"
    yield world
    world.broker.close()


def bill(world: World, **period: str) -> invoice.Invoice:
    meter = invoice.Meter(**period)
    report = audit.Audit(charge=meter.add).check(exported(world))
    assert report.sound, report.to_text()
    return meter.invoice(invoice.read_tariff(TARIFF), broker=report.broker, checkpoint="sha256:x")


def test_an_invoice_adds_up(metered):
    made = bill(metered)
    amounts = {line.item: (line.quantity, line.charged, line.amount) for line in made.lines}
    assert amounts == {"releases": (5, 4, "1/2"), "rows": (5 * 64, 5 * 64, "24/25"), "targets": (3, 3, "3/2")}
    assert Fraction(made.total) == Fraction("2.96")
    assert {line.analyst for line in made.lines} == {metered.analyst.did}


def test_the_same_log_makes_the_same_bytes_and_another_one_does_not(metered):
    assert canonical.encode(bill(metered)) == canonical.encode(bill(metered))
    assert canonical.encode(bill(metered, since="2026-06-02T00:00:00Z")) != canonical.encode(bill(metered))


def test_periods_are_half_open_and_do_not_overlap(metered):
    edge = "2026-06-02T00:00:00Z"
    first, second, whole = bill(metered, until=edge), bill(metered, since=edge), bill(metered)
    count = {
        name: {line.item: line.quantity for line in one.lines}
        for name, one in (("1", first), ("2", second), ("w", whole))
    }
    assert count["1"] == {"releases": 2, "rows": 128}
    assert {item: count["1"].get(item, 0) + count["2"].get(item, 0) for item in count["w"]} == count["w"]


@pytest.mark.parametrize(("amount", "digits", "said"), [("0.005", 2, "0.01"), ("0.0049", 2, "0.00"), ("2.5", 0, "3")])
def test_rounding_is_half_up_once(amount, digits, said):
    tariff = invoice.read_tariff(
        f'currency = "X"\ndigits = {digits}\n[[price]]\nitem = "releases"\namount = "{amount}"'
    )
    meter = invoice.Meter()
    entry = Entry("c", "p", "sha256:c", "did:a", "1", "0", "plan", Usage(1, 1, 0))
    meter.add(Charged(entry, 0, "2026-01-01T00:00:00Z"))
    meter.add(Charged(msgspec.structs.replace(entry, population="q"), 0, "2026-01-01T00:00:00Z"))
    assert meter.invoice(tariff, broker="b", checkpoint="c").total == said


def test_the_narrowest_price_counts():
    text = TARIFF + '[[price]]\nitem = "releases"\namount = "9"\ncontract = "sha256:c"\n'
    text += '[[price]]\nitem = "releases"\namount = "7"\ncontract = "sha256:c"\nanalyst = "did:a"\n'
    tariff, meter = invoice.read_tariff(text), invoice.Meter()
    for contract, analyst in (("sha256:c", "did:a"), ("sha256:c", "did:b"), ("sha256:d", "did:a")):
        entry = Entry("c" + analyst, "p", contract, analyst, "1", "0", "plan", Usage(0, 0, 0))
        meter.add(Charged(entry, 0, "2026-01-01T00:00:00Z"))
    made = meter.invoice(tariff, broker="b", checkpoint="c")
    prices = {(line.contract, line.analyst): line.price for line in made.lines}
    assert prices == {("sha256:c", "did:a"): "7", ("sha256:c", "did:b"): "9", ("sha256:d", "did:a"): "0.125"}


def test_prices_that_everybody_signed_need_no_file(make_world):
    """Two contracts, each with prices of its own for this broker; another broker's prices are not ours."""
    ours = Tariff(broker="clinic-broker", currency="CNY", release="2", rows="0", compute="0", model="0")
    world = make_world(tariffs=(ours,))
    vault = world.vault()
    assert vault.append("c1").status == "ok"
    meter = invoice.Meter()
    checking = audit.Audit(charge=meter.add)
    assert checking.check(exported(world)).sound
    tariff = invoice.signed_tariff(checking.contracts, world.broker.did)
    assert meter.invoice(tariff, broker="b", checkpoint="c").total == "2.00"
    with pytest.raises(ContractError):
        invoice.signed_tariff(checking.contracts, "did:key:another")
    # A broker whose key was replaced is owed what was signed under the former one.
    assert invoice.signed_tariff(checking.contracts, "did:key:another", world.broker.did) == tariff
    other = msgspec.structs.replace(world.contract, tariffs=(msgspec.structs.replace(ours, currency="EUR"),))
    with pytest.raises(ContractError):
        invoice.signed_tariff({**checking.contracts, "sha256:2": other}, world.broker.did)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'currency = "X"\n[[price]]\nitem = "naps"\namount = "1"',
        'currency = "X"\n[[price]]\nitem = "rows"\namount = "-1"',
        'currency = "X"\n[[price]]\nitem = "rows"\namount = "1e9"',
        'currency = "X"\n[[price]]\nitem = "rows"\namount = "1"\nper = 0',
        'currency = "X"\n[[price]]\nitem = "rows"\namount = "1"\n[[price]]\nitem = "rows"\namount = "2"',
    ],
)
def test_senseless_tariffs_are_refused(text):
    with pytest.raises(MalformedError):
        invoice.read_tariff(text)


# Alerts ----------------------------------------------------------------------------------------------


def test_the_pack_has_the_fourteen_rules_each_measured_or_explained():
    pack = alerts.pboc40()
    assert [rule.id for rule in pack.rule] == list(range(1, 15))
    assert {rule.id for rule in pack.rule if rule.measure} == {5, 6, 8, 9, 13, 14}
    assert all(bool(rule.measure) != bool(rule.reason) for rule in pack.rule)


def test_alerts_of_a_real_log(metered):
    """The match is told (rule 8), the exit beyond the contract too (13); nothing else happened."""
    watch = alerts.Watch(alerts.pboc40())
    report = audit.Audit(charge=watch.charge, event=watch.event).check(exported(metered))
    assert report.sound
    found = {(one.rule, one.what, one.count) for one in watch.alerts()}
    # Charged at midnight UTC, 8 o'clock in Beijing: inside the hours.
    assert found == {(8, "exit.match", 1), (13, "refusal.count", 1)}
    assert checked(exported(metered)).by_kind["refusal"] == 1


def charge(number: int, *, time: str = "2026-06-01T04:00:00Z", plan: str = "p", rows: int = 1, targets=None):
    left = msgspec.UNSET if targets is None else ExitEntry("match", 0, tuple(f"t{n}" for n in range(targets)))
    entry = Entry(f"c{number}", "p", "sha256:c", "did:a", "1", "0", plan, Usage(rows, 1, 0), exit=left)
    return Charged(entry, number, time, "did:vault")


def refusal(status: str, actor: str = "did:a") -> Event:
    return Event("refusal", "2026-06-01T04:00:00Z", actor=actor, status=status)


SIGNATURES = [refusal("signature.missing")] * 3
TAKEN_OVER = [Event("session", "2026-06-01T04:00:00Z", actor=f"v{n}", contract="c") for n in range(51)]
ALERTS = {
    "at night": ([charge(0, time="2026-06-01T18:00:00Z")], [], (5, "charge.hours")),
    "too often": ([charge(n) for n in range(201)], [], (5, "charge.count")),
    "too much": ([charge(0, rows=10**9), charge(1, rows=1)], [], (5, "charge.rows")),
    "many plans": ([charge(n, plan=f"p{n}") for n in range(101)], [], (14, "charge.plans")),
    "many targets": ([charge(0, targets=1000), charge(1, targets=1)], [], (14, "exit.targets")),
    "weak authentication": ([], SIGNATURES + [refusal("evidence.rejected")] * 3, (6, "refusal.count")),
    "beyond the contract": ([], [refusal("limit.rows")], (13, "refusal.count")),
    "taking over": ([], TAKEN_OVER, (9, "session.count")),
}


@pytest.mark.parametrize("name", ALERTS)
def test_every_measure_alerts_and_stays_silent_below(name):
    charges, happened, expected = ALERTS[name]
    for drop, alerted in ((0, True), (1, False)):
        watch = alerts.Watch(alerts.pboc40())
        for one in charges[: len(charges) - drop]:
            watch.charge(one)
        for one in happened[: len(happened) - drop]:
            watch.event(one)
        assert (expected in {(one.rule, one.what) for one in watch.alerts()}) == alerted


def test_a_charge_without_a_time_is_in_no_bucket():
    watch = alerts.Watch(alerts.pboc40())
    watch.charge(charge(0, time="", rows=10**10))
    assert watch.alerts() == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        'name = "x"\nversion = 1\n[[rule]]\nid = 1\ntext = "neither measure nor reason"',
        'name = "x"\nversion = 1\n' + '[[rule]]\nid = 1\ntext = "a"\nreason = "b"\n' * 2,
        'name = "x"\nversion = 1\n[[rule]]\nid = 1\ntext = "a"\n[[rule.measure]]\nwhat = "weather"',
    ],
)
def test_senseless_packs_are_refused(text):
    with pytest.raises(MalformedError):
        alerts.read_pack(text)
