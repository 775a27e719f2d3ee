"""What every model says of where it comes from: rows, choices, price, receipt, and the algorithm that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cloister.contract import algorithms
from cloister.sandbox import render
from cloister.sandbox.answer import Fact
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.features import Feature, Missing
from cloister.sandbox.rows import Rows
from cloister.wire import canonical


def head(
    name: str,
    rows: Rows,
    features: tuple[Feature, ...],
    fact: Fact,
    *,
    missing: Missing,
    parameters: Mapping[str, object],
    noise: float,
    noisy: str,
) -> dict[str, Any]:
    """Return the fields of ``kinds.Head`` that do not depend on the kind of model.

    Args:
        name: The algorithm, by its name in the registry.
        rows: The rows it was made from.
        features: What it was made from.
        fact: The release it was made from.
        missing: What a missing value meant.
        parameters: The learner's parameters.
        noise: Standard deviation of the noise of every number of ``noisy``.
        noisy: What has that noise, in words.
    """
    about = rows.session.about
    used = [about.cards[table] for table in rows.tables]
    first, *others = (
        k.Paid(paid.population, str(paid.rho), repr(paid.epsilon), rows.session.delta(paid)) for paid in fact.accounts
    )
    return {
        "mode": msgspec.convert(fact.mode, k.Mode),
        "assurance": fact.assurance,
        "algorithm": made(name),
        "features": features,
        "training": k.Training(
            table=", ".join(card.name for card in used),
            title=" and ".join(card.title for card in used),
            rows=render.rows_text(rows),
            unit=rows.card.unit,
            rows_per_unit=rows_per_unit(rows),
            purposes=tuple(about.contract.purposes),
            missing=missing,
            parameters={name: str(value) for name, value in parameters.items()},
        ),
        "privacy": k.Privacy(
            population=first.population,
            rho=first.rho,
            epsilon=first.epsilon,
            delta=first.delta,
            noise=repr(float(noise)),
            noisy=noisy,
            others=tuple(others),
        ),
        "provenance": k.Provenance(
            contract=about.contract_digest,
            plan=fact.plan_digest,
            release=fact.release,
            receipt=canonical.digest(fact.receipt) if fact.receipt else "",
        ),
    }


def made(name: str) -> k.Made:
    """Return an algorithm of the registry as a document names it."""
    found = algorithms.by_name(name)
    return k.Made(found.name, found.version, algorithms.code(found))


def check_allowed(name: str, rows: Rows) -> None:
    """Refuse an algorithm that the contract does not list, before anything is asked.

    The vault refuses the programs of algorithms that are not listed, whoever asks; this is the same refusal for
    algorithms that are computed from aggregates.

    Raises:
        ContractError: ``contract.algorithm``.
    """
    listed = rows.session.about.contract.listed
    if listed is not None and (found := algorithms.by_name(name)).label not in listed:
        raise algorithms.not_listed(found.label, listed)


def rows_per_unit(rows: Rows) -> int:
    """Return how many rows of one unit there can be: what the cards declare, or a smaller cap."""
    return rows.schema.rows
