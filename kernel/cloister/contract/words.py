"""A contract in plain words: what every party can read before signing, and what ``cl.contract()`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import msgspec

from cloister.contract import algorithms, words_clauses
from cloister.contract.findings import exact
from cloister.contract.terms import Contract

_OPERATIONS = {"aggregate": "aggregates (counts, sums, means, rates)", "model": "models"}
_PLACEMENTS = {
    "split": "Notebook code runs in another machine than the data.",
    "colocated": "Notebook code runs on the same machine as the data, in another process; "
    "timing and cache channels between them are not stopped.",
}
_TENANCIES = {
    "exclusive": "The enclave serves this contract only.",
    "shared": "The enclave may serve other contracts too.",
}


def in_words(contract: Contract) -> str:
    """Return the contract as short plain sentences, one a line, in the order a reader asks."""
    return "\n".join(_lines(contract))


def difference(before: Contract, after: Contract) -> tuple[str, ...]:
    """Return what changed between two contracts, one clause a line (``clause: old -> new``)."""
    return tuple(_differences("", msgspec.to_builtins(before), msgspec.to_builtins(after)))


def changes(before: str, after: str) -> tuple[str, ...]:
    """Return which sentences of a contract's words are gone (``- ``) and which are new (``+ ``), in their order."""
    old, new = before.splitlines(), after.splitlines()
    gone, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    return (
        *(f"- {line.strip()}" for line in dict.fromkeys(old) if gone[line]),
        *(f"+ {line.strip()}" for line in dict.fromkeys(new) if added[line]),
    )


def _lines(contract: Contract) -> Iterator[str]:
    providers = [party.name for party in contract.parties if party.role == "provider"]
    analysts = [party.name for party in contract.parties if party.role == "analyst"]
    yield f"{contract.title} ({contract.name})"
    yield f"{_and(providers)} {'lets' if len(providers) == 1 else 'let'} {_and(analysts)} use these tables:"
    for table in contract.tables:
        yield f"  - {table.name}, from {table.provider}; account kept by {table.broker}"
    yield f"For: {_and(contract.purposes)}. Nothing else."
    allowed = _and([_OPERATIONS[operation] for operation in contract.operations])
    yield f"Allowed: {allowed}. Rows never leave the enclave."
    yield from _algorithms(contract)
    yield from _from_aggregates(contract)
    if contract.regime == "screened":
        yield "Regime SCREENED: the formal guarantee excludes what is released under this contract."
    yield from _exits(contract)
    for budget in contract.budgets:
        yield (
            f"Privacy of {budget.population}: all releases together stay within epsilon {budget.epsilon} "
            f"at delta {budget.delta}; unless said otherwise a release costs {percent(budget.default_share)}."
        )
        if exact(budget.delta_keys):
            yield f"Of that delta, {budget.delta_keys} pays for keys that are released because many units have them."
    for limit in contract.analyst_limits:
        yield f"{limit.analyst} may spend {percent(limit.share)} of the budget of {limit.population}."
    yield from _limits(contract)
    if contract.share_releases:
        yield "What one analyst has released, the others of this contract get without paying again."
    yield from words_clauses.lines(contract)
    yield f"{_PLACEMENTS[contract.placement]} {_TENANCIES[contract.tenancy]}"
    if contract.accept_simulated:
        yield "A SIMULATED enclave is accepted, for demonstration data: it hides nothing from the owner of its machine."
    yield f"Valid from {contract.not_before} until {contract.not_after}. A provider can stop it at any time."


def _algorithms(contract: Contract) -> Iterator[str]:
    listed = contract.listed
    if listed is None:
        return
    makes = {found.label: found.makes for found in algorithms.REGISTRY}
    yield "Algorithms, and no others:"
    for label in listed:
        yield f"  - {label}: {makes.get(label, 'not known to this version')}"
    beside = [found.label for found in algorithms.beside(listed)]
    if beside:
        yield f"  What {_and(beside)} would compute from the same releases can be computed too."
    asked = algorithms.programs(listed)
    from_gram = [found.label for found in algorithms.REGISTRY if found.program == "gram"]
    if "logistic" in asked and "gram" not in asked:
        yield (
            "  A logistic regression begins with a noisy Gram, on which nearly all of its price may be spent: what "
            f"{_and(from_gram)} would compute can be computed from it as well."
        )


