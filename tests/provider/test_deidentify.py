"""De-identification before sealing: what operators do, what recipes are refused, what the manifest says of them."""

from __future__ import annotations

import base64
import csv
import datetime
from pathlib import Path

import duckdb
import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cloister.contract import capsule, told
from cloister.contract.card import Card, Column
from cloister.contract.lineage import Treatment
from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.provider import hashed_keys
from cloister.provider.deidentify import recipe as r
from cloister.provider.deidentify.anonymity import classes
from cloister.provider.deidentify.run import Recipe, run
from cloister.provider.engine import Rows
from cloister.provider.seal import seal
from cloister.wire import envelope
from cloister.wire.identity import SigningKey

ROOT = Path(__file__).parents[2]
ADULT = next((path for folder in ROOT.parents[:2] if (path := folder / "shared/data/adult.csv").exists()), None)
SECRET = hashed_keys.Salt(b"s" * 32, hashed_keys.salt_id(b"s" * 32))
OTHER = hashed_keys.Salt(b"o" * 32, hashed_keys.salt_id(b"o" * 32))
TEN = r.Generalise(columns=("age",), width="10")


def card(*columns: Column, key: str = "person", **changes) -> Card:
    """A card of a table with these columns beside the key."""
    keyed = (Column(key, "string", 2, "Who", personal=True),) if key else ()
    given = {
        "name": "clinic.visits", "title": "Visits", "description": "Invented", "unit": "person" if key else "none",
        "key": (key,) if key else (), "normaliser": "ascii-lower-strip", "population": "clinic.people",
        "rows_per_unit": 4, "row_limit": 256, "grade": "demonstration", "columns": (*keyed, *columns),
        "source": "invented", "retention": "test", "purposes": ("research",),
    }  # fmt: skip
    return Card(**given | changes)


def number(name: str, low: str = "0", high: str = "120", kind: str = "int", step: str = "1") -> Column:
    return Column(name, kind, 2, name, low=low, high=high, step=step, nullable=True)


def text(name: str, *domain: str) -> Column:
    return Column(name, "string", 2, name, domain=domain, nullable=True)


def day(name: str) -> Column:
    return Column(name, "date", 2, name, low="1900-01-01", high="2100-12-31", nullable=True)


def after(step: r.Step, column: Column, values: list, levels: dict | None = None) -> list:
    """The values of a column after a step."""
    table = pa.table({"person": [f"P{n}" for n in range(len(values))], column.name: pa.array(values)})
    recipe = r.Recipe(step=(step,), levels=levels or {})
    return run(card(column), table, Recipe(recipe)).table.column(column.name).to_pylist()


def code_of(step: r.Step | None, *columns: Column, secret=None, anonymity=None, **options) -> str:
    """The code a recipe is refused with before anything is read, or nothing."""
    recipe = r.Recipe(step=(step,) if step else (), anonymity=anonymity, levels=options.pop("levels", {}))
    try:
        run(card(*columns, **options), pa.table({"nothing": []}), Recipe(recipe, secret))
    except CloisterError as error:
        return "" if error.code == "seal.column" else error.code
    raise AssertionError("a table without columns was taken")


# What operators do -----------------------------------------------------------------------------------


def test_mask_never_shows_a_whole_value_nor_its_length():
    step = r.Mask(columns=("phone",), keep_start=3, keep_end=2)
    found = after(
        step, text("phone", "138****00"), ["13812345600", "138000", "13800", "1", "", None, "電話番号電話番号"]
    )
    assert found == ["138****00", "138****00", "****", "****", "****", None, "電話番****番号"]


