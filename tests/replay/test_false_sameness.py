"""A saved cell that shows something else than the replay must never be called the same, however it is spelt."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import MalformedError
from cloister.replay import figures, source
from cloister.replay.compare import WIDGET_MIME, compare
from cloister.reviewer.notebook import CodeCell
from cloister.reviewer.numbers import Released

Output = dict[str, Any]
PIXEL = "iVBORw0KGgo="


def shown(**data: Any) -> Output:
    return {"output_type": "display_data", "data": {name.replace("_", "/"): v for name, v in data.items()}}


def printed(text: Any) -> Output:
    return {"output_type": "stream", "name": "stdout", "text": text}


def failed(value: str, *traceback: str, **more: Any) -> Output:
    return {"output_type": "error", "ename": "ValueError", "evalue": value, "traceback": list(traceback), **more}


def state(saved: list[Output], ran: list[Output]) -> str:
    return compare(CodeCell(0, "work()", tuple(saved)), tuple(ran), "").state


@pytest.mark.parametrize(
    ("saved", "ran"),
    [
        pytest.param(
            [shown(text_plain="5"), {"output_type": "display_data", "data": {WIDGET_MIME: {"model_id": "made-up"}}}],
            [shown(text_plain="5")],
            id="a widget whose state the author wrote into the file",
        ),
        pytest.param(
            [failed("no", "mean income: 99,999")], [failed("no", "ValueError: no")], id="a traceback, which is shown"
        ),
        pytest.param(
            [failed("mean 99,999", "ValueError: no", data={"error": "ValueError: no\nValueError: no"})],
            [failed("no", "ValueError: no")],
            id="data that call themselves the error",
        ),
        pytest.param([printed("income 99,999 a year\rincome 5")], [printed("income 5")], id="a line half covered"),
        pytest.param([shown(text_html="<b>99,999</b>\r<b>5</b>")], [shown(text_html="<b>5</b>")], id="HTML"),
        pytest.param([shown(text_html="99,999\x08")], [shown(text_html="99,99")], id="HTML takes nothing back"),
        pytest.param(
            [shown(application_json=[99999])], [shown(application_json=[5])], id="lists in JSON are not lines of a text"
        ),
        pytest.param([shown(text_plain=["mean ", 99999])], [shown(text_plain="mean ")], id="pages join numbers too"),
        pytest.param([shown(text_plain="5"), shown(text_latex="99,999")], [shown(text_plain="5")], id="one more"),
        pytest.param([], [shown(text_plain="5")], id="one less"),
        pytest.param([shown(image_png=PIXEL)], [shown(image_png=PIXEL + "AA")], id="another picture"),
    ],
)  # fmt: skip
def test_what_people_see_differs(saved: list[Output], ran: list[Output]) -> None:
    assert state(saved, ran) == "differs"


@pytest.mark.parametrize(
    ("saved", "ran"),
    [
        pytest.param([printed("10 %\r20 %\r\ndone\n")], [printed("20 %\ndone")], id="a progress bar"),
        pytest.param([printed("ab\x08\x08cd")], [printed("cd")], id="backspaces"),
        pytest.param([printed(["a\n", "b"])], [printed("a\n"), printed("b")], id="lines and pieces"),
        pytest.param(
            [failed("no", "\x1b[31mFile /usr/lib/x.py:12\x1b[0m, in f")],
            [failed("no", "File /opt/python/x.py:12, in f")],
            id="where a library lies",
        ),
    ],
)
def test_what_people_see_is_the_same(saved: list[Output], ran: list[Output]) -> None:
    assert state(saved, ran) == "same"


def test_a_widget_on_both_sides_is_not_compared() -> None:
    one, other = ({"output_type": "display_data", "data": {WIDGET_MIME: {"model_id": name}}} for name in "ab")
    assert state([one], [other]) == "not compared"


def test_facts_too_deep_to_compare_differ() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    assert state([{**shown(), "metadata": {"cloister": deep}}], [shown()]) == "differs"


def test_a_picture_that_stays_is_constant_whatever_its_notebook_says_was_drawn() -> None:
    """The drawn numbers come from the sandbox, so hostile code can name any; the picture it cannot move by words."""
    one, other = (
        {"data": {"image/png": PIXEL, figures.DRAWN_MIME: {"drawn": [value]}}} for value in (52_312.0, 52_400.0)
    )
    assert figures.compare(one, other, Released([], [52_312.0])).kind == "constant"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_chosen_must_be_a_file(tmp_path: Path, kind: str) -> None:
    path = {"pipe": tmp_path / "pipe.ipynb", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)

    def attempt() -> None:
        with contextlib.suppress(MalformedError):
            source.read(path)

    reader = threading.Thread(target=attempt, daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive(), "reading it does not end"
    with pytest.raises(MalformedError, match="no file"):
        source.read(path)
