"""G1..G10 and the three exits (privacy.md section 5): one test each that fails when the invariant is removed.

Where another folder already holds the test it is named in ``ELSEWHERE`` and checked to exist.
"""

from __future__ import annotations

import ast
import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attack_catalogue import ROOT
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from mutants import mutated
from test_attack_catalogue import functions
from vault_world import context, numbered, plan

from cloister.attest.encoding import b64
from cloister.contract import rights
from cloister.contract.card import Column
from cloister.contract.exits import DeliverTerms, Exits, MatchTerms, Receiver
from cloister.errors import BudgetError, CloisterError, ContractError, FaultError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.reads import reads
from cloister.receipt import naming
from cloister.vault import authorise, exits, faults, noise, permits, question, release, thresholds
from cloister.vault.engine import Engine
from cloister.vault.question import prepare
from cloister.vault.sampler import Teaching

VAULT = ROOT / "kernel" / "cloister" / "vault"
VISITS = a.Table("st_anna.visits")
GENOME = a.Col("genome")
ELSEWHERE = {
    "G1": ("vault/test_noise.py::test_the_engine_noise_follows_the_pmf",
           "vault/test_price.py::test_charges_are_exact_and_at_most_what_was_asked"),
    "G2": ("vault/test_ledger_replies.py::test_a_charge_is_made_before_anything_runs",
           "vault/test_recall.py::test_what_is_settled_is_never_run_again",
        "crash/test_kill_schedules.py::test_kill_at_step"),
    "G3": ("vault/test_release_faults.py::test_every_failure_looks_the_same_and_comes_at_the_deadline",
           "vault/test_release_faults.py::test_three_faults_suspend_the_contract_in_this_vault",
           "vault/test_release_faults.py::test_late_answers_are_counted_and_bounded"),
    "G4": ("proof/test_record_replay.py::test_control_flow_that_depends_on_data_is_caught",),
    "G5": ("vault/test_release.py::test_the_same_question_is_free_in_memory_and_across_a_restart",
           "vault/test_release.py::test_shared_releases_are_shared_and_others_are_not",
           "vault/test_recall.py::test_deposits_open_only_under_their_key_and_charge"),
    "G6": ("vault/test_release.py::test_nothing_comes_before_the_planned_deadline",
           "vault/test_price.py::test_the_deadline_is_a_step_of_the_ladder_from_plan_and_card",
           "proof/test_timing.py::test_reply_times_do_not_tell_neighbours_apart"),
    "G7": ("vault/test_release.py::test_the_log_of_a_vault_has_neither_values_nor_times",
           "provider/test_server.py::test_the_log_holds_no_secrets_and_no_receipts"),
    "G8": ("vault/test_release_refusals.py::test_a_tier_four_column_is_used_nowhere",
           "vault/test_analyse.py::test_tiers_uses_and_operations"),
    "G9": (),
    "G10": ("vault/test_noise.py::test_noise_differs_between_processes_and_after_a_fork",
            "vault/test_noise.py::test_seeded_noise_is_repeatable_and_says_so",
            "reviewer/test_verify.py::test_seeded_noise_is_said"),
    "Exits": ("vault/test_match.py::test_a_match", "vault/test_match.py::test_each_defence_is_needed",
              "vault/test_deliver.py::test_what_is_refused_is_free",
              "vault/test_deliver.py::test_each_defence_is_needed",
              "vault/test_deliver_receiver.py::test_a_self_made_file_with_a_true_receipt_is_refused",
              "provider/test_exit_entries.py::test_what_no_clause_allows_is_not_booked",
              "provider/test_matches.py::test_every_line_is_needed",
              "reviewer/test_verify_exits.py::test_a_receipt_that_states_what_no_exit_states",
              "vault/test_release_refusals.py::test_under_the_screened_regime_every_plan_gets_one_refusal"),
}  # fmt: skip


@pytest.mark.parametrize("invariant", ELSEWHERE)
def test_the_tests_named_elsewhere_exist(invariant):
    for test in ELSEWHERE[invariant]:
        path, _, name = test.partition("::")
        assert name in functions(path), f"{invariant} names {test}, which does not exist"
    own = invariant.lower() + "_"
    assert any(name.startswith(f"test_{own}") for name in functions("proof/test_gate_invariants.py"))


