"""The exit match at the vault: exact answers, kept limits, hidden targets; and each defence is needed."""

from __future__ import annotations

from typing import Any

import pytest
from match_checks import CHECKS
from match_world import make_world
from mutants import mutated
from vault_world import World

from cloister.errors import CloisterError
from cloister.provider import matches
from cloister.vault import charge, exits, ledger, limits, lookup, match, state, targets


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("match"))


@pytest.mark.parametrize("name", CHECKS)
def test_a_match(world: World, name: str) -> None:
    CHECKS[name](world)


MUTANTS = [
    (lookup, 'return "TRUE"', 'return "FALSE"', "answers"),
    (lookup, "grid.domain.index(terms.value)", "0", "answers"),
    (lookup, "WHERE unit = ?::UHUGEINT AND {holds}", "WHERE unit = ?::UHUGEINT", "answers"),
    (lookup, "WHERE {holds}) USING", "WHERE TRUE) USING", "answers"),
    (matches, "    _write(db, asked, before, after)\n", "    pass\n", "per_contract"),
    (match, "(allowed.table, allowed.column) == (plan.table, plan.column)", "allowed.table == plan.table",
     "only_as_declared"),
    (exits, "    check_asker(context, terms)\n", "", "only_as_declared"),
    (match, "._replace(keyed_by=tuple(sorted(terms.tables)))", "", "hidden"),
    (match, "._replace(keyed_by=tuple(sorted(terms.tables)))", "", "deposit_is_sealed_for_all"),
    (match, "asked.tags(derived(secret, _TAGS))", "tuple(unit.hex() for unit in asked.units)", "hidden"),
    (exits, "commitment = naming.commitment(salt, codec.canonical_exit(plan))", "commitment = codec.exit_digest(plan)",
     "hidden"),
    (exits, "known = settle(state, asked, receipt, envelope, source)",
     "known = Answer(receipt, envelope, (), recalled=False)", "charge_first"),
    (targets, "material = salt + text if", "material = salt + key.encode() if", "per_target"),
    (charge, "        check_matched(reply, leaves, terms)\n", "", "kept_by_the_vault"),
    (charge, "        check_match_status(reply, leaves, terms)\n", "", "per_contract"),
    (charge, "    check_alone(question.price.usage, terms)\n", "", "limits_beside"),
    (limits, "counted.targets > clause.per_contract", "False", "kept_by_the_vault"),
    (limits, "counted.most > clause.per_target", "False", "kept_by_the_vault"),
    (ledger, "if told.targets < own.targets or told.most < own.most:", "if False:", "understated"),
    (ledger, "told.targets < total or", "", "understated"),
    (ledger, "or told.most < max(after.values(), default=0)", "", "understated"),
    (exits, "with state.faults.contained(deadline, counts_late=again or allowed.counts_late):", "if True:", "faults"),
    (charge, "if reply.sealed and leaves is msgspec.UNSET:", "if reply.sealed:", "settled_beyond"),
    (exits, '"" if terms.contract.share_releases else analyst', '""', "hidden_from_other_analysts"),
    (exits, '"" if terms.contract.share_releases else analyst', "analyst", "hidden_from_other_analysts"),
    (exits, "        state.sent.note(asked.charge_id, asked.leaves, terms)\n", "", "sent"),
    (limits, "if charge_id in self._charges:", "if False:", "sent"),
    (limits, "self._sent[place] = sent", "pass", "sent"),
    (state, "self._check_secret(name, held[name])", "pass", "keys_of_all_tables"),
    (exits, "executed = kept or way_of", "executed = way_of", "repeated"),
    (exits, "GRACE_S if again else", "", "repeated"),
    (exits, "counts_late=again or allowed", "counts_late=allowed", "repeated"),
    (exits, "not state.executions.begin(asked.charge_id) or", "", "repeated"),
    (exits, " or known is not None)", ")", "repeated"),
    (exits, "max(allowed.price.deadline_ms, AGAIN_MS) if again else allowed", "allowed", "repeated"),
    (exits, "    state.faults.check()\n", "", "faults"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), MUTANTS)
def test_each_defence_is_needed(world: World, module: Any, old: str, new: str, check: str) -> None:
    with (
        mutated(module, old, new),
        pytest.raises((AssertionError, pytest.fail.Exception, CloisterError, IndexError, TypeError)),
    ):
        CHECKS[check](world)