def _from_aggregates(contract: Contract) -> Iterator[str]:
    """Say which models aggregates are enough for, where the contract allows some models only or none."""
    listed = contract.listed
    if "aggregate" not in contract.operations or (listed is None and "model" in contract.operations):
        return
    # A covariance, or sums of products, make a Gram; no list of algorithms forbids them.
    enough = [
        found.label
        for found in algorithms.REGISTRY
        if found.program in {"counts", "moments", "gram"} and found.label not in (listed or ())
    ]
    if enough:
        yield f"What {_and(enough)} would compute can be computed from aggregates (counts, sums, products) as well."


def _exits(contract: Contract) -> Iterator[str]:
    outside = contract.outside
    if excluded := outside.excluded():
        yield f"EXITS: the formal guarantee excludes {_and(excluded)}. They carry no noise:"
    for match in outside.matches:
        held = f" is {match.value!r}" if match.value else ""
        yield (
            f"  - Match: yes or no, whether {match.column}{held} in {match.table}, of units whose keys the asker has; "
            f"at most {_count(match.per_contract, 'unit')} in all, each at most {_times(match.per_target)}."
        )
    if outside.matches:
        yield f"  - {_who_can_guess(contract)}"
    for delivery in outside.deliveries:
        yield (
            f"  - Deliver: one rounded score per unit, sealed to {delivery.receiver}, at most "
            f"{_times(delivery.times)}; only the plan {delivery.plan}, which every signer approves by signing."
        )
    for receiver in outside.receivers:
        yield f"  - {receiver.name} opens deliveries with the private key to {receiver.key}."


def _who_can_guess(contract: Contract) -> str:
    """Return from whom the units asked about are hidden: the names they are booked by take the keys of all tables."""
    alone = who_holds_all_keys(contract)
    if not alone:
        return (
            "No single provider can tell which units were asked about. All of them together could test guesses, and so "
            "could one provider, broker or host together with one analyst: the vault names the units he asks about."
        )
    held = "holds" if len(alone) == 1 else "each hold"
    return f"{_and(alone)} {held} the keys of all tables and so can TEST GUESSES about which units were asked about."


def who_holds_all_keys(contract: Contract) -> list[str]:
    """Return the provider or broker that alone holds the keys of all tables; nobody if there are several of each."""
    providers, brokers = {table.provider for table in contract.tables}, {table.broker for table in contract.tables}
    return sorted({name for names in (providers, brokers) if len(names) == 1 for name in names})


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _limits(contract: Contract) -> Iterator[str]:
    limits = contract.limits
    counted = "" if len(contract.brokers) == 1 else "; each broker counts those that concern its accounts"
    yield f"At most {_count(limits.releases, 'release')}{counted}. Repeating a release is free."
    yield (
        f"All releases together scan at most {_count(limits.rows, 'row')} (by declared size), "
        f"take {_time(limits.compute)} of planned computing and make {_count(limits.models, 'model')}."
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}" if number else f"no {thing}"


def _time(compute: int) -> str:
    return " ".join(short_time(compute))


def short_time(compute: int) -> tuple[str, str]:
    """Return units of 100 ms as people say them: a number, and hours, minutes or seconds."""
    seconds = compute / 10
    for size, word in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return _short(seconds / size), word
    return _short(seconds), "seconds"


def _short(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _differences(path: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _differences(f"{path}.{key}" if path else str(key), before.get(key), after.get(key))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        for index in range(max(len(before), len(after))):
            pair = [items[index] if index < len(items) else None for items in (before, after)]
            yield from _differences(f"{path}[{index}]", *pair)
    elif before != after:
        yield f"{path}: {_shown(before)} -> {_shown(after)}"


def _shown(value: object) -> str:
    if isinstance(value, tuple | list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return "(none)" if value is None else str(value)


def percent(share: str) -> str:
    """Return a fraction as a percentage."""
    value = exact(share)
    if value is None:
        return share
    hundredths = value * 100
    return f"{hundredths.numerator} %" if hundredths.denominator == 1 else f"{_decimal(hundredths)} %"


def _decimal(value: Fraction) -> str:
    return f"{float(value):.4g}"


def _and(names: list[str] | tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names)) or "(nobody)"
