"""Capsules with several tables: a recipe and figures for each, units across them, and what is bound to which."""

from __future__ import annotations

import functools
import json

import msgspec
import pytest
import typer
from click.testing import CliRunner
from provider_world import ENV

from cloister import cli
from cloister.attest.policy import write_policy
from cloister.contract import capsule, told
from cloister.contract.card import Card, Column
from cloister.contract.lineage import PublishedQuality
from cloister.errors import CloisterError, RefusedError, TrustError
from cloister.provider import catalogue, folder, hashed_keys
from cloister.provider.home import BrokerHome
from cloister.provider.keys import create_identity, load_identity
from cloister.provider.quality import published
from cloister.wire import canonical

CARD = Card(
    name="clinic.visits", title="Visits", description="Visits of a year", unit="patient", key=("patient",),
    normaliser="ascii-lower-strip", population="clinic.patients", rows_per_unit=3, row_limit=64, grade="demonstration",
    source="register", retention="one year", purposes=("research",),
    columns=(
        Column("patient", "string", 2, "Who", personal=True),
        Column("age", "int", 2, "Years", low="0", high="110", step="10"),
        Column("sex", "string", 2, "Sex", domain=("f", "m")),
    ),
)  # fmt: skip
STAYS = msgspec.structs.replace(
    CARD, name="clinic.stays", title="Stays", description="Nights in the ward", rows_per_unit=1,
    columns=(CARD.columns[0], Column("days", "int", 3, "Nights", low="0", high="30", step="1")),
)  # fmt: skip
POLICY = write_policy("test", tees=("simulator",), simulated=True, env_digests=(ENV,))
TEN = '[[step]]\noperator = "generalise"\ncolumns = ["age"]\nwidth = "10"\n'
HIDE = '[[step]]\noperator = "pseudonymise"\ncolumns = ["patient"]\ndomain = "{}"\n'
CLASSES = '[anonymity]\nquasi_identifiers = ["{}"]\nk = {}\n'


@pytest.fixture
def files(tmp_path):
    """Two tables of one population with their cards and recipes; patient p9 has a stay and no visit."""
    visits = [f"p{n},{30 + n % 2 * 7},{'fm'[n % 2]}" for n in range(8)]
    (tmp_path / "visits.csv").write_text("\n".join(["patient,age,sex", *visits, ""]))
    (tmp_path / "stays.csv").write_text("\n".join(["patient,days", *(f"P{n},{n % 2}" for n in (0, 1, 2, 3, 9)), ""]))
    for name, card in (("card", CARD), ("stays", STAYS)):
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(card))
    (tmp_path / "visits.toml").write_text(TEN + HIDE.format("patients") + CLASSES.format("sex", 4))
    (tmp_path / "stays.toml").write_text(HIDE.format("patients") + CLASSES.format("days", 2))
    hashed_keys.create_salt(tmp_path / "secret")
    create_identity(tmp_path / "clinic.key")
    BrokerHome.create(tmp_path / "broker", POLICY)
    return tmp_path


@functools.cache
def command():
    """The whole command line, put together once: that takes longer than most of what is run here."""
    return typer.main.get_command(cli.whole())


def run(files, *arguments: str):
    """Run a command; an argument of the form ``@name`` (or ``text=@name``) is a file."""
    return CliRunner().invoke(command(), [text.replace("@", f"{files}/") for text in arguments])


BOTH = ("--also", "@stays.json=@stays.csv")
RECIPES = ("--recipe", "clinic.visits=@visits.toml", "--recipe", "clinic.stays=@stays.toml", "--secret", "@secret")


def seal(files, *options: str):
    keys = ("--key", "@clinic.key", "--broker", "@broker", "--out", "@capsule")
    return run(files, "seal", "@card.json", "@visits.csv", *BOTH, *keys, *options)


def measure(files, *options: str):
    return run(files, "quality", "@visits.csv", "--card", "@card.json", *BOTH, *options)


PUBLISH = ("--publish", "validity", "--published", "@figures.json", "--report", "@report.json")


def code(result) -> str:
    assert isinstance(result.exception, CloisterError), result.output
    assert result.exception.next_step
    return result.exception.code


