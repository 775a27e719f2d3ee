"""Lines against real processes: files through the attested channel, prices of a real mock vault, real widgets."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Client, kernel

from cloister.analyst.live import CONTROL_TARGET, VIEW_MIME
from cloister.receipt.rehearsal import REHEARSAL_MIME

COUNT = "import cloister as cl; n = cl.table('st_anna.visits').age.count()"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebook's folder: Jupyter starts a kernel there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data_of(client: Client, line: str) -> list[dict]:
    cell = client.run(line)
    assert cell.content["status"] == "ok", cell.content
    return [content["data"] for content in cell.of("display_data")]


def test_files_go_in_and_out_and_the_budget_is_as_of_now(attested: str, folder: Path) -> None:
    (folder / "regions.csv").write_text("region,weight\nnorth,2\n")
    with kernel(attested) as client:
        before = data_of(client, "%cloister budget")[0]["text/plain"]
        assert "delta 0.000001" in before
        put = client.run("%cloister put regions.csv")
        assert put.of("display_data")[0]["metadata"]["cloister"]["put"]["name"] == "regions.csv"
        cell = client.run(
            "import pandas as pd, os\nprint(pd.read_csv('regions.csv').weight.sum())\n"
            "open('plot.png', 'wb').write(os.urandom(2_000_000)); os.symlink('/etc/passwd', 'link')"
        )
        assert cell.text() == "2\n"
        assert client.run("%cloister get plot.png").content["status"] == "ok"
        assert (folder / "plot.png").stat().st_size == 2_000_000
        assert "file.kind" in client.run("%cloister get link").content["evalue"]
        assert "file.missing" in client.run("%cloister get nothing").content["evalue"]
        # A line that is queued right behind a release shows what that release cost.
        client.kc.execute(COUNT)
        after = data_of(client, "%cloister budget")[0]["text/plain"]
        spent = [line for line in after.splitlines() if line not in before.splitlines()]
        assert any(line.strip().startswith("privacy of st_anna.patients") for line in spent)
        assert "  releases" in after


def test_a_rehearsal_is_priced_by_the_mock_vault(attested: str, folder: Path) -> None:
    with kernel(f"{attested}-mock") as client:
        cell = client.run(COUNT)
        (shown,) = [content for content in cell.of("display_data") if REHEARSAL_MIME in content["data"]]
        assert "st_anna.visits: count" in shown["data"]["text/plain"]
        assert "would cost 2 % of st_anna.patients (epsilon 0." in shown["data"]["text/plain"]
        (rehearsed,) = shown["metadata"]["cloister"]["rehearsals"]
        assert rehearsed["costs"][0]["population"] == "st_anna.patients"
        assert "nothing is charged" in data_of(client, "%cloister budget")[0]["text/plain"]
        assert client.run("1 + 1").of("display_data") == []


def test_real_widgets_and_ours_come_back_to_a_page_and_a_cell_cannot_link_them(attested: str, folder: Path) -> None:
    with kernel(attested) as client:
        view = data_of(client, "%cloister status")[1][VIEW_MIME]["model_id"]
        cell = client.run("import ipywidgets as w; s = w.HTML('forged'); display(s); print(s.model_id)")
        theirs = cell.text().strip()
        # A second model that calls itself ours, and a link that the page would carry out.
        linked = client.run(
            f"ours = w.HTML('x'); ours.comm.comm_id = {view!r}\nlink = w.jslink((s, 'value'), (ours, 'value'))"
        )
        assert "reserved" in linked.text("stderr")
        client.run("ours.comm.comm_id = 'renamed'")
        ask(client, "comm_open", {}, target_name=CONTROL_TARGET)
        ask(client, "comm_msg", {"method": "request_states"})
        while (told := client.wait_output("comm_msg")["content"])["comm_id"] != "page":
            pass
        states = told["data"]["states"]
        assert "Simulated" in states[view]["state"]["value"]
        assert states[theirs]["state"]["value"] == "forged"


def ask(client: Client, msg_type: str, data: dict, **content: str) -> None:
    """Say something on the page's control comm, in the version that ipywidgets asks for."""
    message = client.kc.session.msg(msg_type, {"comm_id": "page", "data": data, **content})
    message["metadata"] = {"version": "1.0.0"}
    client.kc.shell_channel.send(message)