class Watched(Engine):
    """An engine that remembers what it was asked to do, and can be told what to find or to fail."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(1)
        self.error = error
        self.runs = 0

    def run(self, analysis: Any) -> Any:
        self.runs += 1
        if self.error is not None:
            raise self.error
        return super().run(analysis)


def test_g1_only_integers_pass_the_one_noise_function(quiet_world, monkeypatch):
    """Whatever the noise function gives is what leaves, and nothing else does."""
    marked: list[int] = []

    def mark(values, sigma):
        assert all(type(value) is int for value in values)
        marked.extend(range(900_000 + len(marked), 900_000 + len(marked) + len(values)))
        return marked[-len(values) :]

    monkeypatch.setattr(noise, "gaussian", mark)
    asked = plan(a.Count("n"), a.Sum("cost", a.Col("cost")), keys=("sex",))
    answer = release.release(quiet_world.state()[0], context(quiet_world), asked)
    assert sorted(map(int, answer.receipt.raw)) == sorted(marked)
    with mutated(thresholds, "noisy = add_noise(exact, price.sigmas)", "noisy = list(exact.values)"):
        answer = release.release(quiet_world.state()[0], context(quiet_world), asked)
    assert not set(map(int, answer.receipt.raw)) & set(marked)


def test_g1_nothing_else_draws_noise():
    """OpenDP is imported by the noise alone, and the release path imports no other source of randomness."""
    for path in VAULT.glob("*.py"):
        found = set(_imports(path))
        if path.name != "noise.py":
            assert not any(name.startswith("opendp") for name in found), path.name
        if path.name != "sampler.py":
            assert "random" not in found, path.name
            assert "numpy.random" not in path.read_text(), path.name


def test_g2_the_price_is_known_without_data(quiet_world):
    """What ``prepare`` says with no engine at all is what the release charges."""
    state, _ = quiet_world.state()
    asked = numbered(41)
    wanted = prepare(asked, context(quiet_world), state.terms).price
    answer = release.release(state, context(quiet_world), asked)
    assert answer.receipt.rho == str(wanted.rho)
    assert [part.sigma for part in answer.receipt.noise] == [sigma.hex() for sigma in wanted.sigmas]


def test_g2_nothing_runs_that_is_not_paid(quiet_world):
    engine = Watched()
    state, _ = quiet_world.state(engine=engine)
    with pytest.raises(BudgetError):
        release.release(state, context(quiet_world), numbered(42, rho="1000"))
    assert engine.runs == 0
    line = "    booked = charge(state.brokers, question, context.analyst, terms)\n"
    with mutated(release, line, "    state.engine.run(analysis)\n" + line), pytest.raises(BudgetError):
        release.release(state, context(quiet_world), numbered(42, rho="1000"))
    assert engine.runs == 1, "the test sees an engine that runs too early"


def test_g3_a_failure_is_one_constant(own_world, monkeypatch):
    secret = "canary-5512"
    state, _ = own_world.state(engine=Watched(RuntimeError(secret)))
    with pytest.raises(FaultError) as fault:
        release.release(state, context(own_world), numbered(1))
    assert fault.value.to_dict() == faults.fault().to_dict()
    assert fault.value.__suppress_context__
    monkeypatch.setattr(faults.Faults, "contained", lambda *_: contextlib.nullcontext())
    with pytest.raises(RuntimeError, match=secret):
        release.release(state, context(own_world), numbered(2))


REFUSED = [
    plan(a.Sum("s", a.Col("nobody"))),
    plan(a.Sum("s", a.Col("patient"))),
    plan(table="st_anna.visit"),
    plan(keys=("patient",)),
    plan(rho="1/1000000000000000000000000000000"),
    plan(a.Sum("g", GENOME)),
    plan(where=a.Compare("ge", a.Col("sex"), a.Text("f"))),
    plan(*(a.Sum(f"s{n}", a.Clip(a.Col("cost"), "0", str(n + 1))) for n in range(40)), keys=("age", "cost")),
    {"op": "vector_sum"},
]


@pytest.mark.parametrize("document", REFUSED, ids=range(len(REFUSED)))
def test_g4_every_refusal_is_made_without_data(quiet_world, document):
    """A process that has no data says the same as the vault."""
    state, transport = quiet_world.state()
    with pytest.raises(CloisterError) as without:
        prepare(document, context(quiet_world), state.terms)
    with pytest.raises(CloisterError) as with_data:
        release.release(state, context(quiet_world), document)
    assert with_data.value.to_dict() == without.value.to_dict()
    assert "/v1/append" not in transport.posts


def test_g5_every_part_of_the_question_is_in_its_key():
    from fractions import Fraction

    whole = {
        "plan": "p", "rho": Fraction(1, 9), "manifests": ("m", "n"), "cards": ("c",), "env_digest": "e",
        "contract": "k", "analyst": "a",
    }  # fmt: skip
    changed = {**dict.fromkeys(whole, "other"), "rho": Fraction(1, 8), "manifests": ("m",), "cards": ("d",)}
    keys = {naming.release_key(**{**whole, name: changed[name]}) for name in whole}
    assert len(keys | {naming.release_key(**whole)}) == 1 + len(whole)
    assert naming.release_key(**{**whole, "manifests": ("n", "m", "n")}) == naming.release_key(**whole)


def test_g6_the_wait_is_the_planned_one_whatever_the_run_took(quiet_world, monkeypatch):
    waited: list[float] = []

    class Time:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds
            waited.append(self.now)

    for took in (0.0, 0.03, 0.09):
        time = Time()
        monkeypatch.setattr("cloister.vault.deadline.time", time)
        state, _ = quiet_world.state()
        state.on_step = lambda number, time=time, took=took: setattr(time, "now", time.now + took * (number == 7))
        asked = numbered(50 + int(took * 100))
        planned = prepare(asked, context(quiet_world), state.terms).price.deadline_ms
        begin = len(waited)
        release.release(state, context(quiet_world), asked)
        loaded = waited[begin]
        assert waited[-1] == pytest.approx(loaded + planned / 1000)


LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
ALLOWED = {"error.code", "terms.mode"}


def test_g7_logs_of_the_vault_hold_codes_only():
    found = [said for path in sorted(VAULT.glob("*.py")) for said in log_arguments(path.read_text())]
    assert set(found) <= ALLOWED, found
    assert len(found) >= 4, "the search finds what is logged"
    assert log_arguments("_log.info('rows: %s', exact.values)") == ["exact.values"]
    assert log_arguments("print(raw)") == ["print"]


def test_g7_nothing_in_the_vault_measures_itself():
    """No processor time, memory or clock of the machine that a message could carry."""
    forbidden = {"psutil", "tracemalloc", "process_time", "perf_counter", "getrusage", "memory_info", "thread_time"}
    for path in VAULT.glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not forbidden & (names | set(_imports(path))), path.name


def log_arguments(source: str) -> list[str]:
    """Return the expressions that logging calls of a module put into their texts; ``print`` is never allowed."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append("print")
        if isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            text, *values = node.args or [None]
            if text is not None and not isinstance(text, ast.Constant):
                values.append(text)
            found += [ast.unparse(value) for value in values]
    return found


