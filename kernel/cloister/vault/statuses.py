"""What a broker's signed ``status`` means for the analyst: which error, which clause, what to do next."""

from __future__ import annotations

from fractions import Fraction

from cloister.contract.exits import MatchTerms
from cloister.contract.terms import Broker, Limits
from cloister.contract.usage import Used
from cloister.errors import BudgetError, CloisterError, ContractError, FaultError, TrustError, UnavailableError
from cloister.receipt.ledger import LedgerReply

_NEW_CONTRACT = "Ask the data provider for a contract with a larger budget."
_MORE = "or ask the data provider for a contract with a larger limit. Repeating an earlier release is free."
_REASONS = {
    "releases": "all {limit:,} releases of the contract are used",
    "rows": "this release scans more rows, by declared size, than the {left:,} left of {limit:,}",
    "compute": "this release is planned to take longer than the {left:,} x 100 ms left of {limit:,}",
    "models": "all {limit:,} models of the contract are used",
}
_NOTHING = {
    "releases": "no release at all",
    "rows": "no row to be scanned",
    "compute": "no computing time",
    "models": "no model",
}
_ADVICE = {
    "releases": "Show what is released already, " + _MORE,
    "rows": "Ask a smaller table, " + _MORE,
    "compute": "Ask fewer measures or fewer groups at once, " + _MORE,
    "models": "Ask aggregates (counts, sums, means) instead, " + _MORE,
}
_COUNTS = tuple(f"limit.{name}" for name in _REASONS)
_CHEAPER = "Ask for less precision (a smaller epsilon= or share=); cl.budget() shows what is left."


def check_status(reply: LedgerReply, broker: Broker) -> None:
    """Return if the reply grants what was asked (``ok`` or ``settled``), else raise what it means.

    It says what this broker did, and no more: of several accounts, those before it are charged by then, and are found
    paid when it is asked again.

    Raises:
        BudgetError: ``budget.exhausted``, ``budget.delta``, ``limit.analyst``, ``limit.releases``, ``limit.rows``,
            ``limit.compute``, ``limit.models``, ``limit.deliver``.
        ContractError: ``contract.unknown``, ``contract.inactive``, ``contract.screened``, ``exit.match``,
            ``exit.deliver``, ``capsule.shredded``, ``approval.unknown``, ``approval.withdrawn``, ``approval.expired``.
        TrustError: ``session.fenced``, ``evidence.rejected``, ``charge.conflict``, or a status nobody defined.
        UnavailableError: ``ledger.unavailable``, ``session.unknown``.
    """
    if reply.status not in {"ok", "settled"}:
        raise _error(reply, broker)


def _error(reply: LedgerReply, broker: Broker) -> CloisterError:
    status = reply.status
    if status in {"budget.exhausted", "budget.delta", "limit.analyst", *_COUNTS}:
        return _budget(reply)
    if status == "limit.deliver":
        return BudgetError(
            status,
            f"every delivery that the clause allows has been made; broker {broker.name} charged nothing",
            clause="exits.deliveries.times",
            next_step="Send the file of the first delivery again: the same analyst gets it at no charge.",
        )
    if status in {"exit.match", "exit.deliver"}:
        return exit_error(status.removeprefix("exit."))
    if status == "contract.screened":
        return screened_error()
    if status in {"approval.unknown", "approval.withdrawn", "approval.expired"}:
        return ContractError(
            status,
            f"broker {broker.name} does not accept an approval that this release rests on, and charged nothing: "
            f"{reply.reason or 'no reason given'}",
            clause="approvers: an approval counts while the broker holds it",
            next_step="Ask the data provider: `cloister broker approve` takes an approval up.",
        )
    if status == "capsule.shredded":
        return ContractError(
            status,
            f"broker {broker.name} releases nothing of this contract any more: {reply.reason or 'no reason given'}",
            clause="tables.manifest",
            next_step="What was released stays valid. Ask the data provider for a contract on a new capsule.",
        )
    if status in {"contract.unknown", "contract.inactive"}:
        return ContractError(
            status,
            f"broker {broker.name} does not serve this contract now: {reply.reason or 'no reason given'}",
            clause="state and validity of the contract",
            next_step="Ask the data provider whether the contract is active.",
        )
    if status == "evidence.rejected":
        return TrustError(
            status,
            f"broker {broker.name} does not accept this enclave: {reply.reason or 'no reason given'}",
            clause="policies",
            next_step="The provider's policy decides; `cloister status` shows what the enclave proved.",
        )
    if status == "session.fenced":
        return TrustError(
            status,
            "a newer vault of this contract has taken over; this one may not release any more",
            clause="One vault per contract: the broker's epoch fences older ones.",
            next_step="Restart the kernel. Releases already paid for are recalled at no charge.",
        )
    if status in {"ledger.unavailable", "session.unknown"}:
        return UnavailableError(
            status,
            f"broker {broker.name} cannot book a release now, and charged nothing",
            next_step="Run the cell again later; a retry is never charged twice.",
        )
    if status == "charge.conflict":
        return TrustError(
            status,
            "the account holds another entry under the name of this release",
            clause="A charge id names one entry for ever.",
            next_step="Tell the data provider: the account and this contract disagree.",
        )
    return FaultError("broker.status", f"broker {broker.name} answered with a status this version does not know")


