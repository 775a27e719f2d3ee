"""The attack catalogue: for each known attack what stops it, and the tests that carry it out.

``python tests/proof/attack_catalogue.py`` writes ``docs/attacks.md``; ``test_attack_catalogue.py`` holds the two
together and checks that every test named here exists.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "attacks.md"


class Attack(NamedTuple):
    """An attack, the defence, the tests (``path::name`` below ``tests/``), or why there is none."""

    number: int
    attack: str
    defence: str
    tests: tuple[str, ...] = ()
    reason: str = ""


ATTACKS = (
    Attack(1, "Low bits of floating-point noise (Mironov 2012)",
           "Noise is a discrete Gaussian on integers; no floating-point number exists after loading.",
           ("vault/test_noise.py::test_noise_is_integer_centred_and_independent_of_the_value",
            "vault/test_noise.py::test_the_engine_noise_follows_the_pmf",
            "proof/test_gate_invariants.py::test_g1_only_integers_pass_the_one_noise_function")),
    Attack(2, "Precision of released floats (Haney et al. 2022)",
           "Raw values are integers; shaping divides by public steps afterwards.",
           ("proof/test_attacks.py::test_a2_every_raw_value_is_an_integer",)),
    Attack(3, "Sums that overflow and wrap (Casacuberta et al. 2022)",
           "Values are clipped to the card; sums that could leave 64 bits are refused from the card.",
           ("vault/test_load.py::test_unsigned_and_extreme_integers_are_clipped_not_wrapped",
            "vault/test_analyse.py::test_totals_that_could_leave_64_bits_are_refused",
            "plan/test_typing.py::test_ranges_that_leave_64_bits_are_refused_never_saturated")),
    Attack(4, "Rounding and order of floating-point sums",
           "Sums are exact integers; every order is total.",
           ("vault/test_engine.py::test_results_do_not_depend_on_threads_or_order",
            "vault/test_load.py::test_a_large_table_loads_the_same_from_any_order")),
    Attack(5, "Casts, NaN, infinities and nulls that make a count free (OpenDP #2938-#2941)",
           "Every conversion is total and per value; whether a value is null is never known without noise.",
           ("vault/test_load.py::test_nan_and_infinities_are_null_and_undeclared_nulls_drop_the_row",
            "vault/test_fuzz.py::test_no_plan_moves_more_than_its_analysis_claims",
            "proof/test_audit_cases.py::test_2939_nan_that_becomes_null_is_not_counted_for_free")),
    Attack(6, "Functions that are not row-wise: codes, ranks, row ids (OpenDP #2944)",
           "Codes come from the card; which rows are kept depends on a keyed hash of the unit's own rows.",
           ("proof/test_attacks.py::test_a6_what_a_unit_contributes_does_not_depend_on_the_others",
            "proof/test_audit_cases.py::test_2944_bins_are_codes_of_the_plan_not_of_the_data")),
    Attack(7, "A bound that is lost by a later redefinition (OpenDP #2949)",
           "Bounds belong to tokens, digests of what a column holds, not to names.",
           ("plan/test_typing.py::test_relations_track_columns_uses_and_identity",
            "proof/test_audit_cases.py::test_2949_a_redefined_column_loses_its_bound")),
    Attack(8, "Fan-out of joins",
           "Private tables are paired by the unit key only, with norms multiplied; keys of a lookup are unique.",
           ("proof/test_lineage_attacks.py::test_fan_out_is_in_the_norms",
            "proof/test_lineage_attacks.py::test_a_lookup_finds_each_key_once")),
    Attack(9, "Rare group keys",
           "Keys are closed, or found by a threshold whose delta is charged.",
           ("plan/test_typing.py::test_keys_are_closed",
            "vault/test_engine.py::test_cells_that_do_not_occur_are_zero",
            "proof/test_attacks.py::test_a9_a_rare_key_shows_no_more_often_than_delta")),
    Attack(10, "Threshold off by one (OpenDP #2922)",
           "The tail mass at the threshold is computed exactly and is at most the delta charged.",
           ("proof/test_audit_cases.py::test_2922_the_threshold_counts_its_whole_tail",)),
    Attack(11, "Error messages that hold data",
           "After the charge there is one constant fault; before it nothing has seen data.",
           ("vault/test_engine.py::test_faults_are_constant_and_say_nothing",
            "vault/test_engine.py::test_a_failing_load_says_nothing_of_the_data",
            "vault/test_release_faults.py::test_every_failure_looks_the_same_and_comes_at_the_deadline")),
    Attack(12, "Crashing the process with one row (OpenDP #2942)",
           "Values are canonical before any query; a charge survives a crash; faults are counted.",
           ("crash/test_kill_schedules.py::test_kill_at_step",
            "vault/test_release_faults.py::test_three_faults_suspend_the_contract_in_this_vault",
            "proof/test_audit_cases.py::test_2942_no_timestamp_ends_the_process")),
    Attack(13, "Time a query takes (Haeberlen et al. 2011)",
           "Answers leave at a deadline chosen from plan and card.",
           ("vault/test_release.py::test_nothing_comes_before_the_planned_deadline",
            "proof/test_timing.py::test_reply_times_do_not_tell_neighbours_apart")),
    Attack(14, "Time of drawing noise",
           "Noise is drawn before the deadline, never after it.",
           ("proof/test_timing.py::test_noise_is_drawn_before_the_deadline",)),
    Attack(15, "State left behind by an earlier query",
           "Plans hold no functions and write nothing.",
           ("proof/test_attacks.py::test_a15_an_earlier_plan_leaves_nothing_behind",)),
    Attack(16, "A price that depends on data",
           "The price is a pure function of plan, cards and contract.",
           ("proof/test_record_replay.py::test_neighbours_cannot_be_told_apart_by_anything_but_the_noise",
            "proof/test_gate_invariants.py::test_g2_the_price_is_known_without_data")),
    Attack(17, "Races for the last of a budget",
           "One transaction per charge, limits checked in it.",
           ("provider/test_accounts.py::test_threads_near_exhaustion_never_pass_the_limit",
            "provider/test_accounts.py::test_processes_near_exhaustion_never_pass_the_limit",
            "provider/test_account_histories.py::test_no_concurrent_history_passes_a_limit")),
    Attack(18, "Rollback of the ledger, clones of the enclave, replayed requests",
           "Accounts are hash-chained logs at the broker; a newer vault fences the older one.",
           ("vault/test_ledger_replies.py::test_a_broker_restored_from_a_backup_is_found_out",
            "vault/test_ledger_replies.py::test_an_account_that_went_back_stops_the_release",
            "vault/test_release.py::test_a_newer_vault_fences_an_older_one_for_good",
            "proof/test_gate_invariants.py::test_g10_a_forked_vault_draws_other_noise")),
    Attack(19, "Killing the vault between charge and answer",
           "No refund; a charge is executed again until it is settled, and then never.",
           ("crash/test_kill_schedules.py::test_kill_at_step",
            "crash/test_kill_schedules.py::test_two_runs_of_one_charge_show_one_answer")),
    Attack(20, "Averaging repeats",
           "The same question is the same answer; `draw` makes another question, which is charged.",
           ("vault/test_release.py::test_the_same_question_is_free_in_memory_and_across_a_restart",
            "proof/test_attacks.py::test_a20_a_repeat_is_the_same_answer_or_is_charged")),
    Attack(21, "Differencing two sets",
           "Each release is charged to the same account; the loss of both together is what the account says.",
           ("proof/test_attacks.py::test_a21_a_difference_has_the_noise_of_both",)),
    Attack(22, "Linear reconstruction (Dinur and Nissim 2003)",
           "The account ends long before there are enough answers.",
           ("proof/test_attacks.py::test_a22_reconstruction_within_the_budget_is_hardly_better_than_guessing",)),
    Attack(23, "Sticky noise (Diffix, TableBuilder)",
           "No noise is a function of data or of a secret: recalled answers are receipts, not recomputed.",
           ("vault/test_recall.py::test_what_is_settled_is_never_run_again",
            "vault/test_noise.py::test_noise_differs_between_processes_and_after_a_fork")),
    Attack(24, "One unit with many rows, many spellings or no key",
           "Keys are normalised as declared, null keys dropped, rows per unit capped at loading.",
           ("vault/test_load.py::test_unit_keys_are_normalised_as_declared_and_null_keys_dropped",
            "vault/test_load.py::test_storage_equals_a_plain_python_reference")),
    Attack(25, "One person in several tables",
           "The account is the population, not the table; a plan is charged to every account it rests on.",
           ("proof/test_attacks.py::test_a25_two_tables_of_one_population_are_one_account",)),
    Attack(26, "Smuggled parameters: prices, bounds and edges that are no numbers",
           "Numbers are exact rationals in text; what is not positive, finite and short is refused.",
           ("plan/test_codec.py::test_what_can_never_be_released_is_refused_with_advice",
            "vault/test_noise.py::test_a_scale_that_would_not_hide_anything_is_a_fault",
            "vault/test_price.py::test_a_price_that_buys_only_noise_is_refused")),
    Attack(27, "Plans that break the decoder: depth, size, pickles, patterns",
           "A closed JSON tree with caps that are checked before anything recursive runs.",
           ("plan/test_codec.py::test_decoder_fuzz", "plan/test_codec.py::test_what_is_not_a_plan_is_malformed",
            "proof/test_decoder.py::test_no_document_breaks_the_gate_before_the_charge")),
    Attack(28, "SQL that escapes, files and extensions of the engine",
           "Identifiers are generated, literals are bound; the engine is locked and the process confined.",
           ("vault/test_engine.py::test_no_text_of_the_plan_reaches_sql",
            "vault/test_load.py::test_the_engine_reaches_nothing_outside",
            "enclave/test_isolation_vault.py::test_every_way_out_is_closed")),
    Attack(29, "Released objects that read data again",
           "A reply is JSON: numbers, texts and a signed receipt.",
           ("sandbox/test_releases.py::test_arithmetic_gives_plain_numbers",
            "vault/test_service.py::test_the_vault_holds_two_descriptors_and_no_file_of_the_host")),
    Attack(30, "Models that remember rows",
           "Models are post-processing of noisy sums; a canary unit moves them by no more than the charge says.",
           ("proof/test_epsilon.py::test_no_attack_sees_more_than_the_epsilon_charged",
            "proof/test_learner_canaries.py::test_no_attack_on_a_transcript_sees_more_than_was_charged",
            "sandbox/test_refusals.py::test_scikit_learn_is_refused")),
    Attack(31, "Metadata: row counts, sizes, statistics, progress, logs",
           "Parts are padded and without statistics; a reply is the same for neighbours once the noise is fixed.",
           ("provider/test_seal.py::test_sizes_tell_nothing_about_the_data",
            "provider/test_seal.py::test_no_plaintext_no_compression_no_statistics_no_dictionary",
            "vault/test_release.py::test_the_log_of_a_vault_has_neither_values_nor_times",
            "proof/test_record_replay.py::test_neighbours_cannot_be_told_apart_by_anything_but_the_noise")),
    Attack(32, "Refusals that depend on data",
           "Steps 1 to 6 have no data; what fails later is one fault.",
           ("proof/test_gate_invariants.py::test_g4_every_refusal_is_made_without_data",)),
    Attack(33, "Choosing a model on a private score",
           "A score is a release; every one is charged.",
           ("proof/test_attacks.py::test_a33_every_score_is_charged",)),
    Attack(34, "Blocks of sample-and-aggregate that sleep or write",
           "There is no code of the analyst in the vault.",
           reason="Does not apply: plans hold no functions, and there is no sample-and-aggregate."),
    Attack(35, "A neighbour on the same machine that watches the processor",
           "Outside the theorem in the colocated placement: measured and published.",
           ("proof/test_timing.py::test_a_neighbour_on_the_same_machine_is_measured",
            "contract/test_contract_signing.py::test_tier_three_needs_separation_and_genuine_hardware")),
)  # fmt: skip

_HEAD = """# Attacks, and the tests that carry them out

Generated by `python tests/proof/attack_catalogue.py`; a test keeps it current. The guarantee itself, and what is
outside of it, is in [privacy.md](privacy.md).

| | Attack | What stops it | Tests |
|---|---|---|---|
"""


def page() -> str:
    """Return the table as Markdown."""
    lines = []
    for number, attack, defence, tests, reason in ATTACKS:
        named = "<br>".join(
            f"`{test.partition('::')[0]}` {test.partition('::')[2][5:].replace('_', ' ')}" for test in tests
        )
        lines.append(f"| A{number} | {attack} | {defence} | {named or reason} |")
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