COUNTED = (a.UnitMeasure("k", "count"),)
PLACES = {
    "filter": a.Filter(VISITS, a.IsNull(GENOME)),
    "derive": a.Derive(VISITS, (("v", GENOME),)),
    "cap": a.Cap(VISITS, 1, ("genome",)),
    "align": a.Align(VISITS, VISITS, "left", (("genome", "g"),)),
    "align, left": a.Align(a.Filter(VISITS, a.IsNull(GENOME)), VISITS, "inner", (("age", "g"),)),
    "align, right": a.Align(VISITS, a.Filter(VISITS, a.IsNull(GENOME)), "inner", (("age", "g"),)),
    "lookup": a.Lookup(VISITS, ("genome",), a.PublicRows(((a.Number("1"), a.Number("2")),)), ("v",)),
    "per unit": a.PerUnit(VISITS, (a.UnitMeasure("m", "max", GENOME),)),
    "per unit by": a.PerUnit(VISITS, COUNTED, ("genome",)),
    "window order": a.Window(VISITS, (("genome", "asc"),), (a.RowNumber("k"),)),
    "window by": a.Window(VISITS, (), (a.RowNumber("k"),), ("genome",)),
    "window of": a.Window(VISITS, (), (a.Lag("k", GENOME),)),
    "stack": a.Stack((VISITS, a.Filter(VISITS, a.IsNull(GENOME)))),
    "split": a.Split(a.Filter(VISITS, a.IsNull(GENOME)), 2, (0,)),
}


@pytest.mark.parametrize("place", PLACES)
def test_g8_a_column_of_tier_four_is_used_nowhere(quiet_world, place):
    state, _ = quiet_world.state()
    document = codec.encode(a.VectorSum(PLACES[place], (a.Count("n"),), "1/1000"))
    with pytest.raises(CloisterError) as refused:
        prepare(document, context(quiet_world), state.terms)
    assert refused.value.code == "contract.tier"
    with mutated(permits, '    if rule.decision == "allow":', "    if True:"):
        prepare(document, context(quiet_world), state.terms)


