"""The quality report: every measure by hand on a small bad table, what is shown, what is published, what is refused."""

from __future__ import annotations

import base64
import datetime
import json
import re

import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cloister import cli
from cloister.contract import capsule, told
from cloister.contract.card import Card, Column
from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.provider.quality import published
from cloister.provider.quality.page import page
from cloister.provider.quality.report import measure
from cloister.provider.quality.rules import Reference, Rules
from cloister.provider.seal import seal
from cloister.wire import canonical, envelope
from cloister.wire.identity import SigningKey

TODAY = datetime.date(2026, 3, 1)
CARD = Card(
    name="clinic.stays", title="Stays", description="Invented", unit="patient", key=("patient",),
    normaliser="ascii-lower-strip", population="clinic.patients", rows_per_unit=2, row_limit=8, grade="demonstration",
    columns=(
        Column("patient", "string", 2, "Who", personal=True),
        Column("age", "int", 2, "Years", low="0", high="110", step="1"),
        Column("sex", "string", 2, "Sex", domain=("f", "m")),
        Column("bmi", "decimal", 3, "Body mass index", low="10", high="60", step="0.1", nullable=True),
        Column("came", "date", 2, "Came", low="2020-01-01", high="2029-12-31"),
        Column("went", "date", 2, "Went", low="2020-01-01", high="2029-12-31", nullable=True),
        Column("smokes", "bool", 3, "Smokes", nullable=True),
    ),
    source="invented", retention="test", purposes=("research",),
)  # fmt: skip
# Ten rows (more than the size class), and one mistake of every kind that can be made in them.
TABLE = pa.table(
    {
        "patient": ["P1", "p1 ", "P1", "P2", "P2", "P3", "P4", "P5", "  ", "P5"],
        "age": ["30", "30", "30", "199", "old", "", "41", "41", "41", "41"],
        "sex": ["f", "m", "f", "m", "m", "canary", "f", "f", "f", "f"],
        "bmi": [20.0, None, 9.0, float("inf"), None, 25.0, 30.0, 31.0, None, 31.0],
        "came": ["2025-12-01", "2025-12-02", "2025-10-05", "2025-10-06", "2026-02-01", "2026-02-03", "2027-01-01",
                 "2026-01-30", "no day", "2026-01-30"],
        "went": ["2025-12-03", "2025-12-01", None, None, "2026-02-02", None, None, "2026-02-01", None, "2026-02-01"],
        "smokes": ["true", "false", "perhaps", None, None, None, None, None, None, None],
        "phone": ["1", "1", "1", "1", "2", "3", "", "5", None, "5"],
    }
)  # fmt: skip
RULES = Rules(
    patterns={"patient": "P[0-9]"}, constant=("sex",), one_unit=("phone",), order=(("came", "went"),),
    references=(Reference("patient", "patients.csv", "id"),), frequency={"came": "month"},
    newest_within_days={"came": 7},
)  # fmt: skip
PATIENTS = pa.table({"id": ["P1", "P2", "P3", "P5", "P9"]})


def report_of(table=TABLE, card=CARD, rules=RULES, **options):
    return measure(table, card, rules, as_of=TODAY, other=lambda _: PATIENTS, **options)


def counts(report) -> dict[tuple[str, str, str], tuple[int, int]]:
    return {(one.dimension, one.name, one.subject): (one.good, one.total) for one in report.measures}


@pytest.fixture(scope="module")
def report():
    return report_of()


def test_every_measure_by_hand(report):
    assert counts(report) == {
        ("completeness", "declared columns", "table"): (7, 7),
        ("completeness", "values", "patient"): (9, 10),
        ("completeness", "values", "age"): (9, 10),
        ("completeness", "values", "sex"): (10, 10),
        ("completeness", "values", "bmi"): (7, 10),
        ("completeness", "values", "came"): (10, 10),
        ("completeness", "values", "went"): (5, 10),
        ("completeness", "values", "smokes"): (3, 10),
        ("completeness", "whole rows", "table"): (8, 10),
        ("validity", "readable as int", "age"): (8, 10),  # an empty text is none either
        ("validity", "within 0 to 110", "age"): (7, 8),
        ("validity", "one of 2 categories", "sex"): (9, 10),
        ("validity", "readable as decimal", "bmi"): (6, 7),
        ("validity", "within 10 to 60", "bmi"): (5, 6),
        ("validity", "readable as date", "came"): (9, 10),
        ("validity", "within 2020-01-01 to 2029-12-31", "came"): (9, 9),
        ("validity", "readable as date", "went"): (5, 5),
        ("validity", "within 2020-01-01 to 2029-12-31", "went"): (5, 5),
        ("validity", "readable as bool", "smokes"): (2, 3),
        ("validity", "matches its pattern", "patient"): (8, 9),
        ("consistency", "rows that are no copy of another", "table"): (9, 10),
        ("consistency", "units with at most 2 rows", "patient"): (4, 5),
        ("consistency", "units spelt in one way", "patient"): (4, 5),
        ("consistency", "one value per unit", "sex"): (4, 5),
        ("consistency", "one unit per value", "phone"): (3, 4),
        ("consistency", "dates in order", "came, went"): (4, 5),
        ("consistency", "found in id of patients.csv", "patient"): (7, 9),
        ("timeliness", "dates not in the future", "came"): (8, 9),
        ("timeliness", "newest date within 7 days", "came"): (0, 1),
        ("timeliness", "a row in every month", "came"): (5, 16),
        ("timeliness", "dates not in the future", "went"): (5, 5),
    }
    notes = {(one.name, one.subject): one.note for one in report.measures if one.note}
    assert notes["dates not in the future", "came"] == "the newest is 26 days old, the oldest 147"
    assert notes["a row in every month", "came"] == "the longest gap is 10 months"