@pytest.mark.parametrize(
    ("step", "column", "values", "expected"),
    [
        (TEN, number("age"), [39, 40, -1, None], [30, 40, -10, None]),
        (TEN, text("age", "[30,40)"), [39, 40.0, -0.5, None], ["[30,40)", "[40,50)", "[-10,0)", None]),
        (TEN, text("age", "[30,40)"), ["39", "x", "1e300", "inf"], ["[30,40)", None, None, None]),
        (r.Generalise(columns=("v",), width="2.5"), text("v", "[2.5,5)"), [4.9, 5.0], ["[2.5,5)", "[5,7.5)"]),
        (r.Generalise(columns=("v",), width="2.5"), number("v", kind="decimal", step="0.5"), [4.9, 5.0], [2.5, 5.0]),
        (
            r.Generalise(columns=("v",), edges=("18", "65")), text("v", "<18", "[18,65)", ">=65"),
            [17.9, 18.0, 65.0, float("nan")], ["<18", "[18,65)", ">=65", None],
        ),
        (
            r.Generalise(columns=("v",), edges=("0", "10")), text("v", "<0", "[0,10)", ">=10"),
            [-5.0, 0.0, 9.0, 10.0], ["<0", "[0,10)", "[0,10)", ">=10"],
        ),
        (
            r.Generalise(columns=("d",), date="month"), day("d"), [datetime.date(2024, 2, 29), None],
            [datetime.date(2024, 2, 1), None],
        ),
        (
            r.Generalise(columns=("d",), date="quarter"), text("d", "2024-Q1"),
            ["2024-02-29T10:00", "2024-02-30", "infinity"], ["2024-Q1", None, None],
        ),
        (r.Generalise(columns=("d",), date="month"), text("d", "2024-02"), ["2024-02-29"], ["2024-02"]),
        (r.Generalise(columns=("d",), date="year"), number("d", "1900", "2100"), ["2024-02-29"], [2024]),
        (r.Generalise(columns=("z",), prefix=2), text("z", "10"), ["1000", "9", None, 1011], ["10", "9", None, "10"]),
        (r.Round(columns=("v",), to="5"), number("v"), [2, 3, -3, None], [0, 5, -5, None]),
        (r.Round(columns=("v",), to="0.5"), number("v", kind="decimal", step="0.1"), [1.26, 1.24], [1.5, 1.0]),
        (r.TopBottomCode(columns=("v",), low="18", high="90"), number("v"), [3, 50, 97, None], [18, 50, 90, None]),
        (
            r.TopBottomCode(columns=("d",), low="1930-01-01"), day("d"), [datetime.date(1921, 5, 5), None],
            [datetime.date(1930, 1, 1), None],
        ),
    ],
)  # fmt: skip
def test_operators(step, column, values, expected):
    if any(isinstance(value, str) for value in values):
        values = [None if value is None else str(value) for value in values]
    found = after(step, column, values)
    assert found == expected
    assert [type(one) for one in found] == [type(one) for one in expected]


def test_a_hierarchy_knows_its_values_and_calls_all_others_other():
    levels = {"icd.csv": {"I21": ("heart", "disease"), "S72": ("bone", "injury")}}
    step = r.Generalise(columns=("dx",), hierarchy="icd.csv")
    assert after(step, text("dx", "heart", "bone"), ["I21", "S72", "Z00", None], levels) == [
        "heart", "bone", "(other)", None
    ]  # fmt: skip
    coarser = r.Generalise(columns=("dx",), hierarchy="icd.csv", level=2)
    assert after(coarser, text("dx", "disease", "injury"), ["I21"], levels) == ["disease"]


def test_steps_run_in_their_order_and_whole_numbers_stay_exact():
    low = 2**60 + 12_345
    table = pa.table({"person": ["a"], "v": [low], "w": [97]})
    steps = (
        r.Round(columns=("v",), to="10"), r.TopBottomCode(columns=("w",), high="90"), r.Round(columns=("w",), to="20")
    )  # fmt: skip
    declared = card(number("v", "0", str(2**62), step=str(10)), number("w"))
    # a grid this fine does not lint, so it is run without sealing
    found = run(declared, table, Recipe(r.Recipe(step=steps))).table.to_pydict()
    assert found["v"] == [(low + 5) // 10 * 10]
    assert found["w"] == [100]


# Pseudonyms ------------------------------------------------------------------------------------------


def pseudonyms(values: list, secret=SECRET, *, key="person", domain="", **options) -> list:
    step = r.Pseudonymise(columns=(key,), domain=domain)
    found = run(card(key=key, **options), pa.table({key: pa.array(values)}), Recipe(r.Recipe(step=(step,)), secret))
    return found.table.column(key).to_pylist()


def test_pseudonyms_link_tables_under_one_secret_and_no_other():
    one = pseudonyms(["P1", " p1", "P2", "", "  ", None])
    assert one[0] == one[1] != one[2]
    assert one[3:] == [None, None, None]
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in one[:3])
    assert pseudonyms(["p2", "P1"], key="patient") == [one[2], one[0]]
    assert not set(pseudonyms(["P1", "P2"], OTHER)) & set(one)
    assert not set(pseudonyms(["P1", "P2"], domain="staff")) & set(one)
    exact = pseudonyms(["P1", "p1"], normaliser="exact")
    assert exact[0] != exact[1]
    assert not set(exact) & set(one)