@pytest.mark.parametrize("keys", [("genome",), ("sex", "genome")])
def test_g8_a_column_of_tier_four_is_no_key_that_is_released(quiet_world, keys):
    """Values that many units have would leave as texts."""
    state, _ = quiet_world.state()
    asked = a.ThresholdKeys(a.Table("st_anna.visits"), keys, 1, "1/100", "1/10000000")
    with pytest.raises(ContractError) as refused:
        authorise.authorise(asked, context(quiet_world), state.terms)
    assert refused.value.code == "contract.tier"
    with mutated(authorise, "algebra.VectorSum | algebra.ThresholdKeys", "algebra.VectorSum"):
        authorise.authorise(asked, context(quiet_world), state.terms)


@pytest.mark.parametrize(("keys", "taken"), [("code", "secret"), ("secret", "code")])
def test_g8_a_column_of_tier_four_of_a_reference_table_is_looked_up_by_nobody(quiet_world, keys, taken):
    """A reference table belongs to nobody, and its provider still says what may be read of it."""
    state, _ = quiet_world.state()
    columns = (
        Column("code", "int", 1, "", low="0", high="9", step="1"),
        Column("secret", "int", 4, "", low="0", high="9", step="1"),
    )
    codes = msgspec.structs.replace(quiet_world.card, name="codes", unit="none", key=(keys,), columns=columns)
    terms = msgspec.structs.replace(state.terms, cards={**state.terms.cards, "codes": codes})
    looked_up = a.Lookup(VISITS, ("age",), a.Reference("codes", (keys,), (taken,)), ("v",))
    with pytest.raises(ContractError) as refused:
        authorise.authorise(a.VectorSum(looked_up, (a.Count("n"),), "1/100"), context(quiet_world), terms)
    assert refused.value.code == "contract.tier"


def test_g8_every_field_of_the_algebra_that_names_columns_is_looked_at():
    """A new node cannot name a column without being read here: text fields are listed, by node."""
    texts = {
        (kind.__name__, field.name)
        for kind in vars(a).values()
        if isinstance(kind, type) and issubclass(kind, a.Node)
        for field in msgspec.structs.fields(kind)
        if "str" in str(kind.__annotations__.get(field.name, ""))
        and "Literal" not in str(kind.__annotations__[field.name])
    }
    named = {
        ("Col", "name"), ("Select", "columns"), ("Cap", "by"), ("Align", "columns"), ("Lookup", "keys"),
        ("Reference", "keys"), ("Reference", "columns"), ("PerUnit", "by"), ("Window", "order"), ("Window", "by"),
        ("VectorSum", "keys"), ("ThresholdKeys", "keys"),
    }  # fmt: skip
    new = {("Derive", "columns"), ("Lookup", "columns"), ("Stack", "column")}
    # Exits are no plans: their column and receiver are those of a clause of the contract.
    exits = {("Match", "column"), ("Match", "targets"), ("Deliver", "receiver")}
    assert named | new | exits <= texts | {("Window", "order")}
    others = {field for _, field in texts - named - new - exits}
    assert others <= {
        "name", "value", "factor", "low", "high", "step", "divisor", "edges", "text", "old", "new", "labels", "table",
        "rho", "delta", "salt", "at", "key", "columns",
        "gram", "penalty", "smoothing", "shrinkage",
    }  # fmt: skip