def test_a_score_is_that_of_the_worst_measure_that_counts(report):
    scores = {score.dimension: score for score in report.scores}
    # went is half empty and may be
    assert (scores["completeness"].worst.good, scores["completeness"].grade) == (8, "C")
    assert (scores["validity"].worst.subject, scores["validity"].grade) == ("smokes", "D")
    assert (scores["timeliness"].worst.good, scores["timeliness"].worst.total) == (0, 1)


def test_plots_hold_every_row_once(report):
    assert all(sum(kinds.values()) == 10 for kinds in report.plots.cells.values())
    assert report.plots.cells["age"] == {
        "as declared": 7, "out of bounds": 1, "unknown category": 0, "unreadable": 2, "empty": 0
    }  # fmt: skip
    assert report.plots.cells["phone"] == {"not declared": 8, "empty": 2}
    assert sum(report.plots.months["came"].values()) == 9
    assert report.plots.months["came"]["2025-11"] == 0
    assert report.plots.rows_per_unit == {1: 2, 2: 2, 3: 1}


def test_values_are_shown_only_when_asked_for(report):
    shown = report_of(show_examples=True)
    examples = {(one.name, one.subject): one.examples for one in shown.measures if one.examples}
    assert examples["one of 2 categories", "sex"] == ("canary",)
    assert examples["within 0 to 110", "age"] == ("199",)
    assert examples["readable as int", "age"] == ("old",)
    assert examples["readable as date", "came"] == ("no day",)
    assert examples["readable as bool", "smokes"] == ("perhaps",)
    assert examples["dates in order", "came, went"] == ("2025-12-02 > 2025-12-01",)
    assert examples["one value per unit", "sex"] == ("P1",)
    assert examples["one unit per value", "phone"] == ("1",)
    assert examples["found in id of patients.csv", "patient"] == ("P4", "p1 ")
    assert "canary" in page(shown)
    for shown_to in (page(report), published.encode(report).decode()):
        assert not any(value in shown_to for value in ("canary", "no day", "perhaps", "2025-12-02"))


def test_thresholds_and_what_was_not_measured():
    wanted = {"completeness": "0.8", "consistency": "0.81", "validity": "0"}
    scores = {
        score.dimension: score.below
        for score in report_of(rules=msgspec.structs.replace(RULES, at_least=wanted)).scores
    }
    assert scores == {"completeness": False, "consistency": True, "validity": False, "timeliness": False}
    # A third of a third is compared exactly.
    bare = measure(pa.table({"a": [1, 1, None]}), rules=Rules(at_least={"completeness": "2/3"}), as_of=TODAY)
    assert not bare.below
    # Without a card nothing is valid or invalid, so no threshold can be reached.
    none = measure(pa.table({"a": [1]}), rules=Rules(at_least={"validity": "0"}), as_of=TODAY)
    assert [score.dimension for score in none.below] == ["validity"]
    for bad in ({"beauty": "1"}, {"validity": "much"}, {"validity": "1.5"}):
        with pytest.raises(MalformedError, match=r"quality\.threshold"):
            measure(pa.table({"a": [1]}), rules=Rules(at_least=bad), as_of=TODAY)


def test_odd_tables_have_reports_too():
    for table in (
        pa.table({}), pa.table({"a": pa.nulls(3)}), pa.table({"a": pa.array([], pa.date32())}),
        pa.table({"a": [[1], None]}),
        pa.table({"patient": ["P1"], "age": [None], "sex": pa.array(["f"]).dictionary_encode()}),
        pa.table({"came": [datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)]}),
    ):  # fmt: skip
        for card in (None, CARD):
            assert page(measure(table, card, as_of=TODAY)).startswith("<!DOCTYPE html>")
    partial = counts(measure(TABLE.select(["age"]), CARD, as_of=TODAY))
    assert partial["completeness", "declared columns", "table"] == (1, 7)
    twice = pa.Table.from_arrays([pa.array([1])] * 2, ["age", "age"])
    with pytest.raises(MalformedError, match=r"seal\.format"):
        measure(twice, CARD, as_of=TODAY)


