"""The oracle answers what receipts say, refuses as a vault does, and believes only bundles that verify."""

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from signed_world import ENV, Story

from cloister.attest.releases import SoftwareRelease, sign_release
from cloister.contract.clauses import Software
from cloister.errors import CloisterError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Cause, Context, Request
from cloister.replay import source
from cloister.replay.book import ReplayBook
from cloister.replay.oracle import Oracle
from cloister.reviewer.trust import MeasurementPin, ProviderPin, ReviewerTrust
from cloister.reviewer.verify import verify
from cloister.wire import canonical
from cloister.wire.identity import SigningKey

NOW = datetime(2026, 6, 2, tzinfo=UTC)
Notebook = dict[str, Any]


def written(folder: Path, notebook: Notebook, name: str = "n.ipynb") -> Path:
    path = folder / name
    path.write_text(json.dumps(notebook))
    return path


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def oracle(story: Story, tmp_path: Path) -> Oracle:
    return Oracle(source.load((written(tmp_path, story.notebook()),)))


def ask(oracle: Oracle, op: str, plan: Any = None, **changes: Any) -> Any:
    context = Context(oracle.session, oracle.analyst, oracle.purpose, "", Cause("cell", "m"))
    return oracle.answer(msgspec.structs.replace(context, **changes), Request(1, op, plan))  # type: ignore[arg-type]


def refusal(oracle: Oracle, op: str, plan: Any, **changes: Any) -> CloisterError:
    with pytest.raises(CloisterError) as caught:
        ask(oracle, op, plan, **changes)
    return caught.value


def test_a_release_is_answered_by_its_receipt_and_asked_again_it_is_recalled(story: Story, oracle: Oracle) -> None:
    first, second = (ask(oracle, "release", story.means.plan) for _ in range(2))
    assert first.result["raw"] == list(story.means.raw)
    assert first.result["plan_digest"] == story.means.plan_digest
    assert (first.result["recalled"], second.result["recalled"]) == (False, True)
    assert len(first.receipts) == len(first.admissions) == 1


def test_another_spelling_of_the_same_plan_is_the_same_question(story: Story, oracle: Oracle) -> None:
    spelt = dict(reversed(story.means.plan.items()))
    assert ask(oracle, "release", spelt).result["release"] == story.means.release


def test_a_question_without_a_receipt_is_named_in_words_with_what_is_near(story: Story, oracle: Oracle) -> None:
    dearer = {**story.means.plan, "rho": "1/3"}
    error = refusal(oracle, "release", dearer)
    assert error.code == "replay.unknown"
    assert "clinic.visits: mean of bmi by sex, at epsilon" in error.reason
    assert [form.rpartition(" ")[0] for form in error.nearest] == ["the same at epsilon"]
    assert "with an enclave" in error.next_step
    other = codec.encode(a.VectorSum(a.Table("clinic.visits"), (a.Sum("bmi", a.Col("bmi")),), "1/3"))
    assert refusal(oracle, "release", other).nearest == ()


def test_it_refuses_as_a_vault_does_and_prices_as_one(story: Story, oracle: Oracle) -> None:
    unknown = codec.encode(a.VectorSum(a.Table("clinic.beds"), (a.Count("n"),), "1/3"))
    assert refusal(oracle, "release", unknown).code == "plan.table"
    assert refusal(oracle, "price", {"nonsense": 1}).code == "plan.malformed"
    assert refusal(oracle, "release", story.count.plan, purpose="marketing").code == "contract.purpose"
    price = ask(oracle, "price", story.means.plan).result
    assert price["cells"] == 3
    assert ask(oracle, "describe").result["mode"] == "confidential"


