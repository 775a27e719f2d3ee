"""nbclient and ipywidgets: what users run on top of the protocol."""

from __future__ import annotations

from collections.abc import Iterator

import nbformat
import pytest
from harness import Client, kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def notebook(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])


def test_nbclient_runs_a_notebook() -> None:
    executed = NotebookClient(
        notebook("x = 40", "print(x + 2)", "x", "%cloister status"), kernel_name="cloister-local", timeout=30
    ).execute()
    outputs = [cell.outputs for cell in executed.cells]
    assert outputs[1][0].text == "42\n"
    assert outputs[2][0].data["text/plain"] == "40"
    assert "Local test session" in outputs[3][0].data["text/plain"]
    assert [cell.execution_count for cell in executed.cells[:3]] == [1, 2, 3]


def test_nbclient_reports_a_refused_enclave() -> None:
    with pytest.raises(CellExecutionError, match=r"appraisal\.measurement"):
        NotebookClient(notebook("1"), kernel_name="cloister-refused", timeout=30).execute()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with kernel("cloister-local") as client:
        yield client


def test_widgets_speak_both_ways(client: Client) -> None:
    shown = client.run("import ipywidgets\ns = ipywidgets.IntSlider(3)\ns")
    view = shown.of("execute_result")[0]["data"]["application/vnd.jupyter.widget-view+json"]
    opened = {content["comm_id"]: content["data"]["state"] for content in shown.of("comm_open")}
    assert opened[view["model_id"]]["value"] == 3
    moved = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    client.comm("comm_msg", {"comm_id": view["model_id"], "data": moved})
    assert client.run("s.value").of("execute_result")[0]["data"]["text/plain"] == "7"
    updates = [content["data"] for content in client.run("s.value = 9").of("comm_msg")]
    assert {"value": 9} in [update["state"] for update in updates]


def test_widget_outputs_cannot_carry_reserved_types(client: Client) -> None:
    forged = client.run(
        "out = ipywidgets.Output()\n"
        "out.outputs = ({'output_type': 'display_data', 'metadata': {},"
        " 'data': {'application/vnd.cloister.release.v1+json': {}}},)"
    )
    assert not any("outputs" in content["data"]["state"] for content in forged.of("comm_msg"))
    assert "reserved" in forged.text("stderr")


def test_forged_chip_from_a_real_kernel_is_dropped(client: Client) -> None:
    cell = client.run(
        "from IPython.display import display\n"
        "display({'application/vnd.cloister.release.v1+json': {}, 'text/plain': '1 release'}, raw=True)"
    )
    assert not cell.of("display_data")
    assert "reserved" in cell.text("stderr")