def test_a_number_has_one_pseudonym_whatever_type_its_column_has():
    """A gap makes a column of whole numbers one of floats in a DataFrame; the units stay the same."""
    assert pseudonyms([7, 8]) == pseudonyms(["7", "8"]) == pseudonyms([7.0, 8.0, None])[:2]


def test_a_pseudonym_is_not_the_hashed_key_of_the_same_secret():
    from cloister.contract.unit_keys import hashed_key

    hashed = hashed_key("P1", SECRET.secret, unit="person", part=0, normaliser="ascii-lower-strip")
    assert pseudonyms(["P1"]) != [hashed]


# Refused before anything is read ---------------------------------------------------------------------

AGE = number("age")


@pytest.mark.parametrize(
    ("step", "columns", "expected"),
    [
        (TEN, (AGE,), ""),
        (TEN, (), "recipe.column"),
        (r.Drop(columns=("age",)), (AGE,), "recipe.column"),
        (r.Drop(columns=()), (AGE,), "recipe.column"),
        (r.Mask(columns=("person",), keep_start=1), (), "recipe.key"),
        (r.Generalise(columns=("person",), prefix=1), (), "recipe.key"),
        (r.Mask(columns=("age",), keep_start=1), (AGE,), "recipe.type"),
        (r.Mask(columns=("z",), keep_start=-1), (text("z", "a"),), "recipe.parameter"),
        (r.Mask(columns=("z",), fill=""), (text("z", "a"),), "recipe.parameter"),
        (r.Generalise(columns=("age",)), (AGE,), "recipe.parameter"),
        (r.Generalise(columns=("age",), width="5", prefix=2), (AGE,), "recipe.parameter"),
        (r.Generalise(columns=("age",), width="0"), (AGE,), "recipe.parameter"),
        (r.Generalise(columns=("age",), width="2.5"), (AGE,), "recipe.parameter"),
        (r.Generalise(columns=("age",), width="10"), (text("age", "30-39"),), "recipe.domain"),
        (r.Generalise(columns=("age",), width="10"), (text("age", "[30,45)"),), "recipe.domain"),
        (r.Generalise(columns=("age",), width="10"), (text("age", "[35,45)"),), "recipe.domain"),
        (r.Generalise(columns=("age",), edges=("18", "65")), (text("age", "<18", "[18,65)", ">=65"),), ""),
        (r.Generalise(columns=("age",), edges=("18", "65")), (text("age", "<18", ">=65"),), "recipe.domain"),
        (r.Generalise(columns=("age",), edges=("18", "65")), (text("age", "[18,65)", "old"),), "recipe.domain"),
        (r.Generalise(columns=("age",), edges=("65", "18")), (text("age", "[18,65)"),), "recipe.parameter"),
        (r.Generalise(columns=("age",), edges=("18", "65")), (AGE,), "recipe.type"),
        (r.Generalise(columns=("d",), date="month"), (text("d", "2024-13"),), "recipe.domain"),
        (r.Generalise(columns=("d",), date="month"), (number("d"),), "recipe.type"),
        (r.Generalise(columns=("z",), prefix=2), (text("z", "100"),), "recipe.domain"),
        (r.Generalise(columns=("z",), prefix=0), (text("z", "1"),), "recipe.parameter"),
        (r.Generalise(columns=("z",), hierarchy="no.csv"), (text("z", "1"),), "recipe.hierarchy"),
        (r.Round(columns=("age",), to="5"), (number("age", "0", "120", step="2"),), "recipe.grid"),
        (r.Round(columns=("age",), to="-5"), (AGE,), "recipe.parameter"),
        (r.Round(columns=("age",), to="'"), (AGE,), "recipe.parameter"),
        (r.Round(columns=("z",), to="5"), (text("z", "1"),), "recipe.type"),
        (r.TopBottomCode(columns=("age",)), (AGE,), "recipe.parameter"),
        (r.TopBottomCode(columns=("age",), low="90", high="18"), (AGE,), "recipe.parameter"),
        (r.TopBottomCode(columns=("age",), high="1990-01-01"), (AGE,), "recipe.parameter"),
        (r.TopBottomCode(columns=("age",), high="200"), (AGE,), "recipe.bounds"),
        (r.TopBottomCode(columns=("v",), low="0", high="-5"), (number("v", "-50", "50"),), "recipe.parameter"),
        (r.TopBottomCode(columns=("v",), low="0"), (number("v", "10", "50"),), "recipe.bounds"),
        (r.TopBottomCode(columns=("v",), high="5"), (number("v", "-50", "0"),), "recipe.bounds"),
        (r.TopBottomCode(columns=("d",), high="90"), (day("d"),), "recipe.parameter"),
    ],
)
def test_recipes_that_do_not_fit_the_card(step, columns, expected):
    assert code_of(step, *columns) == expected