def test_keys_of_a_reference_table_occur_once():
    table = pa.table({"icd": ["A", "B", "b "]})
    card = msgspec.structs.replace(
        CARD, unit="none", key=("icd",), columns=(Column("icd", "string", 1, "Code", domain=("A", "B")),)
    )
    assert counts(measure(table, card, as_of=TODAY))["consistency", "keys that occur once", "icd"] == (1, 2)


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        (Rules(patterns={"age": "("}), "quality.rules"),
        (Rules(patterns={"shoe": "."}), "quality.column"),
        (Rules(order=(("came", "shoe"),)), "quality.column"),
        (Rules(references=(Reference("patient", "patients.csv", "no"),)), "quality.reference"),
    ],
)
def test_rules_that_cannot_be_followed(rules, code):
    with pytest.raises(CloisterError) as refused:
        report_of(rules=rules)
    assert refused.value.code == code


def test_rules_about_units_need_a_key():
    with pytest.raises(RefusedError, match=r"quality\.key"):
        measure(TABLE, None, Rules(constant=("sex",)), as_of=TODAY)


# The page --------------------------------------------------------------------------------------------


def test_the_page_runs_and_loads_nothing():
    odd = "<script>alert(1)</script>"
    found = page(measure(pa.table({odd: ["x", None], "' onload='x": [1, 2]}), None, as_of=TODAY, name=odd))
    assert "<script" not in found
    assert "' onload=" not in found
    assert "default-src 'none'" in found
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", found)


# Publishing ------------------------------------------------------------------------------------------


def test_figures_are_rounded_down_and_the_digest_is_salted(report):
    chosen = published.of_report(report, ["completeness", "validity"])
    assert chosen.figures == {"completeness": "0.80", "validity": "0.66"}
    assert chosen.report == canonical.digest_bytes(published.encode(report))
    # The same table, measured again, has another digest: nobody can test a guess of the data against it.
    again = report_of()
    assert again.measures == report.measures
    assert published.of_report(again, ["validity"]).report != chosen.report
    with pytest.raises(RefusedError, match=r"quality\.publish"):
        published.of_report(measure(pa.table({"a": [1]}), as_of=TODAY), ["validity"])


@pytest.fixture
def files(tmp_path):
    frame = pd.DataFrame({"patient": ["P1", "P2", "P3"], "age": [30, 40, 999], "sex": ["f", "m", "canary"]})
    frame.to_csv(tmp_path / "data.csv", index=False)
    card = msgspec.structs.replace(CARD, columns=CARD.columns[:3])
    (tmp_path / "card.json").write_bytes(msgspec.json.encode(card))
    return tmp_path


def command(files, *options: str):
    return CliRunner().invoke(
        cli.whole(), ["quality", str(files / "data.csv"), "--card", str(files / "card.json"), *options]
    )


def test_nothing_is_published_unless_it_is_named(files):
    key = SigningKey.generate()
    names = {name: str(files / name) for name in ("report.json", "public.json", "page.html")}
    plain = command(files, "--report", names["report.json"], "--html", names["page.html"])
    assert plain.exit_code == 0, plain.output
    assert sorted(path.name for path in files.iterdir()) == ["card.json", "data.csv", "page.html", "report.json"]
    assert all((files / name).stat().st_mode & 0o077 == 0 for name in ("report.json", "page.html"))
    for alone in (("--publish", "validity"), ("--published", names["public.json"])):
        refused = command(files, *alone)
        assert isinstance(refused.exception, RefusedError)
        assert refused.exception.code == "quality.publish"
    chosen = ("--publish", "validity", "--published", names["public.json"], "--report", names["report.json"])
    assert command(files, *chosen).exit_code == 0
    card = msgspec.json.decode((files / "card.json").read_bytes(), type=Card)
    chosen = published.read([files / "public.json"])[card.name]
    assert chosen.quality.figures == {"validity": "0.66"}
    assert canonical.digest_bytes((files / "report.json").read_bytes()) == chosen.quality.report
    done = seal(card, files / "data.csv", files / "capsule", key, quality=chosen)
    document = msgspec.json.decode((done.directory / "manifest.json").read_bytes(), type=envelope.Envelope)
    manifest = capsule.open_manifest(document, key.did)
    assert told.quality(manifest, card.name) == told.bound(chosen.quality, manifest, card.name)
    assert json.loads(base64.b64decode(document.payload))["tables"][0]["quality"]["figures"] == {"validity": "0.66"}


def test_the_command_shows_figures_and_fails_below_a_threshold(files):
    found = command(files, "--at-least", "validity=0.6")
    assert found.exit_code == 0, found.output
    assert "66.6 %" in found.output
    assert "canary" not in found.output
    assert "canary" in command(files, "--show-examples").output
    below = command(files, "--at-least", "validity=0.67", "--html", str(files / "page.html"))
    assert isinstance(below.exception, RefusedError)
    assert below.exception.code == "quality.below"
    assert (files / "page.html").exists()
    told = json.loads(command(files, "--json").output)
    assert {score["dimension"] for score in told["scores"]} == {
        "completeness", "validity", "consistency", "timeliness"
    }  # fmt: skip


def test_files_that_are_none_of_ours(files):
    bad = files / "bad"
    bad.write_text("{")
    for options in (("--rules", str(bad)), ("--card", str(bad)), ("--as-of", "yesterday")):
        assert isinstance(command(files, *options).exception, MalformedError)
    with pytest.raises(MalformedError, match=r"quality\.file"):
        published.read([bad])