def test_the_budget_is_what_the_brokers_signed(tour: Path) -> None:
    oracle = Oracle(source.load((tour,)))
    receipts = list(oracle.source.receipts.values())
    context = Context(oracle.session, oracle.analyst, oracle.purpose, "", Cause("background"))

    def spent(name: str) -> list[Any]:
        return [limit["spent"] for limit in oracle.budget(context)["limits"] if limit["name"] == name]

    assert set(spent("privacy")) == {"0"}
    assert spent("releases") == [0]
    for number, receipt in enumerate(receipts, 1):
        ask(oracle, "release", receipt.plan)
        assert spent("releases") == [number]
        assert receipt.charges[0].spent in spent("privacy")
    before = oracle.budget(context)
    ask(oracle, "release", receipts[0].plan)
    assert oracle.budget(context) == before, "what is recalled costs nothing"


def test_perturbed_values_move_by_a_few_sigmas_and_never_look_like_receipts(story: Story, tmp_path: Path) -> None:
    found = source.load((written(tmp_path, story.notebook()),))
    one, other = Oracle(found, perturbed=True), Oracle(found, perturbed=True)
    moved = ask(one, "release", story.means.plan)
    assert moved.result["raw"] == ask(other, "release", story.means.plan).result["raw"]
    sigma = float.fromhex(story.means.noise[0].sigma)
    steps = [abs(int(now) - int(then)) / sigma for now, then in zip(moved.result["raw"], story.means.raw, strict=True)]
    assert all(1.9 <= step <= 4.1 for step in steps)
    assert moved.result["receipt"] is None
    assert moved.receipts == ()
    envelope = msgspec.to_builtins(found.bundle.receipts[0])
    with pytest.raises(CloisterError, match=r"receipt\.unknown"):
        ReplayBook(one).accept(envelope, "m")


def test_the_book_shows_what_the_notebook_showed_and_no_other_receipt(story: Story, oracle: Oracle) -> None:
    book = ReplayBook(oracle)
    envelope = msgspec.to_builtins(story.world.sign(story.count))
    assert book.accept(envelope, "m") == story.world.facts(story.count)
    assert book.accept(envelope, "m") == story.world.facts(story.count, recalled=True)
    foreign = Story()
    with pytest.raises(CloisterError, match=r"receipt\.unknown"):
        book.accept(msgspec.to_builtins(foreign.world.sign(foreign.count)), "m")


def edited(document: dict[str, Any], change: Any) -> None:
    body = json.loads(base64.b64decode(document["payload"]))
    change(body)
    document["payload"] = base64.b64encode(canonical.encode(body)).decode()


@pytest.mark.parametrize(
    ("part", "change", "line"),
    [
        ("receipts", lambda body: body.update(raw=["2003"]), "receipt.forged"),
        ("receipts", lambda body: body.update(session="other"), "receipt.forged"),
        ("admissions", lambda body: body.update(vault_id="did:key:z6MkfalseX"), "admission.forged"),
        ("cards", lambda body: body.update(title="Other"), "card.missing"),
    ],
)
def test_a_bundle_that_does_not_verify_is_refused_with_the_line_that_fails(
    story: Story, tmp_path: Path, part: str, change: Any, line: str
) -> None:
    notebook = story.notebook()
    edited(notebook["metadata"]["cloister"]["bundle"][part][0], change)
    with pytest.raises(CloisterError) as caught:
        source.load((written(tmp_path, notebook),))
    assert caught.value.code == "replay.bundle"
    assert line in caught.value.reason
    assert "step " in caught.value.reason


def test_a_cell_being_edited_does_not_stop_a_replay(story: Story, tmp_path: Path) -> None:
    """In the Lab people edit; what the cells show is compared by the command, not by the kernel."""
    notebook = story.notebook()
    notebook["cells"][1]["source"] = "v.count() * 2"
    assert len(source.load((written(tmp_path, notebook),)).receipts) == 2


# Which notebook ---------------------------------------------------------------------------------------


def test_the_environment_decides_then_the_session_then_the_folder(story: Story, tmp_path: Path) -> None:
    one, other = written(tmp_path, story.notebook(), "a.ipynb"), written(tmp_path, story.notebook(), "b.ipynb")
    plain = written(tmp_path, {"cells": [], "metadata": {}}, "plain.ipynb")
    named = {"JPY_SESSION_NAME": str(other)}
    assert source.find({"CLOISTER_REPLAY": "a.ipynb", **named}, tmp_path) == (one,)
    assert source.find(named, tmp_path) == (other,)
    assert source.find({"JPY_SESSION_NAME": str(plain)}, tmp_path) == (one, other)
    assert source.find({"JPY_SESSION_NAME": "console-1"}, tmp_path) == (one, other)
    assert len(source.load((one, other)).receipts) == 2