@pytest.fixture
def sealed(files):
    """Both tables, each with its recipe and its figures."""
    assert measure(files, *RECIPES, *PUBLISH).exit_code == 0
    done = seal(files, *RECIPES, "--quality", "@figures.json")
    assert done.exit_code == 0, done.output
    return done


# Recipes ---------------------------------------------------------------------------------------------


def test_each_table_says_how_it_was_treated_and_the_provider_sees_the_classes_of_each(files, sealed):
    held = folder.read(files / "capsule")
    told_of = {
        name: [step.operator for step in told.treatments(held.manifest, name)] for name in (CARD.name, STAYS.name)
    }
    assert told_of == {
        CARD.name: ["generalise", "pseudonymise", "k-anonymity"], STAYS.name: ["pseudonymise", "k-anonymity"]
    }  # fmt: skip
    assert sealed.output.count("smallest class (k)") == 2
    for name, quasi in ((CARD.name, "agree in sex"), (STAYS.name, "agree in days")):
        assert sealed.output.index(f"{name}:") < sealed.output.index(quasi)


def test_one_secret_serves_all_recipes_with_pseudonyms_and_no_other(files):
    (files / "stays.toml").write_text(CLASSES.format("days", 2))
    (files / "stays.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(STAYS, population="ward.people")))
    assert seal(files, *RECIPES).exit_code == 0
    treated = folder.read(files / "capsule").manifest
    assert "key" in told.treatments(treated, CARD.name)[1].parameters
    assert code(seal(files, *RECIPES[2:])) == "recipe.secret"
    assert code(seal(files, *RECIPES[:4], "--secret", "clinic.stays=@secret")) == "recipe.secret"


@pytest.mark.parametrize(
    "options",
    [
        ("--recipe", "@visits.toml"),
        ("--recipe", "clinic.other=@visits.toml"),
        ("--recipe", "clinic.visits=@visits.toml", "--recipe", "clinic.visits=@stays.toml"),
        ("--recipe", "clinic.visits="),
    ],
)
def test_a_recipe_of_several_tables_names_its_table_once(files, options):
    refused = seal(files, *options, "--secret", "@secret")
    assert code(refused) == "option.table"
    assert set(refused.exception.nearest) == {CARD.name, STAYS.name}
    assert not (files / "capsule").exists()


WAYS = {"plain": CLASSES.format("days", 2), "another domain": HIDE.format("others"), "no recipe": None}


@pytest.mark.parametrize("way", WAYS)
def test_one_population_has_one_pseudonym_for_a_person(files, way):
    stays = WAYS[way]
    options = RECIPES
    if stays is None:
        options = (*RECIPES[:2], *RECIPES[4:])
    else:
        (files / "stays.toml").write_text(stays)
    assert code(seal(files, *options)) == "recipe.together"
    # Other people may be called whatever their recipe says.
    (files / "stays.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(STAYS, population="ward.people")))
    assert seal(files, *options).exit_code == 0


def test_a_demand_that_one_table_does_not_meet_seals_none(files):
    (files / "stays.toml").write_text(HIDE.format("patients") + CLASSES.format("days", 3))
    assert code(seal(files, *RECIPES)) == "recipe.anonymity"
    assert not list(files.glob("*capsule*"))


# Units across tables ---------------------------------------------------------------------------------


def test_units_of_one_table_that_another_lacks_are_counted(files):
    reports = {one["table"]: one for one in json.loads(measure(files, "--json").output)}
    across = {
        name: next(one for one in report["measures"] if one["name"].startswith("units found in"))
        for name, report in reports.items()
    }
    assert {name: (one["good"], one["total"], one["scored"]) for name, one in across.items()} == {
        CARD.name: (4, 8, False), STAYS.name: (4, 5, False)
    }  # fmt: skip
    assert "units_in" in across[STAYS.name]["note"]
    # Only the provider knows that a stay without a visit is wrong, and a visit without a stay is not.
    (files / "rules.toml").write_text('units_in = ["clinic.visits"]\n')
    asked = ("--rules", "clinic.stays=@rules.toml", "--at-least", "consistency=0.81")
    below = measure(files, *asked)
    assert code(below) == "quality.below"
    assert "clinic.stays consistency" in below.exception.reason
    assert "clinic.visits" not in below.exception.reason
    assert "P9" not in below.output
    assert "P9" in measure(files, *asked, "--show-examples").output


def test_recipes_are_measured_as_they_will_be_sealed(files):
    before = {one["table"]: one for one in json.loads(measure(files, "--json").output)}
    after = {one["table"]: one for one in json.loads(measure(files, *RECIPES, "--json").output)}

    def found(reports):
        measures = reports[STAYS.name]["measures"]
        return next((one["good"], one["total"]) for one in measures if one["name"] == "units found in clinic.visits")

    assert found(before) == found(after) == (4, 5)
    assert before[CARD.name]["plots"]["rows_per_unit"] == after[CARD.name]["plots"]["rows_per_unit"]


@pytest.mark.parametrize(
    "change", [{"population": "ward.people"}, {"unit": "none", "key": ()}, {"normaliser": "exact"}]
)
def test_tables_of_other_units_are_not_compared(files, change):
    (files / "stays.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(STAYS, **change)))
    (files / "rules.toml").write_text('units_in = ["clinic.visits"]\n')
    assert "units found" not in measure(files).output
    assert code(measure(files, "--rules", "clinic.stays=@rules.toml")) == "quality.reference"


# Figures that are bound ------------------------------------------------------------------------------


def test_figures_are_written_per_table_and_the_reports_stay(files, sealed):
    manifest = folder.read(files / "capsule").manifest
    for card in (CARD, STAYS):
        figures = told.quality(manifest, card.name)
        own = (files / f"report.{card.name}.json").read_bytes()
        assert figures.figures == {"validity": "1.00"}
        assert figures.report == canonical.digest_bytes(own)
        assert figures.card == manifest.table(card.name).card
    # What binds them on the way to the capsule stays at home: a salt would let others test guesses of the data.
    private = published.read([files / "figures.json"])[CARD.name]
    assert (files / "figures.json").stat().st_mode & 0o077 == 0
    body = (files / "capsule" / "manifest.json").read_bytes()
    assert not any(secret.encode() in canonical.encode(manifest) + body for secret in (private.salt, private.data))
    shown = run(files, "capsule", "show", "@capsule")
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("quality, at least: validity 1.00") == 2


def test_figures_are_of_the_data_and_the_card_that_are_sealed(files):
    assert measure(files, *RECIPES, *PUBLISH).exit_code == 0
    figures = ("--quality", "@figures.json")
    # Measured as a recipe makes them, and sealed without it, or with one value changed.
    assert code(seal(files, *figures)) == "quality.data"
    original = (files / "stays.csv").read_text()
    (files / "stays.csv").write_text(original.replace("P3,1", "P3,0"))
    assert code(seal(files, *RECIPES, *figures)) == "quality.data"
    (files / "stays.csv").write_text(original)
    (files / "stays.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(STAYS, title="Other")))
    assert code(seal(files, *RECIPES, *figures)) == "quality.card"
    assert not list(files.glob("*capsule*"))
    assert code(seal(files, "--quality", "@figures.json", "--quality", "@figures.json")) == "quality.table"


def test_figures_of_another_table_or_capsule_are_refused_when_shown(files, sealed):
    key, held = load_identity(files / "clinic.key"), folder.read(files / "capsule")
    one, other = held.manifest.tables
    swapped = tuple(msgspec.structs.replace(mine, quality=its.quality) for mine, its in ((one, other), (other, one)))
    better = msgspec.structs.replace(one.quality, card=other.card)
    unbound = PublishedQuality(one.quality.figures, one.quality.report, one.quality.as_of)
    foreign = msgspec.structs.replace(one.quality, parts="sha256:" + "0" * 64)
    altered = [
        swapped,
        *((msgspec.structs.replace(one, quality=quality), other) for quality in (better, unbound, foreign)),
    ]
    place = files / "capsule" / "manifest.json"
    for tables in altered:
        manifest = msgspec.structs.replace(held.manifest, tables=tables)
        with pytest.raises(TrustError, match=r"capsule\.quality"):
            told.quality(manifest, one.name)
        # Its provider can sign such a manifest; nobody is shown the figures.
        place.write_bytes(canonical.encode(capsule.seal_manifest(manifest, key)))
        assert code(run(files, "capsule", "show", "@capsule")) == "capsule.quality"
        again = folder.read(files / "capsule")
        offered = catalogue.Offered(again.card_documents, again.document)
        with pytest.raises(TrustError, match=r"capsule\.quality"):
            catalogue.submit(None, again.digest, offered, key.did, visible=["*"])
    edited = held.document.payload.replace(held.document.payload[-8:], "AAAAAAAA")
    place.write_bytes(canonical.encode(msgspec.structs.replace(held.document, payload=edited)))
    assert isinstance(run(files, "capsule", "show", "@capsule").exception, CloisterError)


def test_what_earlier_versions_said_of_a_capsule_is_read_of_its_one_table(files):
    assert run(
        files, "seal", "@card.json", "@visits.csv", "--key", "@clinic.key", "--broker", "@broker", "--out", "@capsule",
        "--recipe", "@visits.toml", "--secret", "@secret",
    ).exit_code == 0  # fmt: skip
    manifest = folder.read(files / "capsule").manifest
    steps = manifest.tables[0].deidentified
    table = msgspec.structs.replace(manifest.tables[0], deidentified=msgspec.UNSET)
    former = msgspec.structs.replace(
        manifest, tables=(table,), deidentified=steps, quality=PublishedQuality({"validity": "0.98"}, "", "2026-01-01")
    )
    assert told.treatments(former, CARD.name) == steps
    with pytest.raises(TrustError, match=r"capsule\.quality"):
        told.quality(former, CARD.name)


# The catalogue ---------------------------------------------------------------------------------------


def test_the_catalogue_lists_every_table_of_a_capsule(files, sealed):
    digest = folder.read(files / "capsule").digest
    submitted = run(files, "catalogue", "submit", "@broker", "@capsule", "--visible", "did:key:friend")
    assert submitted.exit_code == 0, submitted.output
    assert "clinic.visits, clinic.stays" in submitted.output
    unseen = run(files, "catalogue", "search", "@broker", "--as", "did:key:friend")
    assert "nothing is offered" in unseen.output
    assert run(files, "catalogue", "publish", "@broker", digest).exit_code == 0
    for words, names in (((), {"visits", "stays"}), (("nights",), {"stays"}), (("visits", "nights"), set())):
        found = run(files, "catalogue", "search", "@broker", *words, "--as", "did:key:friend").output
        assert {name for name in ("visits", "stays") if f"clinic.{name}" in found} == names
    assert "nothing is offered" in run(files, "catalogue", "search", "@broker", "--as", "did:key:other").output
    shown = run(files, "catalogue", "show", "@broker", digest).output
    assert shown.count("quality, at least: validity 1.00") == 2
    assert "de-identified: pseudonymise, k-anonymity" in shown
    for action, after in (("submit", "catalogue.state"), ("publish", "catalogue.state")):
        which = "@capsule" if action == "submit" else digest
        assert code(run(files, "catalogue", action, "@broker", which)) == after
    assert run(files, "catalogue", "deprecate", "@broker", digest).exit_code == 0
    assert run(files, "catalogue", "withdraw", "@broker", digest).exit_code == 0
    assert "nothing is offered" in run(files, "catalogue", "search", "@broker", "--as", "did:key:friend").output


@pytest.mark.parametrize("change", ["one card", "other order", "no manifest", "another manifest", "not signed"])
def test_an_entry_is_a_manifest_and_every_card_of_it(files, sealed, change):
    held = folder.read(files / "capsule")
    cards, document, digest, provider = held.card_documents, held.document, held.digest, held.manifest.provider
    wanted = {"one card": "catalogue.cards", "other order": "catalogue.cards", "no manifest": "catalogue.cards"}
    wanted |= {"another manifest": "capsule.manifest", "not signed": "signature.missing"}
    cards = {"one card": cards[:1], "other order": cards[::-1]}.get(change, cards)
    document = None if change == "no manifest" else document
    digest = "sha256:" + "0" * 64 if change == "another manifest" else digest
    provider = create_identity(files / "other.key").did if change == "not signed" else provider
    with pytest.raises(CloisterError) as refused:
        catalogue.submit(None, digest, catalogue.Offered(cards, document), provider, visible=["*"])
    assert refused.value.code == wanted[change]


def test_a_broker_without_the_key_offers_nothing(files, sealed):
    BrokerHome.create(files / "other", POLICY)
    refused = run(files, "catalogue", "submit", "@other", "@capsule")
    assert code(refused) == "catalogue.key"
    assert isinstance(refused.exception, RefusedError)
