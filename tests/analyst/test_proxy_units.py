"""The proxy's pure parts: signatures, commands, own replies, pending requests, cards, connection file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.analyst import bundles, commands, completion, connection_file, guard, own_replies
from cloister.analyst.messages import Composer, Header, Message, Request, parse_header, split
from cloister.analyst.pending import Pending
from cloister.analyst.signing import Signer
from cloister.errors import MalformedError, RefusedError, SignatureError
from cloister.receipt.facts import ReleaseFacts
from cloister.wire.frames import Kind

PORTS = {name: at for at, name in enumerate(("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"), 1)}
INFO: dict[str, Any] = {"version": "1", "entry": "demo", "mode": "mock", "state": "open", "word": "Simulated"}


def message(content: bytes = b"{}", metadata: bytes = b"{}") -> Message:
    return Message((b"client",), b'{"msg_id":"1","msg_type":"x"}', b"{}", metadata, content, (b"buffer",))


def request(msg_type: str, content: dict[str, Any] | None = None, msg_id: str = "1") -> Request:
    made = Composer().compose(msg_type, content or {})
    return Request(Kind.SHELL, made, Header(msg_id, msg_type))


def test_signature_round_trip_and_what_breaks_it() -> None:
    parts = Signer(b"key", "hmac-sha256").seal(message())
    assert Signer(b"key", "hmac-sha256").open(parts) == message()
    for at in range(2, 7):
        broken = [*parts[:at], parts[at] + b" ", *parts[at + 1 :]]
        with pytest.raises(SignatureError):
            Signer(b"key", "hmac-sha256").open(broken)
    with pytest.raises(SignatureError):
        Signer(b"other", "hmac-sha256").open(parts)


def test_a_message_is_accepted_once() -> None:
    signer = Signer(b"key", "hmac-sha256")
    parts = signer.seal(message())
    signer.open(parts)
    with pytest.raises(SignatureError, match="twice"):
        signer.open(parts)


def test_signatures_are_those_of_jupyter_client() -> None:
    from jupyter_client.session import Session

    theirs = Session(key=b"key", signature_scheme="hmac-sha256")
    parts = theirs.serialize(theirs.msg("execute_request", {"code": "1"}), ident=b"client")
    opened = Signer(b"key", "hmac-sha256").open(parts)
    idents, body = theirs.feed_identities(Signer(b"key", "hmac-sha256").seal(opened))
    theirs.digest_history.clear()
    assert theirs.deserialize(body)["content"] == {"code": "1"}
    assert idents == [b"client"]


@pytest.mark.parametrize("scheme", ["", "sha256", "plain-sha256"])
def test_unknown_signature_schemes_are_refused(scheme: str) -> None:
    with pytest.raises(MalformedError):
        Signer(b"key", scheme)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_arbitrary_parts_are_a_message_or_malformed(parts: list[bytes]) -> None:
    try:
        split(parts)
        parse_header(parts[-1])
    except MalformedError:
        pass


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("%cloister status", "status"),
        ("\n# why\n  %cloister  STATUS  \n", "status"),
        ("%cloister", "help"),
        ("%cloister put a.csv", "put"),
        ("%cloister status\n1", None),
        ("%cloisters", None),
        ("x = '%cloister status'", None),
        ("%%cloister_sql\nselect 1", None),
        ("", None),
    ],
)
def test_a_command_is_the_only_statement(code: str, name: str | None) -> None:
    command = commands.parse(code)
    assert (command.name if command else None) == name


def test_a_command_that_is_not_there_says_so() -> None:
    with pytest.raises(RefusedError) as refusal:
        commands.answer(commands.Command("x"), commands.Known(INFO))
    assert refusal.value.code == "command.unknown"
    assert len(refusal.value.nearest) == len(commands.FORMS)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("%cloister status now", "no words"),
        ("%cloister put", "1 or 2 words and got 0"),
        ("%cloister put a b c", "1 or 2 words and got 3"),
        ("%cloister put a.csv --force", "no --force"),
        ("%cloister get a.csv --forse", "no --forse"),
        ("%cloister put 'a.csv", "quotation mark"),
    ],
)
def test_a_command_written_otherwise_says_how_it_is_written(code: str, says: str) -> None:
    command = commands.parse(code)
    assert command is not None
    with pytest.raises(RefusedError, match=says) as refusal:
        command.words()
    assert refusal.value.code == "command.arguments"
    assert refusal.value.nearest == (commands.FORMS[command.name].usage(command.name),)


@pytest.mark.parametrize(
    ("code", "matches"),
    [
        ("%cloister ", ["status", "budget", "put", "get", "verify", "help"]),
        ("# mine\n%cloister st", ["status"]),
        ("%cloister put ", ["a.csv", "b.csv"]),
        ("%cloister put b", ["b.csv"]),
        ("%cloister put a.csv ", []),
        ("%cloister get x --f", ["--force"]),
        ("%cloister get x --force --f", []),
        ("%cloister statu x", []),
    ],
)
def test_the_words_of_a_line_are_completed(code: str, matches: list[str], tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", ".hidden", "with space.csv"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    found = completion.complete(code, len(code), tmp_path)
    assert found is not None
    assert found["matches"] == matches
    assert (code[found["cursor_start"] : found["cursor_end"]], found["cursor_end"]) == (
        code.rpartition(" ")[2],
        len(code),
    )


@pytest.mark.parametrize("code", ["%cloister", "x = 1\n%cloister st", "cl.ta", "%cloistered st", ""])
def test_what_is_no_line_is_completed_by_the_sandbox(code: str, tmp_path: Path) -> None:
    assert completion.complete(code, len(code), tmp_path) is None


def test_words_of_a_command_are_split_as_a_person_means_them() -> None:
    command = commands.parse(
        """%cloister get 'my plot.png' a\\b --force # not a comment""".removesuffix(" # not a comment")
    )
    assert command is not None
    assert command.words() == (("my plot.png", "a\\b"), frozenset({"--force"}))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("1", "complete"),
        ("%timeit 1", "complete"),
        ("!ls", "complete"),
        ("for i in x:", "incomplete"),
        ("def f():\n  return 1", "incomplete"),
        ("def f():\n  return 1\n", "complete"),
        ("x = [1,", "incomplete"),
        ("import = 7", "invalid"),
        ("\0", "invalid"),
        ("(" * 10_000, "invalid"),
    ],
)
def test_is_complete_without_an_enclave(code: str, status: str) -> None:
    assert own_replies.is_complete(code)["status"] == status


