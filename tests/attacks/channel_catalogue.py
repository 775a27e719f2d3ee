"""Attacks on the attested channel and the broker session: the defence, the file it is in, the tests that try it.

``python tests/attacks/channel_catalogue.py`` writes the table into ``docs/protocol.md``; ``test_channel_catalogue.py``
holds the two together and checks that every file and test named here exists.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "protocol.md"
BEGIN, END = "<!-- attacks: begin -->\n", "<!-- attacks: end -->\n"


class Attack(NamedTuple):
    """An attack, the defence, its files (below ``kernel/cloister/``), and tests (``path::name`` below ``tests/``)."""

    attack: str
    defence: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


ATTACKS = (
    Attack(
        "A relay listens",
        "keys of two ephemeral secrets, sealed frames; no plaintext mode",
        ("attest/sealing.py",),
        (
            "attacks/test_hostile_relay.py::test_a_listener_learns_sizes_and_times_and_nothing_else",
            "attest/test_channel.py::test_nothing_is_sealed_before_the_verdict",
        ),
    ),
    Attack(
        "A relay puts its own key into hello or offer",
        "the binding covers both; the evidence reports the binding",
        ("attest/binding.py", "attest/verification.py"),
        (
            "attest/test_channel.py::test_man_in_the_middle_with_his_own_key_is_refused",
            "attacks/test_hostile_relay.py::test_a_touched_handshake_is_refused_before_anything_is_said",
        ),
    ),
    Attack(
        "Diversion to a genuine enclave of another contract",
        "the contract is in hello, binding and evidence; the agent serves its own only",
        ("attest/verification.py", "enclave/agent.py"),
        (
            "attacks/test_hostile_relay.py::test_a_diverted_analyst_meets_an_enclave_without_her_contract",
            "attest/test_channel.py::test_evidence_of_another_contract_is_refused",
        ),
    ),
    Attack(
        "Cuckoo: genuine evidence of other code, or of another machine",
        "the relying party's own policy: approved code, pinned machines. "
        "Without `instance.allow` any machine will do, and the verdict says so",
        ("attest/appraise.py", "attest/policy.py"),
        (
            "attacks/test_hostile_relay.py::test_a_diverted_analyst_meets_other_code_or_another_machine",
            "attacks/test_hostile_relay.py::test_without_a_pinned_machine_any_enclave_of_the_contract_will_do",
            "analyst/test_dial.py::test_what_the_policy_refuses",
        ),
    ),
    Attack(
        "Evidence replayed",
        "a fresh nonce and key in every hello, the hello in the binding",
        ("attest/hello.py", "attest/binding.py"),
        (
            "attest/test_channel.py::test_replayed_offer_is_refused",
            "attest/test_channel.py::test_same_key_and_other_nonce_is_refused",
            "attacks/test_hostile_relay.py::test_nothing_of_an_earlier_connection_counts",
        ),
    ),
    Attack(
        "Hello replayed to the enclave",
        "a new key for each answer; who replays cannot seal an opening; quotes are limited",
        ("attest/channel.py", "enclave/limiter.py"),
        ("attacks/test_hostile_relay.py::test_nothing_of_an_earlier_connection_counts",),
    ),
    Attack(
        "A nonce used twice, or late",
        "an offer is judged once, within 30 s; a broker's hello serves one session within 60 s",
        ("attest/channel.py", "analyst/dial.py", "provider/hellos.py"),
        (
            "attest/test_channel.py::test_nothing_is_sealed_after_a_refusal",
            "provider/test_broker.py::test_a_hello_serves_one_session_only",
            "provider/test_broker.py::test_a_hello_grows_old",
            "vault/test_ledger_replies.py::test_a_replayed_hello_admits_nobody",
        ),
    ),
    Attack(
        "Evidence made for another relying party",
        "the audience is in the hello; who opens is who said hello",
        ("attest/opening.py",),
        (
            "attest/test_channel.py::test_evidence_for_another_audience_is_refused",
            "attest/test_channel.py::test_opener_must_be_the_audience",
        ),
    ),
    Attack(
        "Versions or suites stripped, added, re-ordered; another choice written into the offer",
        "the hello is hashed as sent, the choice with it; both ends refuse what they no longer speak",
        ("attest/hello.py", "attest/verification.py"),
        (
            "attest/test_channel_attacks.py::test_a_touched_list_never_ends_in_a_channel",
            "attest/test_channel_attacks.py::test_another_choice_than_the_enclaves_is_refused",
            "attest/test_channel_attacks.py::test_what_this_side_no_longer_speaks_is_refused_even_if_it_was_offered",
            "attest/test_channel_attacks.py::test_the_best_common_version_is_spoken",
        ),
    ),
    Attack(
        "Role confusion: a broker session's evidence for a channel, or the reverse",
        "the role is in hello and binding; each end answers one role",
        ("attest/offer.py", "attest/verification.py"),
        (
            "attest/test_channel.py::test_reflected_role_is_refused",
            "attest/test_channel.py::test_vault_cannot_get_evidence_for_another_role_or_contract",
            "enclave/test_agent.py::test_unknown_purpose_and_contract",
        ),
    ),
    Attack(
        "Key of low order",
        "a shared secret of zero is refused",
        ("attest/sealing.py",),
        ("attest/test_channel.py::test_low_order_keys_are_refused",),
    ),
    Attack(
        "Data before the analyst's signature",
        "the first frame is the opening or the channel ends",
        ("attest/channel.py",),
        (
            "attest/test_channel.py::test_any_other_first_frame_is_refused",
            "attest/test_channel.py::test_no_cell_precedes_the_opening",
        ),
    ),
    Attack(
        "Opening forged, or by somebody the contract does not name",
        "signature by an admitted did",
        ("attest/opening.py",),
        (
            "attest/test_channel.py::test_wrong_analyst_key_is_refused",
            "attest/test_channel.py::test_analyst_outside_the_contract_is_refused",
        ),
    ),
    Attack(
        "Opening moved to another channel, session, purpose or mode",
        "all four are signed, unambiguously",
        ("attest/opening.py",),
        (
            "attest/test_channel.py::test_opening_of_another_channel_is_refused",
            "attest/test_channel.py::test_signature_covers_session_purpose_and_mode",
            "attest/test_channel.py::test_separators_cannot_be_smuggled",
        ),
    ),
    Attack(
        "Key-compromise impersonation: the analyst's key is stolen",
        "it opens sessions in her name; the enclave's part needs evidence",
        ("attest/verification.py",),
        ("attest/test_channel_attacks.py::test_whoever_holds_the_analysts_key_still_cannot_be_the_enclave",),
    ),
    Attack(
        "Traffic recorded, keys taken later",
        "ephemeral secrets are forgotten; keys are replaced on the way",
        ("attest/channel.py", "attest/sealing.py"),
        (
            "attest/test_channel_attacks.py::test_long_term_keys_open_no_recorded_channel",
            "attest/test_channel_attacks.py::test_a_later_key_opens_nothing_earlier",
        ),
    ),
    Attack(
        "Frames altered or cut short",
        "AEAD over binding and direction; the first bad frame ends the channel",
        ("attest/sealing.py",),
        (
            "attest/test_channel.py::test_flipped_bits_close_the_channel",
            "attest/test_channel.py::test_truncated_and_extended_frames_close_the_channel",
            "attacks/test_hostile_relay.py::test_a_cell_arrives_once_in_order_and_whole_or_ends_the_channel",
        ),
    ),
    Attack(
        "Frames repeated, dropped, re-ordered, injected",
        "the nonce is a counter no message carries",
        ("attest/sealing.py",),
        (
            "attest/test_channel.py::test_reordered_repeated_and_dropped_frames_close_the_channel",
            "attacks/test_hostile_relay.py::test_a_cell_arrives_once_in_order_and_whole_or_ends_the_channel",
            "attacks/test_hostile_relay.py::test_an_output_arrives_once_in_order_and_whole_or_ends_the_channel",
        ),
    ),
    Attack(
        "Frames reflected, or of another channel",
        "a key and additional data for each direction and binding",
        ("attest/sealing.py",),
        (
            "attest/test_channel.py::test_frames_are_not_reflected",
            "attest/test_channel.py::test_frames_of_another_channel_are_refused",
        ),
    ),
    Attack(
        "Frames carried over a change of keys",
        "numbers run on; the old key is overwritten",
        ("attest/sealing.py",),
        (
            "attest/test_channel_attacks.py::test_no_frame_crosses_a_change_of_keys",
            "attest/test_channel.py::test_rekeying_on_one_side_only_breaks_the_channel",
        ),
    ),
    Attack(
        "Sequence numbers used up",
        "the channel ends at 2^64 frames, far below the nonce",
        ("attest/sealing.py",),
        ("attest/test_channel_attacks.py::test_numbers_end_before_they_could_repeat",),
    ),
    Attack(
        "Oversized messages and frames",
        "limits before decryption; 16 KiB and 512 KiB before the peer has proved anything",
        ("attest/sealing.py", "analyst/dial.py", "enclave/agent.py"),
        (
            "attest/test_channel.py::test_oversized_frames_are_refused_before_decryption",
            "analyst/test_dial.py::test_a_flood_instead_of_an_offer_is_cut_off",
            "enclave/test_agent.py::test_strangers_do_no_harm",
        ),
    ),
    Attack(
        "Nonsense, second spellings",
        "strict schemas, one canonical spelling",
        ("attest/hello.py", "wire/frames.py"),
        (
            "attest/test_channel.py::test_malformed_plain_messages",
            "attest/test_channel.py::test_hello_has_one_spelling",
            "attest/test_channel.py::test_sealed_nonsense_closes_the_channel",
        ),
    ),
    Attack(
        "Conversation cut off at its end",
        "goodbyes are sealed; an end without one is `channel.lost`",
        ("attest/channel.py",),
        (
            "attest/test_channel.py::test_goodbye_is_authenticated_and_final",
            "attest/test_channel.py::test_a_cut_transport_is_not_a_goodbye",
            "analyst/test_dial.py::test_tampering_after_the_verdict",
        ),
    ),
    Attack(
        "Frames swallowed, then the connection cut and the session resumed",
        "both ends say what they counted (`session.gap`)",
        ("attest/channel.py", "analyst/dial.py", "enclave/connection.py"),
        (
            "attacks/test_hostile_relay.py::test_a_session_is_resumed_without_a_gap_or_not_at_all",
            "analyst/test_dial.py::test_a_session_resumes_without_a_gap_or_not_at_all",
        ),
    ),
    Attack(
        "Resumed by another did, or with other terms",
        "analyst, mode, purpose and contract must be those of the first opening",
        ("enclave/agent.py",),
        ("enclave/test_agent.py::test_only_the_same_analyst_resumes",),
    ),
    Attack(
        "Re-attestation with evidence of another channel, or of none",
        "`prev_binding` chains it to this channel's last",
        ("attest/renewal.py", "attest/verification.py"),
        (
            "attest/test_channel.py::test_a_renewal_continues_this_channel_for_this_party",
            "attest/test_channel_attacks.py::test_a_renewal_does_not_begin_a_channel",
            "attest/test_channel_attacks.py::test_a_first_attestation_does_not_renew_a_channel",
        ),
    ),
    Attack(
        "Another vault under an open session",
        "nothing of it is passed on before fresh evidence names it",
        ("analyst/renewing.py",),
        (
            "analyst/test_dial.py::test_another_vault_without_fresh_evidence_ends_the_session",
            "analyst/test_dial.py::test_nothing_of_another_vault_is_passed_on_unproven",
            "analyst/test_dial.py::test_a_vault_that_died_before_it_was_proven_is_not_announced",
        ),
    ),
    Attack(
        "Quotes forced by strangers",
        "a share for strangers, one for each analyst who is introduced, another for each session",
        ("attest/introduction.py", "enclave/limiter.py", "enclave/connection.py", "enclave/agent.py"),
        (
            "enclave/test_agent.py::test_forced_quotes_are_limited",
            "enclave/test_strangers.py"
            "::test_the_evidence_of_an_analyst_is_out_of_reach_of_strangers_and_of_other_analysts",
            "enclave/test_strangers.py::test_hardware_that_takes_its_time_keeps_neither_sessions_nor_analysts_waiting",
        ),
    ),
    Attack(
        "Introduction replayed, forged, of another hello, contract or party",
        "signed over a challenge that one connection is greeted with, and the hello; anything else is a stranger's",
        ("attest/introduction.py",),
        (
            "attest/test_introduction.py::test_an_introduction_counts_nowhere_else",
            "attest/test_introduction.py::test_a_signature_made_for_something_else_introduces_nobody",
            "enclave/test_agent.py::test_forced_quotes_are_limited",
        ),
    ),
    Attack(
        "Connections held open, half handshakes, floods of pings, answers nobody reads, lines in the log",
        "so many unproven connections, of which the oldest of the busiest address goes; 64 KiB and 15 s for each; a "
        "rate for the log",
        ("enclave/doors.py", "enclave/connection.py", "enclave/agent.py", "analyst/carrier.py"),
        (
            "enclave/test_strangers.py::test_silent_connections_keep_no_analyst_out",
            "enclave/test_strangers.py::test_an_introduced_analyst_gives_way_to_herself_only",
            "enclave/test_strangers.py::test_before_a_session_nobody_says_much",
            "enclave/test_strangers.py::test_who_reads_nothing_is_not_waited_for",
            "enclave/test_strangers.py::test_strangers_do_not_fill_the_log",
            "analyst/test_dial.py::test_answers_that_the_other_side_does_not_read_are_not_kept",
        ),
    ),
    Attack(
        "Hellos of a broker asked for by strangers: to push one out, or to void one",
        "made from a secret, for a vault and a time; only their use is kept, of vaults that signed; a rate by address",
        ("provider/hellos.py", "provider/rate.py"),
        (
            "provider/test_broker.py::test_a_flood_of_hellos_leaves_nothing_behind_and_pushes_nobody_out",
            "provider/test_broker.py::test_strangers_do_not_void_a_hello_that_waits",
            "provider/test_broker.py::test_only_a_vault_uses_its_hello_up",
            "provider/test_server.py::test_a_flood_of_hellos_pushes_nobody_out",
        ),
    ),
    Attack(
        "Forged refusal with advice",
        "quoted as a stranger's word; the advice shown is Cloister's own",
        ("attest/offer.py",),
        (
            "attest/test_channel_attacks.py::test_a_strangers_refusal_gives_no_advice_in_our_name",
            "analyst/test_dial.py::test_a_forged_refusal_is_not_quoted_as_the_enclaves",
        ),
    ),
    Attack(
        "A page of a browser dials the agent",
        "connections with an origin are refused",
        ("enclave/agent.py",),
        ("enclave/test_agent_hardening.py::test_pages_of_a_browser_get_no_connection",),
    ),
    Attack(
        "A notebook speaks to vault or broker",
        "an agent passes Jupyter's kinds only",
        ("enclave/sessions.py",),
        ("enclave/test_agent.py::test_a_proxy_cannot_speak_to_vault_or_broker",),
    ),
    Attack(
        "Broker session for keys the evidence does not name",
        "the broker compares vault, HPKE key and contract with the evidence",
        ("provider/admission.py",),
        (
            "provider/test_broker.py::test_evidence_must_speak_for_the_keys_of_the_request",
            "vault/test_ledger_replies.py::test_evidence_about_other_keys_is_not_sent_on",
        ),
    ),
    Attack(
        "Forged broker",
        "hellos by audience; replies and admissions by signature, bound to request, vault and binding",
        ("vault/session.py", "vault/ledger.py"),
        (
            "vault/test_ledger_replies.py::test_a_hello_of_somebody_else_is_not_answered",
            "vault/test_ledger_replies.py::test_a_reply_the_broker_did_not_sign_stops_the_release",
            "vault/test_ledger_replies.py::test_an_admission_needs_the_brokers_own_signature",
            "vault/test_ledger_replies.py::test_an_admission_must_be_of_this_vault_session_and_contract",
        ),
    ),
    Attack(
        "Data keys of another session",
        "HPKE under contract, manifest, broker, vault, binding and epoch",
        ("provider/keys.py", "vault/keys.py"),
        (
            "vault/test_ledger_replies.py::test_data_keys_of_another_session_do_not_open",
            "provider/test_broker.py::test_a_sealed_data_key_opens_under_exactly_its_circumstances",
        ),
    ),
    Attack(
        "Cloned or old enclave that goes on",
        "one epoch per contract; an older one is fenced for good",
        ("provider/accounts.py", "vault/brokers.py"),
        (
            "provider/test_broker.py::test_a_new_session_fences_the_old_vault",
            "vault/test_release.py::test_a_newer_vault_fences_an_older_one_for_good",
        ),
    ),
    Attack(
        "Requests to brokers lost, repeated, re-ordered; broker ends in mid-append",
        "one answer for ever per charge id; one transaction",
        ("provider/accounts.py", "vault/ledger.py"),
        (
            "vault/test_ledger_replies.py::test_a_lost_message_costs_nothing_twice",
            "vault/test_ledger_replies.py::test_an_old_reply_is_not_an_answer",
            "provider/test_server.py::test_kill_9_under_load_keeps_every_signed_charge",
        ),
    ),
    Attack(
        "Old account file restored",
        "a vault follows every account; a broker's log has a witness",
        ("vault/ledger.py", "provider/witness.py"),
        (
            "vault/test_ledger_replies.py::test_a_broker_restored_from_a_backup_is_found_out",
            "crash/test_rollback.py::test_nothing_is_released_on_an_account_that_went_back",
        ),
    ),
)


def table() -> str:
    """Return the attacks as a Markdown table."""
    lines = ["| attack | defence | tests |", "|---|---|---|"]
    for attack, defence, files, tests in ATTACKS:
        where = ", ".join(f"`{name}`" for name in files)
        by_file: dict[str, list[str]] = {}
        for test in tests:
            path, _, name = test.partition("::")
            by_file.setdefault(path, []).append(name.removeprefix("test_").replace("_", " "))
        tried = "; ".join(f"`{path}` {', '.join(names)}" for path, names in by_file.items())
        lines.append(f"| {attack} | {defence} ({where}) | {tried} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page ``text`` with the current table."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