RIGHTS = st.builds(
    rights.Rights,
    st.integers(1, 5),
    st.sampled_from(["demonstration", "production"]),
    *[st.none() | st.frozensets(st.sampled_from("abc"))] * 3,
    st.booleans(),
    st.none() | st.sampled_from(["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]),
)


@given(RIGHTS, RIGHTS, RIGHTS)
def test_g9_rights_are_a_meet_semilattice(one, two, three):
    """Associative, commutative, idempotent, monotone; the meet is the most that both allow."""
    assert one.meet(two) == two.meet(one)
    assert one.meet(two).meet(three) == one.meet(two.meet(three)) == rights.meet([three, one, two])
    assert one.meet(one) == one == one.meet(rights.EVERYTHING)
    both = one.meet(two)
    assert both.within(one)
    assert both.within(two)
    if three.within(one) and three.within(two):
        assert three.within(both), "the greatest lower bound"
    if one.within(two):
        assert one.meet(three).within(two.meet(three)), "monotone"
    assert both.tier >= one.tier
    for name in ("purposes", "operations", "receivers"):
        mine, ours = getattr(one, name), getattr(both, name)
        assert mine is None or ours <= mine
    assert not both.share or (one.share and two.share)
    assert one.until is None or both.until <= one.until


@pytest.mark.parametrize("place", PLACES)
def test_g9_a_release_has_the_tier_of_every_column_it_depends_on(quiet_world, place):
    """Wherever the column stands: the meet is over what the plan reads, filters and keys included."""
    state, _ = quiet_world.state()
    contract, cards = state.terms.contract, state.terms.cards
    plan = a.VectorSum(PLACES[place], (a.Count("n"),), "1/1000")
    if place in {"derive", "align", "per unit", "window of"}:
        # What is only computed and never asked for is not in the answer.
        taken = {"derive": "v", "align": "g", "per unit": "m", "window of": "k"}[place]
        plan = a.VectorSum(PLACES[place], (a.Sum("s", a.Col(taken)),), "1/1000")
    elif place in {"lookup", "window order", "window by", "per unit by"}:
        taken = "v" if place == "lookup" else "k"
        plan = a.VectorSum(PLACES[place], (a.Count("n", a.Compare("ge", a.Col(taken), a.Number("1"))),), "1/1000")
    found = rights.of_release(*reads(plan, cards), cards, contract)
    assert found.tier == 4
    harmless = a.VectorSum(a.Select(VISITS, ("age", "genome")), (a.Sum("s", a.Col("age")),), "1/1000")
    assert rights.of_release(*reads(harmless, cards), cards, contract).tier < 4
    card = quiet_world.card
    assert found.purposes == frozenset(contract.purposes) & frozenset(card.purposes)
    assert found.receivers == {party.did for party in contract.parties if party.role == "analyst"}
    assert (found.share, found.until) == (contract.share_releases, contract.not_after)


@pytest.mark.parametrize("step", [question, release], ids=["price", "release"])
def test_g8_what_a_look_at_names_misses_the_analysis_finds(quiet_world, step):
    state, _ = quiet_world.state()
    document = codec.encode(a.VectorSum(PLACES["filter"], (a.Count("n"),), "1/1000"))
    ask = {
        question: lambda: question.prepare(document, context(quiet_world), state.terms),
        release: lambda: release.release(state, context(quiet_world), document),
    }[step]
    with (
        mutated(authorise, "    named = frozenset(_names(plan))", "    named = frozenset()"),
        pytest.raises(ContractError, match=r"contract\.tier"),
    ):
        ask()


def test_g9_a_derived_capsule_allows_no_more_than_its_parents(tmp_path, quiet_world):
    import pyarrow as pa

    from cloister.provider import parents, seal

    card = msgspec.structs.replace(quiet_world.card, name="st_anna.derived")
    empty = pa.table({column.name: pa.array([], pa.string() if column.type == "string" else pa.int64())
                      for column in card.columns})  # fmt: skip
    whole = parents.Parent(quiet_world.visits.manifest_digest, quiet_world.card)
    some = whole._replace(columns=("age",))
    strict = some._replace(card=msgspec.structs.replace(quiet_world.card, grade="production"))
    other = some._replace(card=msgspec.structs.replace(quiet_world.card, purposes=("billing",)))
    for number, made_from in enumerate(([whole], [some, whole], [some, strict], [some, other])):
        with pytest.raises(ContractError, match=r"seal\.rights") as refused:
            seal.seal(card, empty, tmp_path / str(number), quiet_world.anna, parents=made_from)
        assert refused.value.next_step
        assert not (tmp_path / str(number)).exists()
    seal.seal(card, empty, tmp_path / "fine", quiet_world.anna, parents=[some, some])
    read = parents.read_parent(f"{tmp_path / 'fine'}=age,sex")
    assert (read.card.name, read.columns) == ("st_anna.derived", ("age", "sex"))
    for wrong in (tmp_path / "none", f"{tmp_path / 'fine'}=nothing"):
        with pytest.raises(CloisterError, match=r"seal\.parent"):
            parents.read_parent(str(wrong))


def test_g9_a_derived_capsule_names_its_parents_under_the_providers_signature(tmp_path, quiet_world):
    """What rights follow from the parents is for the reader of the manifest; it cannot be left out or changed."""
    import pyarrow as pa

    from cloister.provider import seal
    from cloister.provider.parents import Parent

    parent = quiet_world.visits.manifest_digest
    card = msgspec.structs.replace(quiet_world.card, name="st_anna.derived")
    empty = pa.table({column.name: pa.array([], pa.string() if column.type == "string" else pa.int64())
                      for column in card.columns})  # fmt: skip
    made_from = Parent(parent, quiet_world.card, ("age",))
    made = seal.seal(card, empty, tmp_path / "derived", quiet_world.anna, parents=(made_from,))
    plain = seal.seal(card, empty, tmp_path / "plain", quiet_world.anna)
    assert parent in Path(made.directory, "manifest.json").read_text() or _holds(made.directory, parent)
    assert not _holds(plain.directory, parent)


def test_g10_a_forked_vault_draws_other_noise():
    """Two processes that were one a moment ago, clones of a vault that has drawn before, share nothing."""
    noise.gaussian([0] * 10, 1e6)
    first, second = _forked(lambda: noise.gaussian([0] * 20, 1e6)), _forked(lambda: noise.gaussian([0] * 20, 1e6))
    assert len({repr(noise.gaussian([0] * 20, 1e6)), first, second}) == 3
    seeded = Teaching(7)
    assert _forked(lambda: seeded.add([0] * 5, 1e6)) == _forked(lambda: seeded.add([0] * 5, 1e6)), "a clone would show"


def test_g10_seeded_noise_stays_in_the_classroom():
    """The sampler with a seed is named by its own module and by the simulated classroom, which labels its outputs."""
    users = {path.name for path in (ROOT / "kernel").rglob("*.py") if "Teaching(" in path.read_text()}
    assert users == {"sampler.py", "classroom_vault.py"}
    assert "SEEDED_LABEL" in (ROOT / "kernel" / "cloister" / "demo" / "classroom_vault.py").read_text()


AGES = a.PerUnit(VISITS, (a.UnitMeasure("age", "max", a.Col("age")),))
DELIVER = a.Deliver(AGES, a.Col("age"), "1", "bureau")
EXITS = {
    # An exit, the clauses of a contract that allows another one, and the line that closes it to this one.
    "match": (a.Match("st_anna.visits", "sex", ("p0001",)), exits.match,
              "(allowed.table, allowed.column) == (plan.table, plan.column)", "True"),
    "deliver": (DELIVER, exits.deliver, "approved.plan == digest and", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", EXITS)
def test_exits_are_open_to_exactly_what_every_provider_signed(quiet_world, name):
    """Another table, column or plan than the clause names is refused; without the check it would be out."""
    asked, module, line, gone = EXITS[name]
    other = Exits(
        (Receiver("bureau", b64(X25519PrivateKey.generate().public_key().public_bytes_raw())),),
        (MatchTerms("st_anna.visits", "patient", 10, 10),),
        (DeliverTerms("sha256:" + "7" * 64, "bureau", 1),),
    )
    state, transport = quiet_world.state(quiet_world.sign(quiet_world.contract(exits=other)))
    document = msgspec.to_builtins(asked)
    with pytest.raises(CloisterError) as caught:
        exits.leave(state, context(quiet_world), document)
    assert caught.value.code == f"exit.{name}"
    assert not transport.posts
    with mutated(module, line, gone):
        assert exits.leave(state, context(quiet_world), document).result


def test_exits_screened_is_closed_by_one_line(quiet_world):
    state, _ = quiet_world.state(quiet_world.sign(quiet_world.contract(regime="screened")))
    asked, check = numbered(43), 'if contract.regime == "screened":'
    with pytest.raises(ContractError):
        prepare(asked, context(quiet_world), state.terms)
    with mutated(authorise, check, "if False:"):
        assert prepare(asked, context(quiet_world), state.terms).release


def test_exits_are_no_plans(quiet_world):
    """What prices, draws and shapes noisy releases takes no exit, and a receipt of an exit holds no value."""
    for asked, *_ in EXITS.values():
        with pytest.raises(CloisterError):
            codec.decode(msgspec.to_builtins(asked))
        with pytest.raises(CloisterError):
            release.release(quiet_world.state()[0], context(quiet_world), msgspec.to_builtins(asked))


def _imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def _holds(directory: object, text: str) -> bool:
    import base64

    for path in Path(str(directory)).rglob("*.json"):
        content = path.read_bytes()
        payload = msgspec.json.decode(content).get("payload", "")
        if text.encode() in content or text.encode() in base64.b64decode(payload):
            return True
    return False


def _forked(draw) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, repr(draw()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode()