def test_secrets_where_they_belong():
    step = r.Pseudonymise(columns=("person",))
    assert code_of(step, secret=SECRET) == ""
    assert code_of(step) == "recipe.secret"
    assert code_of(TEN, AGE, secret=SECRET) == "recipe.secret"
    assert code_of(r.Pseudonymise(columns=("z",)), text("z", "a"), secret=SECRET) == "recipe.key"
    assert code_of(step, secret=SECRET, hashed=SECRET.id) == "recipe.key"
    assert code_of(None) == "recipe.empty"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"k": 0}, "recipe.parameter"),
        ({"quasi_identifiers": ()}, "recipe.parameter"),
        ({"quasi_identifiers": ("age", "age")}, "recipe.column"),
        ({"quasi_identifiers": ("shoe",)}, "recipe.column"),
        ({"quasi_identifiers": ("person",)}, "recipe.key"),
        ({"l": 2}, "recipe.parameter"),
        ({"t": "0.2"}, "recipe.parameter"),
        ({"t": "2", "sensitive": ("z",)}, "recipe.parameter"),
        ({"most_suppressed": "all"}, "recipe.parameter"),
    ],
)
def test_demands_that_cannot_be_meant(changes, expected):
    wanted = r.Anonymity(**{"quasi_identifiers": ("age",), "k": 5} | changes)
    assert code_of(None, AGE, text("z", "a"), anonymity=wanted) == expected


# Classes ---------------------------------------------------------------------------------------------

PEOPLE = card(text("place", "a", "b", "c"), number("age"), text("dx", "x", "y"))
TABLE = pa.table(
    {
        # a: three persons in four rows, one of them spelt in two ways; b: two; c: one; and a row of nobody.
        "person": ["P1", "p1 ", "P2", "P3", "P4", "P5", "P6", None],
        "place": ["a", "a", "a", "a", "b", "b", "c", "c"],
        "age": [30, 30, 31, 32, 40, 41, 50, 99],
        "dx": ["x", "x", "y", "x", "x", "x", "y", "y"],
    }
)


def demanding(k: int = 2, **changes) -> Recipe:
    wanted = {"quasi_identifiers": ("place",), "k": k, "most_suppressed": "1"} | changes
    return Recipe(r.Recipe(anonymity=r.Anonymity(**wanted)))


