"""The four operations of a vault that holds data."""

from __future__ import annotations

from collections.abc import Mapping

from cloister.plan import codec
from cloister.plan.link import Context, Request
from cloister.vault import describe, describe_exits
from cloister.vault.exits import allow, leave
from cloister.vault.question import plan_of, prepare
from cloister.vault.release import release
from cloister.vault.service import Answered, Operation
from cloister.vault.state import VaultState


class ConfidentialVault:
    """Answers about, and from, the tables under contract."""

    def __init__(self, state: VaultState) -> None:
        self._state = state

    def operations(self) -> Mapping[str, Operation]:
        """Return the four operations by name."""
        return {"describe": self._describe, "budget": self._budget, "price": self._price, "release": self._release}

    def _describe(self, context: Context, _request: Request) -> Answered:
        return Answered(describe.describe(self._state.terms, context))

    def _budget(self, context: Context, _request: Request) -> Answered:
        return Answered(describe.budget(self._state.terms, context, self._state.brokers))

    def _price(self, context: Context, request: Request) -> Answered:
        document, terms = plan_of(request), self._state.terms
        with self._state.refusals.watching("price", context, document):
            if codec.is_exit(document):
                plan = codec.decode_exit(document)
                return Answered(describe_exits.cost(plan, allow(plan, context, terms), terms))
            return Answered(describe.cost(prepare(document, context, terms)))

    def _release(self, context: Context, request: Request) -> Answered:
        document = plan_of(request)
        with self._state.refusals.watching("release", context, document):
            if codec.is_exit(document):
                left = leave(self._state, context, document)
                told = describe_exits.left(left, self._state.terms)
                return Answered(told, (left.answer.envelope,), tuple(left.answer.admissions))
            found = release(self._state, context, document)
            return Answered(describe.answer(found, self._state.terms), (found.envelope,), found.admissions)