def test_kernel_info_of_the_sandbox_loses_the_debugger_and_gains_our_block() -> None:
    inner = {"status": "error", "banner": "Python", "supported_features": ["debugger", "x"], "cloister": "forged"}
    amended = own_replies.amend_kernel_info(inner, INFO)
    assert amended["supported_features"] == ["x"]
    assert amended["status"] == "ok"
    assert amended["cloister"] == INFO
    assert amended["banner"].startswith("Cloister 1 (mock): Simulated\n")
    assert own_replies.amend_kernel_info({"supported_features": 3}, INFO)["supported_features"] == []


def test_pending_forgets_after_reply_and_idle_in_any_order() -> None:
    for steps in (("reply", "idle"), ("idle", "reply")):
        pending = Pending()
        pending.add(request("execute_request"))
        pending.status("1", "busy")
        assert pending.running_cell() is not None
        for step in steps:
            assert len(pending) == 1
            pending.replied("1") if step == "reply" else pending.status("1", "idle")
        assert len(pending) == 0


def test_pending_keeps_every_request_and_a_bounded_number_of_comm_messages() -> None:
    pending = Pending()
    pending.add(request("execute_request", msg_id="cell"))
    for number in range(5000):
        pending.add(request("comm_msg", msg_id=str(number)))
    assert len(pending) <= 1025
    assert pending.get("cell") is not None
    assert [entry.request.header.msg_id for entry in pending.take(only_cells=True)] == ["cell"]


def test_cards_escape_everything() -> None:
    info = {**INFO, "word": "<script>alert(1)</script>", "verdict": {"reasons": ["<b>"], "isolation": {"level": "<i>"}}}
    shown = bundles.status(info)["text/html"]
    for tag in ("<script", "<b>", "<i>"):
        assert tag not in shown


