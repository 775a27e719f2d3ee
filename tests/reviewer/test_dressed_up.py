"""False numbers dressed up as released ones: whatever an output calls itself, ``verify`` says what it is."""

from __future__ import annotations

from typing import Any

import pytest
from signed_world import Story, code_cell, result
from test_verify import check, codes, failures

from cloister.receipt import rehearsal
from cloister.receipt.facts import Cost
from cloister.receipt.rehearsal import REHEARSAL_MIME, RehearsalFacts

Output = dict[str, Any]


@pytest.fixture
def story() -> Story:
    return Story()


def with_output(story: Story, output: Output, source: str = "work()") -> dict[str, Any]:
    notebook = story.notebook()
    notebook["cells"].append(code_cell(source, output))
    return notebook


def rehearsed(question: str = "count of clinic.visits") -> Output:
    data, metadata = rehearsal.display([RehearsalFacts("r", question, (Cost("clinic.patients", "0.1", "1 %"),))])
    return {"output_type": "display_data", "data": data, "metadata": metadata}


@pytest.mark.parametrize("kind", ["stream", "error", "execute_result", "update_display_data"])
def test_a_true_chip_in_an_output_of_which_pages_show_other_fields(story: Story, kind: str) -> None:
    notebook = story.notebook()
    true = notebook["cells"][1]["outputs"][1]
    notebook["cells"][1]["outputs"][1] = {
        **true, "output_type": kind, "name": "stdout", "text": "Cloister: released 9,999", "traceback": ["9,999"],
    }  # fmt: skip
    assert (9, "chip.malformed") in failures(check(notebook))


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "display_data", "data": {"text/plain": "54321"}, "text": ""},
        {"output_type": "display_data", "data": {"text/plain": "54321", "image/none": ""}},
        {"output_type": "error", "ename": "E", "evalue": "54321", "traceback": []},
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["\x1b[31m54321\x1b[0m"]},
        {"output_type": "stream", "name": "stdout", "text": ["mean ", 54321]},
        {"output_type": "display_data", "data": {"text/latex": "$54321$"}},
    ],
)
def test_numbers_are_read_wherever_a_page_shows_them(story: Story, output: Output) -> None:
    assert check(story.notebook()).counts.numbers_unaccounted == 0
    assert check(with_output(story, output)).counts.numbers_unaccounted == 1


def test_a_cell_without_code_has_no_excuse_for_a_number(story: Story) -> None:
    assert check(with_output(story, result("54321"), source="")).counts.numbers_unaccounted == 1


def test_the_answer_of_a_line_is_said_to_be_signed_by_nobody(story: Story) -> None:
    report = check(with_output(story, result("mean income 54321"), source="%cloister status"))
    line = next(found for found in report.findings if found.code == "line.unsigned")
    assert (line.level, "cells 3:" in line.text) == ("note", True)
    assert "line.unsigned" not in codes(check(story.notebook()), 13)


@pytest.mark.parametrize(
    "data",
    [
        {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}},
        {"application/json": {"mean": 54321}},
        {"application/vnd.vegalite.v5+json": {}},
    ],
)
def test_types_that_are_not_read_are_named(story: Story, data: dict[str, Any]) -> None:
    report = check(with_output(story, {"output_type": "display_data", "data": data}))
    assert "output.not_read" in codes(report, 13)


@pytest.mark.parametrize(
    "html", ["<img src='data:image/png;base64,x'>", "<style>b::after{content:'54321'}</style><b></b>"]
)
def test_html_that_shows_more_than_its_text_is_a_figure(story: Story, html: str) -> None:
    report = check(with_output(story, {"output_type": "display_data", "data": {"text/html": html}}))
    assert "figure.not_compared" in codes(report, 13)


def without_type(story: Story) -> Output:
    chip = story.world.chip(story.world.facts(story.count))
    data = {name: text.replace("1,003", "9,999") for name, text in chip["data"].items() if name.startswith("text/")}
    return {"output_type": "display_data", "data": data, "metadata": {}}


@pytest.mark.parametrize("kept", ["text/plain", "text/html"])
def test_a_chip_without_its_type(story: Story, kept: str) -> None:
    output = without_type(story)
    output["data"] = {kept: output["data"][kept]}
    assert (9, "chip.imitation") in failures(check(with_output(story, output)))


def test_a_chip_that_is_printed(story: Story) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": without_type(story)["data"]["text/plain"]}
    assert (9, "chip.imitation") in failures(check(with_output(story, output)))


def test_an_unknown_type_of_the_proxy(story: Story) -> None:
    output = {"output_type": "display_data", "data": {"application/vnd.cloister.release.v2+json": {}}}
    assert (9, "chip.imitation") in failures(check(with_output(story, output)))


def test_a_rehearsal_is_named_and_nothing_else(story: Story) -> None:
    report = check(with_output(story, rehearsed()))
    assert not failures(report)
    assert "chip.rehearsal" in codes(report, 9)


@pytest.mark.parametrize("change", ["html", "text", "figure", "facts", "type"])
def test_a_rehearsal_in_other_words(story: Story, change: str) -> None:
    output = rehearsed()
    data = output["data"]
    if change == "html":
        data["text/html"] = "<b>Cloister</b>: mean income 54,321, as released"
    elif change == "text":
        data["text/plain"] = "mean income 54,321"
    elif change == "figure":
        data["image/png"] = "x"
    elif change == "facts":
        output["metadata"]["cloister"]["rehearsals"][0]["question"] = "another"
    else:
        del data[REHEARSAL_MIME]
    assert (9, "chip.imitation") in failures(check(with_output(story, output)))