def test_classes_are_counted_in_units():
    found = classes(TABLE, PEOPLE, ["place"], ["dx"], 3)
    assert (found.units, found.rows, found.classes, found.smallest) == (6, 7, 3, 1)
    assert (found.below, found.unique) == (3, 1)
    assert found.share_below == 0.5
    assert {name: many for name, many in found.sizes.items() if many} == {"1": 1, "2": 1, "3-4": 1}
    assert found.diversity == {"dx": 1}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (text("dx", "x", "y"), ["cough", "cold", "flu"]),  # the card lists none of them: all are (other)
        (number("dx", "0", "120"), [130, 140, 150]),  # clipped
        (number("dx", "0", "120"), [50.0, 50.2, 49.9]),  # rounded
    ],
)
def test_values_that_are_one_when_sealed_are_no_diversity(column, values):
    """Three different texts in the data, one value in the capsule: l is 1, whatever the manifest would like to say."""
    wide = card(text("place", "a"), column)
    rows = pa.table({"person": ["P1", "P2", "P3"], "place": ["a"] * 3, "dx": values})
    with pytest.raises(RefusedError, match=r"recipe\.anonymity"):
        run(wide, rows, demanding(2, sensitive=("dx",), l=3))
    with pytest.raises(RefusedError, match=r"recipe\.suppressed"):
        run(wide, rows, demanding(2, sensitive=("dx",), l=3, suppress=True, most_suppressed="0.5"))
    report = run(wide, rows, demanding(2, sensitive=("dx",), l=1)).report
    assert (report.before.diversity, report.after.diversity) == ({"dx": 3}, {"dx": 1})


def test_closeness_by_hand():
    """dx is x in 5 of 7 rows: class c has none, so its distance is 5/7; ages are ordered, so theirs is a mean shift."""
    found = classes(TABLE, PEOPLE, ["place"], ["dx"], 1)
    assert found.closeness["dx"] == pytest.approx(5 / 7)
    ages = [30, 30, 31, 32, 40, 41, 50]
    ranks = sorted(set(ages))
    whole = [ages.count(age) / 7 for age in ranks]
    expected = 0.0
    for part in ([30, 30, 31, 32], [40, 41], [50]):
        run_sum, total = 0.0, 0.0
        for age, share in zip(ranks, whole, strict=True):
            run_sum += part.count(age) / len(part) - share
            total += abs(run_sum)
        expected = max(expected, total / (len(ranks) - 1))
    assert classes(TABLE, PEOPLE, ["place"], ["age"], 1).closeness["age"] == pytest.approx(expected)


def test_a_demand_that_does_not_hold_is_refused():
    assert run(PEOPLE, TABLE, demanding(1)).report.holds
    for demand in (
        demanding(2), demanding(1, sensitive=("dx",), l=2), demanding(1, sensitive=("dx",), t="0.7"),
    ):  # fmt: skip
        with pytest.raises(RefusedError, match=r"recipe\.anonymity"):
            run(PEOPLE, TABLE, demand)
    assert not run(PEOPLE, TABLE, demanding(2, enforce=False)).report.holds


def test_suppression_leaves_out_rows_of_small_classes_and_says_how_many():
    done = run(PEOPLE, TABLE, demanding(2, suppress=True))
    assert done.report.suppressed == 1
    assert done.table.column("person").to_pylist() == ["P1", "p1 ", "P2", "P3", "P4", "P5", None]
    assert (done.report.before.smallest, done.report.after.smallest) == (1, 2)
    diverse = run(PEOPLE, TABLE, demanding(1, suppress=True, sensitive=("dx",), l=2))
    assert diverse.table.num_rows == 5
    with pytest.raises(RefusedError, match=r"recipe\.suppressed"):
        run(PEOPLE, TABLE, demanding(2, suppress=True, most_suppressed="0.1"))


def test_generalising_is_what_makes_classes_larger():
    recipe = r.Recipe(step=(TEN,), anonymity=r.Anonymity(quasi_identifiers=("age",), k=2, enforce=False))
    report = run(PEOPLE, TABLE, Recipe(recipe)).report
    assert (report.before.classes, report.after.classes) == (6, 3)
    assert (report.before.below, report.after.below) == (6, 1)