def _budget(reply: LedgerReply) -> BudgetError:
    if reply.status == "limit.analyst":
        return analyst_error(reply.population, Fraction(reply.analyst_spent), Fraction(reply.analyst_limit))
    if reply.status == "budget.exhausted":
        return budget_error(reply.population, Fraction(reply.spent), Fraction(reply.limit))
    if reply.status == "budget.delta":
        whole, mine = Fraction(reply.deltas.spent), Fraction(reply.deltas.analyst_spent)
        limits = Fraction(reply.deltas.limit), Fraction(reply.deltas.analyst_limit)
        spent, limit = min(zip((whole, mine), limits, strict=True), key=lambda pair: pair[1] - pair[0])
        return delta_error(reply.population, spent, limit)
    return limit_error(reply.status.removeprefix("limit."), reply.limits, reply.used)


def screened_error() -> ContractError:
    """Return the one refusal of every plan under the screened regime."""
    return ContractError(
        "contract.screened",
        "the contract's regime is screened, and no plan is released under it",
        clause="regime: screened, which the formal guarantee excludes",
        next_step="Ask the data provider for a contract of the regime dp.",
    )


def exit_error(name: str) -> ContractError:
    """Return the refusal of an exit that no clause of the contract allows."""
    return ContractError(
        f"exit.{name}",
        f"no clause of the contract allows this {name}",
        clause=f"exits: what leaves by {name} carries no noise, so exactly it must be in the contract",
        next_step="Ask the data providers for a contract with a clause for it; cl.contract() shows those there are.",
    )


def limit_error(name: str, limits: Limits, used: Used) -> BudgetError:
    """Return the refusal of a release that is beyond one of the contract's counts."""
    limit, spent = getattr(limits, name), getattr(used, name)
    reason = _REASONS[name].format(left=max(0, limit - spent), limit=limit)
    if limit == 0:
        reason = f"the contract allows {_NOTHING[name]}"
    return BudgetError(f"limit.{name}", reason, clause=f"limits.{name}", next_step=_ADVICE[name])


def match_error(status: str, terms: MatchTerms) -> BudgetError:
    """Return the refusal of a match that is beyond a count of its clause."""
    clause, where = f"exits.matches of {terms.column} in {terms.table}", "nothing was charged"
    if status == "limit.match":
        return BudgetError(
            status,
            f"these units are more than are left of the {terms.per_contract:,} that may be asked about; {where}",
            clause=f"{clause}: per_contract {terms.per_contract:,}",
            next_step="Ask about fewer units. Repeating an earlier match is free.",
        )
    return BudgetError(
        status,
        f"a unit asked about was asked about {terms.per_target:,} times already, perhaps by others; {where}",
        clause=f"{clause}: per_target {terms.per_target:,}",
        next_step="Which unit it is, is not said. Ask in smaller parts; repeating an earlier match is free.",
    )


def sent_error(most: int, terms: MatchTerms) -> BudgetError:
    """Return the refusal of a match when more were sent, booked or not, than the vault sends."""
    return BudgetError(
        "limit.match",
        f"this vault names at most {most:,} units to a broker, refused requests included; nothing was charged",
        clause=f"exits.matches of {terms.column} in {terms.table}: per_contract {terms.per_contract:,}",
        next_step="Ask about fewer units, or ask the data provider for a larger per_contract. "
        "Repeating an earlier match is free.",
    )


def analyst_error(population: str, spent: Fraction, limit: Fraction) -> BudgetError:
    """Return the refusal of a release that is beyond the analyst's part of a population's budget."""
    return BudgetError(
        "limit.analyst",
        f"this release costs more than the {_rho(limit - spent)} left of your part of population {population}",
        clause=f"analyst_limits: {_rho(limit)}",
        next_step=_CHEAPER,
    )


def budget_error(population: str, spent: Fraction, limit: Fraction) -> BudgetError:
    """Return the refusal of a release that is beyond a population's budget."""
    return BudgetError(
        "budget.exhausted",
        f"this release costs more than the {_rho(limit - spent)} left of the budget of population {population}",
        clause=f"budgets: {_rho(limit)}",
        next_step=_CHEAPER if limit > spent else _NEW_CONTRACT,
    )


def delta_error(population: str, spent: Fraction, limit: Fraction) -> BudgetError:
    """Return the refusal of a release of threshold keys that spends more delta than is left for keys."""
    left = f"{float(max(limit - spent, Fraction(0))):.3g}"
    reason = f"this release spends more delta than the {left} left for keys of population {population}"
    if not limit:
        reason = f"the contract grants no delta for keys of population {population}"
    return BudgetError(
        "budget.delta",
        reason,
        clause=f"budgets.delta_keys: {float(limit):.3g}",
        next_step="Group by a column with a declared domain (it spends no delta), or ask for a smaller delta.",
    )


def _rho(value: Fraction) -> str:
    return f"{float(max(value, Fraction(0))):.3g} rho"
