"""Recipes of several tables together: a person has one pseudonym in all tables of a population, or none.

Budgets count persons by their keys. If one person were called differently in two tables of a population, what the
guarantee says of one person would be said of two halves, and an alignment would find nobody.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from cloister.contract.card import Card
from cloister.errors import RefusedError
from cloister.provider.deidentify.recipe import Pseudonymise
from cloister.provider.deidentify.run import Recipe, check


def check_all(cards: Sequence[Card], recipes: Mapping[str, Recipe]) -> None:
    """Check recipes against their cards, and against each other, before anything is read.

    Raises:
        RefusedError: ``recipe.*``; ``recipe.together``: tables of one population with different pseudonyms.
    """
    for card in cards:
        if card.name in recipes:
            check(card, recipes[card.name])
    for one, other in itertools.combinations([card for card in cards if card.unit != "none"], 2):
        if one.population == other.population and len(one.key) == len(other.key):
            _same(one, other, recipes)


def _same(one: Card, other: Card, recipes: Mapping[str, Recipe]) -> None:
    if _pseudonyms(one, recipes.get(one.name)) != _pseudonyms(other, recipes.get(other.name)):
        raise RefusedError(
            "recipe.together",
            f"{one.name} and {other.name} are of one population ({one.population}) and would call units differently",
            clause="step",
            next_step="pseudonymise both keys with one domain, secret and normaliser (or neither); if they are about "
            "different units, let the cards name different populations",
        )


def _pseudonyms(card: Card, recipe: Recipe | None) -> list[list[tuple[str, str, str]]]:
    """What happens to each part of the key: the pseudonyms' domain, secret and normaliser, step by step."""
    steps = recipe.recipe.step if recipe is not None else ()
    secret = recipe.secret.id if recipe is not None and recipe.secret is not None else ""
    return [
        [
            (step.domain, secret, card.normaliser)
            for step in steps
            if isinstance(step, Pseudonymise) and name in step.columns
        ]
        for name in card.key
    ]