@pytest.mark.timeout(20)
@pytest.mark.parametrize("sum_", ["1e999999999", "1e-999999999", "9" * 10_000, -1, "-1/2", "1/0", " 1", 0.5, None])
def test_a_sum_that_no_broker_signs_is_not_known(sum_: Any) -> None:
    """Whoever runs a simulated enclave can report what he likes; a line about it must not stop the kernel."""
    told = {"name": "privacy", "population": "p", "spent": "1/2", "limit": "1", "analyst_spent": sum_}
    assert "not known now" in bundles.budget({"limits": [told]})["text/plain"]
    assert "not known now" in bundles.budget({"limits": [{"name": "rows", "spent": 1, "limit": sum_}]})["text/plain"]


def test_budget_card_names_every_limit() -> None:
    known = {
        "limits": [
            {"name": "privacy", "population": "p", "spent": "1/2", "limit": "1", "analyst_spent": "1/2",
             "analyst_limit": "2/3"},
            {"name": "privacy", "population": "q", "limit": "1", "analyst_limit": "1",
             "error": {"code": "broker.unavailable", "reason": "it is <asleep>"}},
            {"name": "releases", "spent": 3, "limit": 1000},
            {"name": "rows", "spent": 1200000, "limit": 50000000},
            {"name": "compute", "spent": 125, "limit": 36000},
            {"name": "models", "spent": 0, "limit": 0},
            {"name": "expiry", "not_after": "2999-01-01T00:00:00Z"},
            {"name": "expiry", "not_after": "2001-01-01T00:00:00Z"},
            {"name": "colour", "spent": "red"},
            7,
        ],
        "time": "2026-11-21T10:00:00Z",
    }  # fmt: skip
    shown = bundles.budget(known)
    for words in (
        "75.0 % of yours used; everyone together 50.0 %", "not known now: [broker.unavailable]", "3 of 1,000 releases",
        "1,200,000 of 50,000,000 rows scanned", "12.5 s of 3,600 s of computing", "none allowed", "days left",
        "ended at 2001", "colour", "as of 2026-11-21T10:00:00Z",
    ):  # fmt: skip
        assert words in shown["text/plain"]
    assert "[###############.....]" in shown["text/plain"]
    assert "[????????????????????]" in shown["text/plain"]
    assert "0/75.0% 100%" in shown["text/html"]
    assert "<asleep>" not in shown["text/html"]
    # A broker that is silent: nobody knows how much is left.
    assert "left" not in shown["text/plain"].partition("\n")[0]
    assert "nothing is charged" in bundles.budget(known, mode="mock")["text/plain"].partition("\n")[0]


def test_days_left_are_counted_from_the_moment_the_figures_are_of() -> None:
    """A record shows the same whenever it is made again: a replay of an old notebook must not differ by the date."""
    known = {"limits": [{"name": "expiry", "not_after": "2026-12-01T00:00:00Z"}], "time": "2026-11-21T10:00:00Z"}
    assert "9 days left" in bundles.budget(known)["text/plain"]
    assert "ended at" in bundles.budget({**known, "time": "2026-12-01T00:00:00Z"})["text/plain"]


NOTHING = guard.Owned((), ())


def test_guard_reports_what_it_cannot_read() -> None:
    with pytest.raises(MalformedError):
        guard.reserved_name("display_data", message(b"cloister"), NOTHING)
    assert guard.reserved_name("display_data", message(b"not looked at"), NOTHING) is None


@pytest.mark.parametrize(
    "changes", [{"shell_port": "x"}, {"transport": "pgm"}, {"curve_publickey": "a"}, {"curve_secretkey": "a"}]
)
def test_connection_files_are_checked(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    path.write_text(json.dumps({**PORTS, **changes}))
    with pytest.raises(MalformedError):
        connection_file.load(path)
    with pytest.raises(MalformedError):
        connection_file.load(tmp_path / "missing.json")


def test_verify_lists_what_this_machine_verified_and_says_who_could_lie() -> None:
    nothing = commands.answer(commands.Command("verify"), commands.Known(INFO))
    assert "none yet" in nothing["text/plain"]
    release = ReleaseFacts(
        release="sha256:" + "a" * 64, receipt="sha256:" + "b" * 64, charge_id="c", session="s", question="t: mean of x",
        keys=(), measures=("x",), rows=(), cells=1, rho="1/100", costs=(), assurance="simulated",
        time="2026-01-01T00:00:00Z",
    )  # fmt: skip
    shown = commands.answer(commands.Command("verify"), commands.Known(INFO, None, [release]))["text/plain"]
    assert "1 receipts verified" in shown
    assert "bbbbbbbbbbbb" in shown
    assert "Simulated" in shown