@pytest.mark.skipif(ADULT is None, reason="the UCI Adult table is not beside the repository")
def test_a_census_table_before_and_after():
    from cloister.provider import tables

    bands = ("<25", "[25,35)", "[35,45)", "[45,55)", "[55,65)", ">=65")
    sexes, races = ("Female", "Male"), ("White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other")
    declared = card(
        text("age", *bands), text("sex", *sexes), text("race", *races), number("hours-per-week"),
        number("income-over-50k", "0", "1"), key="", row_limit=1 << 16,
    )  # fmt: skip
    wanted = r.Anonymity(
        quasi_identifiers=("age", "sex", "race"), k=10, sensitive=("income-over-50k",), l=2, suppress=True
    )
    steps = (
        r.Generalise(columns=("age",), edges=("25", "35", "45", "55", "65")),
        r.TopBottomCode(columns=("hours-per-week",), high="80"), r.Drop(columns=("fnlwgt",)),
    )  # fmt: skip
    done = run(declared, tables.read(ADULT, declared), Recipe(r.Recipe(step=steps, anonymity=wanted)))
    raw = pd.read_csv(ADULT)
    sizes = raw.groupby(["age", "sex", "race"]).size()
    assert done.report.before.units == len(raw) == 32_561
    assert (done.report.before.smallest, done.report.before.classes) == (sizes.min(), len(sizes))
    assert done.report.before.below == sizes[sizes < 10].sum()
    raw["band"] = pd.cut(raw.age, [0, 25, 35, 45, 55, 65, 200], right=False)
    classes_after = raw.groupby(["band", "sex", "race"], observed=True)["income-over-50k"].agg(["size", "nunique"])
    kept = classes_after[(classes_after["size"] >= 10) & (classes_after["nunique"] >= 2)]
    assert done.report.after.smallest == kept["size"].min() >= 10
    assert done.report.suppressed == len(raw) - kept["size"].sum() > 0
    assert done.report.holds
    assert max(done.table.column("hours-per-week").to_pylist()) == 80


# Files, manifest, command ----------------------------------------------------------------------------

RECIPE = """
[[step]]
operator = "pseudonymise"
columns = ["person"]
domain = "people"

[[step]]
operator = "generalise"
columns = ["dx"]
hierarchy = "icd.csv"

[[step]]
operator = "drop"
columns = ["name"]

[anonymity]
quasi_identifiers = ["dx"]
k = 2
"""
SEALED = card(text("dx", "heart", "bone"))


@pytest.fixture
def files(tmp_path):
    rows = [["person", "dx", "name"], *([f"P{n}", ("I21", "S72")[n % 2], f"canary {n}"] for n in range(8))]
    with (tmp_path / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "icd.csv").write_text("I21,heart\nS72,bone\n")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "card.json").write_bytes(msgspec.json.encode(SEALED))
    hashed_keys.create_salt(tmp_path / "secret")
    return tmp_path


def test_the_manifest_says_how_and_holds_no_secret(files):
    key, secret = SigningKey.generate(), hashed_keys.read_salt(files / "secret")
    recipe = Recipe(r.read_recipe(files / "recipe.toml"), secret)
    done = seal(SEALED, files / "data.csv", files / "capsule", key, recipe=recipe)
    body = (done.directory / "manifest.json").read_bytes()
    manifest = capsule.open_manifest(msgspec.json.decode(body, type=envelope.Envelope), key.did)
    steps = told.treatments(manifest, SEALED.name)
    assert [(step.operator, step.columns) for step in steps] == [
        ("pseudonymise", ("person",)), ("generalise", ("dx",)), ("drop", ("name",)), ("k-anonymity", ("dx",))
    ]  # fmt: skip
    assert steps[0].parameters == {"domain": "people", "key": secret.id, "normaliser": "ascii-lower-strip"}
    assert set(steps[1].parameters) == {"hierarchy", "level"}
    assert steps[3] == Treatment("k-anonymity", ("dx",), {"k": "2", "suppress": "no"})
    signed = base64.b64decode(msgspec.json.decode(body, type=envelope.Envelope).payload)
    for leak in (secret.secret, base64.b64encode(secret.secret), secret.secret.hex().encode(), b"I21", b"canary"):
        assert leak not in signed
    assert done.anonymity.after.smallest == 4
    # What the recipe found is nowhere in the capsule; what it kept is as the card says.
    assert done.report.columns["dx"].unknown_category == 0
    assert done.report.left_out == ()


