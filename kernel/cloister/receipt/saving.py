"""What is left out of a notebook when it is saved: outputs that rest on results of too high a tier.

Which tier files may hold is a rule of the contract's pack (``contract/storage.py``).
Who knows it is the proxy on the analyst's machine: the vault signs the tier of every result, and the receipt arrives
before the sandbox has the value. From then on whatever the sandbox shows may rest on it, so every output of the session
carries a mark in its metadata, under a key that the sandbox cannot use; for outputs that have no metadata (``stream``,
``error``) a mark stands before them in their cell. A saved cell with a mark keeps none of its outputs.

Pure; notebooks are plain dictionaries of nbformat 4.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import msgspec

from cloister.contract.storage import Unsaved, words
from cloister.receipt.bundle import METADATA_KEY

MARK_KEY = "unsaved"
PLACE_KEY = "left_out"
WITHHELD_KEY = "withheld"
WIDGETS_KEY = "widgets"


def mark(why: Unsaved) -> dict[str, Any]:
    """Return the output that stands before what may not be saved."""
    return _output(f"From here on the outputs of this cell are {words(why)}", MARK_KEY, why)


def marked(metadata: dict[str, Any], why: Unsaved) -> dict[str, Any]:
    """Return the metadata of an output with the mark."""
    place = metadata.get(METADATA_KEY)
    return {**metadata, METADATA_KEY: {**_dict(place), MARK_KEY: msgspec.to_builtins(why)}}


def placeholder(why: Unsaved) -> dict[str, Any]:
    """Return the output that a saved cell has in the place of its own."""
    text = (
        f"Not in this file: the outputs of this cell, shown after a result of tier {why.tier}. "
        f"Files hold nothing that rests on one above tier {why.highest}"
        + (f", says the pack {why.pack}" if why.pack else "")
        + f" ({why.rule}). To see them again, run the cell under the contract: what was released is recalled free."
    )
    return _output(text, PLACE_KEY, why)


def withheld(why: Unsaved) -> dict[str, Any]:
    """Return the output that is shown in the place of others where nothing would take these out of files."""
    text = (
        f"Not shown: the outputs of this cell come after a result of tier {why.tier}, and no file holds what rests on "
        f"one above tier {why.highest} ({why.rule}). Whatever started this kernel would save them. They are shown in a "
        "JupyterLab or Notebook whose server has Cloister's extension (`cloister doctor` says whether yours has)."
    )
    return _output(text, WITHHELD_KEY, why)


def is_own(output: dict[str, Any]) -> bool:
    """Tell whether an output is a placeholder, a mark or what stands for withheld ones, and says nothing else."""
    place = _dict(_dict(output.get("metadata")).get(METADATA_KEY))
    for key, make in ((PLACE_KEY, placeholder), (MARK_KEY, mark), (WITHHELD_KEY, withheld)):
        try:
            if key in place and _joined(output) == make(msgspec.convert(place[key], type=Unsaved)):
                return True
        except (msgspec.ValidationError, RecursionError):
            continue
    return False


def _output(text: str, key: str, why: Unsaved) -> dict[str, Any]:
    data = {"text/plain": text, "text/html": f"<em>{html.escape(text)}</em>"}
    metadata = {METADATA_KEY: {key: msgspec.to_builtins(why)}}
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def strip(notebook: dict[str, Any], *, widgets: bool = True) -> int:
    """Take out of a notebook what may not be saved, in place; return from how many cells something was taken.

    Args:
        notebook: Of nbformat 4, or anything: what is malformed has no mark.
        widgets: Whether states of widgets may stay where no output has a mark.
    """
    taken, cells = 0, notebook.get("cells")
    for cell in cells if isinstance(cells, list) else ():
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        if isinstance(outputs, list) and (found := list(_marks(outputs))):
            # All of them: front ends join streams, and an output can be replaced by a later cell.
            cell["outputs"] = [placeholder(max(found))]
            taken += 1
    metadata = notebook.get("metadata")
    # States of widgets are one heap, and callbacks change them without any cell.
    if isinstance(metadata, dict) and (taken or not widgets or next(_marks(metadata.get(WIDGETS_KEY)), None)):
        metadata.pop(WIDGETS_KEY, None)
    return taken


def has_marks(notebook: dict[str, Any]) -> bool:
    """Tell whether a mark is anywhere in a notebook."""
    return next(_marks(notebook), None) is not None


def _marks(value: Any) -> Iterator[Unsaved]:
    """Yield every mark at any depth: an output widget holds outputs of its own."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            place = item.get(METADATA_KEY)
            if isinstance(place, dict):
                yield from _of_place(place)
            stack.extend(item.values())


def _of_place(place: dict[str, Any]) -> Iterator[Unsaved]:
    releases = place.get("releases")
    said = [item.get(MARK_KEY) for item in releases if isinstance(item, dict)] if isinstance(releases, list) else []
    for found in (place.get(MARK_KEY), *said):
        if found is not None:
            try:
                yield msgspec.convert(found, type=Unsaved)
            except msgspec.ValidationError:
                yield Unsaved(0, 0, "", "its mark cannot be read")


def _joined(output: dict[str, Any]) -> dict[str, Any]:
    """Return an output with long texts as one, however the file stores them."""
    data = {
        name: "".join(value) if isinstance(value, list) and all(isinstance(line, str) for line in value) else value
        for name, value in _dict(output.get("data")).items()
    }
    return {**output, "data": data}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
