"""Every refusal has a code, a reason and a next step, costs nothing, and depends on no data (G4)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from vault_world import World, context, numbered, plan, visits_card

from cloister.contract.terms import AnalystLimit, Budget, Limits
from cloister.errors import BudgetError, CloisterError, ContractError, MalformedError
from cloister.plan import algebra as a
from cloister.plan import codec, precision
from cloister.plan.link import Request
from cloister.vault.authorise import authorise
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.release import release
from cloister.wire.identity import SigningKey

AGE_OVER_10 = a.Compare("ge", a.Col("age"), a.Number("10"))
GENOME = a.Col("genome")


def refused(world: World, document: dict[str, Any], state: Any = None, **changes: Any) -> CloisterError:
    """Return the refusal of a plan, after checking that it is one, and free."""
    state = state or world.state()[0]
    before = [broker.tip(p).size for broker, p in _accounts(world)]
    with pytest.raises(CloisterError) as caught:
        release(state, context(world, **changes), document)
    assert [broker.tip(p).size for broker, p in _accounts(world)] == before
    assert caught.value.reason
    assert caught.value.next_step, caught.value.code
    return caught.value


def _accounts(world: World) -> list[tuple[Any, str]]:
    return [(world.anna_broker, world.card.population), (world.bank_broker, world.bank_card.population)]


def bad(**changes: Any) -> dict[str, Any]:
    """Return a plan with some fields replaced."""
    return {**plan(rho="1/1000"), **changes}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "plan.malformed"),
        ({"op": "select"}, "plan.malformed"),
        (bad(sql="SELECT 1"), "plan.malformed"),
        (bad(source={"op": "table", "name": 7}), "plan.malformed"),
        (bad(rho=0.5), "plan.limits"),
        (bad(rho="0"), "plan.rho"),
        (bad(rho="-1"), "plan.rho"),
        (bad(rho="1/0"), None),
        (bad(measures=[]), "plan.size"),
        (bad(keys=["sex"] * 9), "plan.size"),
        ({"op": "vector_sum", "source": {"op": "filter"}}, "plan.malformed"),
        (plan(table="st_anna.patients"), "plan.table"),
        (plan(a.Sum("s", a.Col("height"))), "plan.column"),
        (plan(keys=("height",)), "plan.column"),
        (plan(a.Sum("s", a.Col("patient"))), "plan.bounds"),
        (plan(keys=("patient",)), None),
        (plan(where=a.Compare("eq", a.Col("patient"), a.Text("p0001"))), "plan.opaque"),
        (plan(rho="1/1000000000000000000000000000000000000000"), "plan.rho"),
    ],
)
def test_a_plan_that_cannot_be_released(quiet_world: World, document: dict[str, Any], code: str | None) -> None:
    error = refused(quiet_world, document)
    assert error.code.startswith("plan.")
    assert code is None or error.code == code


def test_an_unknown_table_names_the_tables_there_are(quiet_world: World) -> None:
    assert refused(quiet_world, plan(table="st_anna.visit")).nearest == ("bank.customers", "st_anna.visits")


@pytest.mark.parametrize(
    "document",
    [
        plan(a.Sum("g", GENOME)),
        plan(a.Mean("g", GENOME)),
        plan(a.Count("g", a.Compare("ge", GENOME, a.Number("1")))),
        plan(where=a.Compare("ge", GENOME, a.Number("1"))),
        plan(where=a.And((AGE_OVER_10, a.Not(a.IsIn(GENOME, (a.Number("1"),)))))),
        plan(keys=("genome",)),
        plan(a.Gram("g", (a.Col("age"), GENOME))),
        codec.encode(
            a.VectorSum(
                a.Derive(a.Table("st_anna.visits"), (("x", a.Scale(GENOME, "2")),)), (a.Sum("s", a.Col("x")),), "1/100"
            )
        ),
        codec.encode(
            a.VectorSum(a.Derive(a.Table("st_anna.visits"), (("x", GENOME),)), (a.Count("n"),), "1/100", ("x",))
        ),
        codec.encode(a.VectorSum(a.Cap(a.Table("st_anna.visits"), 1, ("genome",)), (a.Count("n"),), "1/100")),
    ],
)  # fmt: skip
def test_a_tier_four_column_is_used_nowhere(quiet_world: World, document: dict[str, Any]) -> None:
    error = refused(quiet_world, document)
    assert (error.code, error.kind) == ("contract.tier", "contract")


def test_selecting_the_harmless_columns_of_a_sensitive_table_is_fine(quiet_world: World) -> None:
    source = a.Select(a.Table("st_anna.visits"), ("age", "genome"))
    asked = codec.encode(a.VectorSum(source, (a.Sum("s", a.Col("age")),), "1/1000"))
    assert not release(quiet_world.state()[0], context(quiet_world), asked).recalled


def test_only_named_analysts_for_named_purposes_and_operations(quiet_world: World) -> None:
    assert refused(quiet_world, numbered(1), analyst=SigningKey.generate().did).code == "contract.analyst"
    assert refused(quiet_world, numbered(1), analyst=quiet_world.anna.did).code == "contract.analyst"
    error = refused(quiet_world, numbered(1), purpose="marketing")
    assert (error.code, error.nearest) == ("contract.purpose", ("teaching",))
    document = quiet_world.sign(quiet_world.contract(operations=("aggregate",)))
    gram = plan(a.Gram("g", (a.Col("age"), a.Col("cost"))), rho="1/10")
    assert refused(quiet_world, gram, quiet_world.state(document)[0]).code == "contract.operation"
    assert not release(quiet_world.state()[0], context(quiet_world), gram).recalled


def test_a_contract_that_lists_algorithms_lets_no_others_run(quiet_world: World) -> None:
    """Whatever a cell names it: the vault knows a program by what it asks of the rows. Aggregates are not concerned."""
    gram = plan(a.Gram("g", (a.Col("age"), a.Col("cost"))), rho="1/10")
    counts = quiet_world.state(quiet_world.sign(quiet_world.contract(algorithms=("CategoricalNB@1",))))[0]
    error = refused(quiet_world, gram, counts)
    assert (error.code, error.clause, error.nearest) == ("contract.algorithm", "algorithms", ("CategoricalNB@1",))
    assert "a Gram matrix" in error.reason
    with pytest.raises(ContractError) as priced:
        ConfidentialVault(counts).operations()["price"](context(quiet_world), Request(1, "price", gram))
    assert priced.value.to_dict() == error.to_dict()
    assert not release(counts, context(quiet_world), numbered(1)).recalled
    listed = quiet_world.state(quiet_world.sign(quiet_world.contract(algorithms=("PCA@1",))))[0]
    assert not release(listed, context(quiet_world), gram).recalled


@pytest.mark.parametrize(
    ("learner", "target", "words"),
    [
        (a.Logistic(), a.Compare("ge", a.Col("age"), a.Number("10")), "logistic"),
        (a.Additive(), a.Compare("ge", a.Col("age"), a.Number("10")), "additive"),
        (a.KMeans(2), None, "clusters"),
    ],
)
def test_a_fit_is_a_program_of_its_own(quiet_world: World, learner: a.Learner, target: Any, words: str) -> None:
    state = quiet_world.state(quiet_world.sign(quiet_world.contract(algorithms=("PCA@1",))))[0]
    fit = a.Fit(a.Table("st_anna.visits"), (a.Col("cost"),), target, learner, "1/10")
    with pytest.raises(ContractError, match=words) as caught:
        authorise(fit, context(quiet_world), state.terms)
    assert caught.value.code == "contract.algorithm"
    only_aggregates = quiet_world.state(quiet_world.sign(quiet_world.contract(operations=("aggregate",))))[0]
    with pytest.raises(ContractError, match=r"contract\.operation"):
        authorise(fit, context(quiet_world), only_aggregates.terms)


def test_the_price_of_a_refused_plan_is_the_same_refusal(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    operations = ConfidentialVault(state).operations()
    for document in (plan(a.Sum("g", GENOME)), plan(table="nope"), bad(rho="0")):
        error = refused(quiet_world, document, state)
        with pytest.raises(CloisterError) as priced:
            operations["price"](context(quiet_world), Request(1, "price", document))
        assert priced.value.to_dict() == error.to_dict()
    transport.posts.clear()
    operations["price"](context(quiet_world), Request(1, "price", numbered(1)))
    assert transport.posts == [], "a price is a function of plan and card: nobody is asked"


# Limits ----------------------------------------------------------------------------------------------


def budget(world: World, left: Fraction) -> Budget:
    """Return a budget of which ``left`` rho is left."""
    spent = world.anna_broker.tip(world.card.population).spent
    delta = Fraction(1, 10**6)
    epsilon = precision.epsilon_of_rho(spent + left, delta)
    return Budget(world.card.population, "anna-broker", str(epsilon), str(delta), "0.02")


def test_an_exhausted_budget_says_what_is_left_and_under_which_clause(own_world: World) -> None:
    others = own_world.contract().budgets[1]
    document = own_world.sign(own_world.contract(budgets=(budget(own_world, Fraction(1, 100)), others)))
    state, _ = own_world.state(document)
    release(state, context(own_world), numbered(1, rho="1/200"))
    error = refused(own_world, numbered(2, rho="1/100"), state)
    assert isinstance(error, BudgetError)
    assert (error.code, error.clause) == ("budget.exhausted", "budgets: 0.01 rho")
    assert "0.005 rho" in error.reason
    release(state, context(own_world), numbered(3, rho="1/250"))
    assert refused(own_world, numbered(4, rho="1/250"), state).code == "budget.exhausted"
    assert release(state, context(own_world), numbered(1, rho="1/200")).recalled, "what was paid for stays free"
    limit = precision.rho_of_epsilon(Fraction(budget(own_world, Fraction(0)).epsilon), Fraction(1, 10**6))
    assert own_world.anna_broker.tip(own_world.card.population).spent <= limit + Fraction(1, 100)


def test_an_analyst_stays_within_the_agreed_part(own_world: World) -> None:
    limits = (AnalystLimit("bob", own_world.card.population, "1/1000"),)
    state, _ = own_world.state(own_world.sign(own_world.contract(analyst_limits=limits)))
    error = refused(own_world, numbered(1, rho="1/100"), state, analyst=own_world.other_analyst.did)
    assert (error.code, error.kind) == ("limit.analyst", "budget")
    assert not release(state, context(own_world), numbered(1, rho="1/100")).recalled, "the other analyst is not touched"


def test_the_number_of_releases_is_limited(own_world: World) -> None:
    state, _ = own_world.state(
        own_world.sign(own_world.contract(limits=Limits(releases=2, rows=10**9, compute=10**6, models=100)))
    )
    for number in (1, 2):
        release(state, context(own_world), numbered(number))
    error = refused(own_world, numbered(3), state)
    assert (error.code, error.clause) == ("limit.releases", "limits.releases")
    assert release(state, context(own_world), numbered(2)).recalled


# The contract ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"not_after": "2021-01-01T00:00:00Z"}, {"contract.inactive", "contract.expired"}),
        ({"not_before": "2098-01-01T00:00:00Z"}, {"contract.inactive", "contract.not-yet-valid"}),
    ],
)
def test_a_contract_outside_its_validity(own_world: World, changes: dict[str, str], codes: set[str]) -> None:
    document = own_world.sign(own_world.contract(**changes), register=False)
    for home in (own_world.anna_home, own_world.bank_home):
        home.contracts.add(document, now="2020-06-01T00:00:00Z")
    assert refused(own_world, numbered(1), own_world.state(document)[0]).code in codes


def test_a_contract_that_ends_while_the_vault_lives(own_world: World) -> None:
    state, _ = own_world.state()
    release(state, context(own_world), numbered(1))
    ending = msgspec.structs.replace(state.terms.contract, not_after="2021-01-01T00:00:00Z")
    state.terms = msgspec.structs.replace(state.terms, contract=ending)
    assert refused(own_world, numbered(1), state).code == "contract.expired"


def test_a_revoked_contract_releases_nothing_new(own_world: World) -> None:
    from cloister.contract.states import Decision

    document = own_world.sign(own_world.contract())
    state, _ = own_world.state(document)
    release(state, context(own_world), numbered(1))
    own_world.anna_home.contracts.decide(state.terms.digest, Decision("revoked", "2026-01-01T00:00:00Z"))
    error = refused(own_world, numbered(2), state)
    assert (error.code, error.kind) == ("contract.inactive", "contract")


def test_a_contract_the_broker_does_not_know(own_world: World) -> None:
    document = own_world.sign(own_world.contract(), register=False)
    assert refused(own_world, numbered(1), own_world.state(document)[0]).code == "contract.unknown"


def test_unsigned_foreign_and_altered_documents_do_not_open_a_vault(own_world: World) -> None:
    contract = own_world.contract()
    document = own_world.sign(contract)
    from cloister.contract import signing

    partly = signing.sign_contract(contract, own_world.anna, own_world.analyst)
    stranger = signing.sign_contract(contract, *(SigningKey.generate() for _ in range(4)))
    richer = own_world.sign(msgspec.structs.replace(contract, purposes=("teaching", "marketing")), register=False)
    mixed = msgspec.structs.replace(richer, signatures=document.signatures)
    for forged in (partly, stranger, mixed):
        with pytest.raises(ContractError) as caught:
            own_world.state(forged)
        assert caught.value.code == "contract.unsigned"
    with pytest.raises(ContractError) as caught:
        own_world.state(document, cards=[])
    assert caught.value.code == "card.missing"


def test_only_the_pinned_card_of_the_tables_provider_counts(own_world: World) -> None:
    document = own_world.sign(own_world.contract())
    cards = own_world.config(document)["cards"]
    wider = signing_card(visits_card(rows_per_unit=1), own_world.anna)
    with pytest.raises(ContractError) as caught:
        own_world.state(document, cards=[wider, cards[1]])
    assert caught.value.code == "card.missing"
    foreign = {**cards[0], "signatures": signing_card(own_world.card, own_world.bank)["signatures"]}
    with pytest.raises(ContractError) as caught:
        own_world.state(document, cards=[foreign, cards[1]])
    assert caught.value.code == "card.signature"


def signing_card(card: Any, key: SigningKey) -> Any:
    """Return a signed card as JSON builtins."""
    from cloister.contract import signing

    return msgspec.to_builtins(signing.seal_card(card, key))


def test_production_data_stay_closed_in_a_simulated_enclave(tmp_path: Any) -> None:
    world = World(tmp_path, serve=False)
    state, _ = world.state()
    production = msgspec.structs.replace(world.card, grade="production")
    terms = msgspec.structs.replace(state.terms, cards={**state.terms.cards, world.card.name: production})
    decoded = codec.decode(numbered(1))
    with pytest.raises(ContractError) as caught:
        authorise(decoded, context(world), terms)
    assert caught.value.code == "contract.simulated"
    hardware = msgspec.structs.replace(terms, assurance="tdx")
    assert authorise(decoded, context(world), hardware).tables == (world.card.name,)
    strict = msgspec.structs.replace(state.terms.contract, accept_simulated=False)
    with pytest.raises(ContractError):
        authorise(decoded, context(world), msgspec.structs.replace(state.terms, contract=strict))


def test_a_config_that_is_none(own_world: World) -> None:
    from cloister.vault.config import open_config

    for body in (b"", b"{}", b"[]", b'{"contract": 1}', b"\xff", b"[" * 100_000):
        with pytest.raises(MalformedError) as caught:
            open_config(body)
        assert caught.value.code == "vault.config"


def test_a_table_without_a_unit_releases_nothing(quiet_world: World) -> None:
    state, _ = quiet_world.state()
    name = quiet_world.card.name
    card = msgspec.structs.replace(quiet_world.card, unit="none", key=())
    terms = msgspec.structs.replace(state.terms, cards={**state.terms.cards, name: card})
    with pytest.raises(CloisterError) as caught:
        authorise(codec.decode(numbered(1)), context(quiet_world), terms)
    assert caught.value.code == "plan.unit"


# The screened regime ---------------------------------------------------------------------------------


def screened(world: World, regime: str = "screened") -> Any:
    return world.state(world.sign(world.contract(regime=regime)))


def test_under_the_screened_regime_every_plan_gets_one_refusal(quiet_world: World) -> None:
    """Good and bad plans, every analyst, priced or released: one code, and nothing is asked of a broker."""
    state, transport = screened(quiet_world)
    plans = (numbered(1), plan(a.Gram("g", (a.Col("age"),))), plan(a.Count("n", GENOME)), plan(rho="1000"))
    errors = [refused(quiet_world, document, state).to_dict() for document in plans]
    errors.append(refused(quiet_world, numbered(1), state, analyst="did:key:stranger").to_dict())
    for document in plans:
        with pytest.raises(CloisterError) as caught:
            ConfidentialVault(state).operations()["price"](context(quiet_world), Request(1, "price", document))
        errors.append(caught.value.to_dict())
    assert all(error == errors[0] for error in errors)
    assert errors[0]["code"] == "contract.screened"
    assert "/v1/append" not in transport.posts


def test_the_account_says_what_the_guarantee_excludes(quiet_world: World) -> None:
    for regime, said in (("screened", "screened"), ("dp", None)):
        state, _ = screened(quiet_world, regime)
        told = ConfidentialVault(state).operations()["budget"](context(quiet_world), Request(1, "budget")).result
        flags = {limit.get("excludes") for limit in told["limits"] if limit["name"] == "privacy"}
        assert flags == {said}


def test_a_broker_charges_nothing_under_it_whatever_the_vault_does(quiet_world: World) -> None:
    """A vault that lets a plan through gets no charge, and a receipt of such a contract is not believed."""
    from cloister.receipt import chain
    from cloister.vault import charge as charging
    from cloister.vault.question import prepare

    state, _ = screened(quiet_world)
    size = quiet_world.anna_broker.tip(quiet_world.card.population).size
    lenient = msgspec.structs.replace(state.terms.contract, regime="dp")
    terms = msgspec.structs.replace(state.terms, contract=lenient)
    question = prepare(numbered(1), context(quiet_world), terms)
    with pytest.raises(ContractError) as caught:
        charging.charge(state.brokers, question, quiet_world.analyst.did, terms)
    assert caught.value.code == "contract.screened"
    assert quiet_world.anna_broker.tip(quiet_world.card.population).size == size
    good, _ = screened(quiet_world, "dp")
    answer = release(good, context(quiet_world), numbered(1))
    admissions = {
        chain.admission_digest(item): chain.open_admission(item, good.terms.contract, good.terms.digest)
        for item in answer.admissions
    }
    other = msgspec.structs.replace(good.terms.contract, regime="screened")
    chain.open_receipt(answer.envelope, admissions, good.terms.contract, good.terms.digest)
    with pytest.raises(CloisterError) as caught:
        chain.open_receipt(answer.envelope, admissions, other, good.terms.digest)
    assert caught.value.code == "receipt.regime"