def test_several_notebooks_verify_together_as_each_does_alone(tmp_path: Path) -> None:
    """Evidence and software releases are carried too, each document once."""
    signer = SigningKey.generate()
    story = Story(terms={"software": Software((signer.did,), "1.2", overlap_days=7)})
    world, time = story.world, "2026-01-01T00:00:00Z"
    releases = [sign_release(SoftwareRelease(version, signer.did, ENV, time), signer) for version in ("1.2", "1.3")]
    shared = world.exchange()
    parts = [
        {"receipts": [world.sign(story.count)], "evidence": [shared], "software": releases[:1]},
        {"receipts": [world.sign(story.means)], "evidence": [shared, world.exchange()], "software": releases},
    ]
    alone = [written(tmp_path, story.notebook(**part), f"{number}.ipynb") for number, part in enumerate(parts)]
    merged = source.load(tuple(alone)).bundle
    assert (len(merged.receipts), len(merged.admissions), len(merged.evidence), len(merged.releases)) == (2, 1, 2, 2)
    together = copy.deepcopy(story.plain)
    together["metadata"]["cloister"] = {"bundle": msgspec.to_builtins(merged)}
    pinned = ReviewerTrust(provider=(ProviderPin(world.provider.did),), measurement=(MeasurementPin(ENV),))
    one, other, both = (
        {(line.step, line.level, line.code) for line in verify(notebook, now=NOW, trust=pinned).findings}
        for notebook in (*map(source.read, alone), together)
    )
    assert (6, "ok", "agreed.software") in one & other & both
    # Of the order of two receipts no notebook with one of them speaks.
    assert both - {(10, "ok", "run.order")} <= one | other


def test_a_folder_of_two_contracts_is_not_guessed_and_an_empty_one_says_what_to_do(
    story: Story, tmp_path: Path
) -> None:
    with pytest.raises(CloisterError) as nothing:
        source.find({}, tmp_path)
    assert nothing.value.code == "replay.nothing"
    assert "cloister bundle" in nothing.value.next_step
    written(tmp_path, story.notebook(), "a.ipynb")
    written(tmp_path, Story().notebook(), "b.ipynb")
    with pytest.raises(CloisterError) as which:
        source.find({}, tmp_path)
    assert which.value.code == "replay.which"
    assert which.value.nearest == ("CLOISTER_REPLAY=a.ipynb", "CLOISTER_REPLAY=b.ipynb")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"metadata": {"cloister": {"bundle": 1}}}'])
def test_a_chosen_file_that_is_no_notebook(tmp_path: Path, text: str) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(text)
    with pytest.raises(CloisterError) as caught:
        source.load(source.find({"CLOISTER_REPLAY": str(path)}, tmp_path))
    assert caught.value.code in {"replay.notebook", "replay.bundle"}


def test_the_answers_of_a_refined_value_are_told_apart_by_their_draw(story: Story, tmp_path: Path) -> None:
    """A replayed notebook refines again: the sandbox combines what two receipts answer, and nothing else is known."""
    world = story.world
    second = world.receipt("v.count().release.refine(share=0.1)", (1017,), sigma=2.0)
    second = world.renamed(second, plan={**second.plan, "draw": 1})
    receipts = [world.sign(receipt) for receipt in (story.count, second, story.means)]
    oracle = Oracle(source.load((written(tmp_path, story.notebook(receipts=receipts)),)))
    answers = [ask(oracle, "release", plan).result["raw"] for plan in (story.count.plan, second.plan)]
    assert answers == [["1003"], ["1017"]]
    third = {**second.plan, "draw": 2}
    assert refusal(oracle, "release", third).code == "replay.unknown"