def test_a_manifest_without_a_recipe_is_as_it_was(files):
    key = SigningKey.generate()
    done = seal(card(text("dx", "I21")), files / "data.csv", files / "capsule", key)
    body = msgspec.json.decode((done.directory / "manifest.json").read_bytes(), type=envelope.Envelope)
    assert b"deidentified" not in base64.b64decode(body.payload)
    assert b"quality" not in base64.b64decode(body.payload)


def test_a_refused_recipe_seals_nothing(files):
    recipe = r.read_recipe(files / "recipe.toml")
    strict = msgspec.structs.replace(recipe, anonymity=r.Anonymity(quasi_identifiers=("dx",), k=5))
    with pytest.raises(RefusedError, match=r"recipe\.anonymity"):
        seal(SEALED, files / "data.csv", files / "capsule", SigningKey.generate(), recipe=Recipe(strict, SECRET))
    assert not list(files.glob("*capsule*"))


def test_files_that_are_no_recipes(files):
    for body in (
        "step = 1", "[[step]]\noperator = 'eval'\ncolumns = ['a']", "[levels]\n", "[[step]]\noperator = 'mask'", "\0",
        "[[step]]\noperator='generalise'\ncolumns=['a']\nhierarchy='none.csv'",
    ):  # fmt: skip
        (files / "bad.toml").write_text(body)
        with pytest.raises(MalformedError, match="recipe"):
            r.read_recipe(files / "bad.toml")
    for body in ("", "a\nb\n", "a,1\nb\n", "a,1\na,2\n"):
        (files / "icd.csv").write_text(body)
        with pytest.raises(MalformedError, match=r"recipe\.hierarchy"):
            r.read_recipe(files / "recipe.toml")


def test_columns_that_are_not_there_or_twice(files):
    recipe = Recipe(r.read_recipe(files / "recipe.toml"), SECRET)
    with pytest.raises(RefusedError, match=r"seal\.column"):
        run(SEALED, pa.table({"person": ["a"], "dx": ["I21"]}), recipe)
    twice = pa.Table.from_arrays([pa.array(["a"])] * 4, ["person", "dx", "name", "dx"])
    with pytest.raises(MalformedError, match=r"seal\.format"):
        run(SEALED, twice, recipe)


def test_column_names_are_never_sql():
    odd = "a\"; DROP TABLE t; --'"
    declared = card(number(odd), number("A"), number("a"))
    table = pa.table({"person": ["p"], odd: [39], "A": [1], "a": [55]})
    steps = (r.Generalise(columns=(odd, "a"), width="10"),)
    wanted = r.Anonymity(quasi_identifiers=(odd, "a", "A"), k=1)
    done = run(declared, table, Recipe(r.Recipe(step=steps, anonymity=wanted)))
    assert done.table.to_pydict() == {"person": ["p"], odd: [30], "A": [1], "a": [50]}


def test_the_engine_reads_no_file(files):
    with Rows(pa.table({"a": [1]})) as rows:
        for source in (f"read_csv('{files / 'data.csv'}')", f"'{files / 'data.csv'}'", "files"):
            with pytest.raises(duckdb.Error):
                rows.all(f"SELECT * FROM {source}")


def test_the_command_shows_classes_and_then_the_verdict(files):
    from cloister import cli

    names = [str(files / name) for name in ("card.json", "data.csv", "recipe.toml")]
    secret = ["--secret", str(files / "secret"), "--report", str(files / "report.json")]
    found = CliRunner().invoke(cli.whole(), ["deidentify", *names, *secret])
    assert found.exit_code == 0, found.output
    assert "smallest class (k)" in found.output
    assert "canary" not in found.output
    assert (files / "report.json").stat().st_mode & 0o077 == 0
    (files / "recipe.toml").write_text(RECIPE.replace("k = 2", "k = 5"))
    refused = CliRunner().invoke(cli.whole(), ["deidentify", *names, *secret])
    assert isinstance(refused.exception, RefusedError)
    assert refused.exception.code == "recipe.anonymity"
    assert "units below k" in refused.output
