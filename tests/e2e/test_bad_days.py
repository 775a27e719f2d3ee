"""Bad input and bad days, in a notebook: every one is a CloisterError with code, reason and next step; nothing is
lost, leaked or charged twice, and the kernel goes on."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import psutil
import pytest
from living_demo import CellError

HEAD = "import cloister as cl\nfrom cloister import CloisterError\nv = cl.table('st_anna.visits')\n"


def refused(kernel, code: str) -> str:
    """Run a cell that must end in a CloisterError; return its code, and whether it has a reason and a next step."""
    tried = f"try:\n    {code}\n    print('RELEASED')\n"
    caught = "except CloisterError as e:\n    print(e.code, bool(e.reason), bool(e.next_step))"
    return kernel.run(HEAD + tried + caught).strip()


def spent(kernel) -> str:
    text = kernel.run("import cloister as cl\nprint(cl.budget())")
    return re.search(r"(\d+) of [\d,]+ releases", text).group(1)


@pytest.fixture(scope="module")
def kernel(demo):
    with demo.kernel() as kernel:
        yield kernel


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("cl.table('st_anna.nothing')", r"\w+\.table"),
        ("v.nothing.mean()", r"\w+\.column"),
        ("v.patient_id.mean()", r"[\w.]+"),
        ("v.bmi.mean(epsilon=-1)", r"[\w.]+"),
        ("v.bmi.mean(epsilon=float('nan'))", r"[\w.]+"),
        ("v.bmi.mean(epsilon=1e9)", r"[\w.]+"),
        ("v.bmi.mean(share=2)", r"[\w.]+"),
        ("v.head()", r"api\.head"),
        ("(v.cost * v.cost * v.cost * v.cost * v.cost * v.cost * v.cost).sum()", r"[\w.]+"),
        ("v.groupby('date').bmi.mean()", r"[\w.]+"),
    ],
)
def test_what_cannot_be_released_is_refused_and_costs_nothing(kernel, code, expected):
    before = spent(kernel)
    found, reason, step = refused(kernel, code).split()
    assert re.fullmatch(expected, found)
    assert (reason, step) == ("True", "True")
    assert spent(kernel) == before


RAW = """
import os, json
from cloister.wire import frames
fd = int(os.environ["CLOISTER_LINK_FD"])
def ask(body):
    os.write(fd, frames.encode(frames.Kind.REQUEST, body))
    decoder = frames.Decoder()
    while True:
        for frame in decoder.feed(os.read(fd, 65536)):
            return json.loads(frame.parts[0])
"""


@pytest.fixture(scope="module")
def raw_kernel(demo):
    """A kernel in which nobody imported cloister: its link is read by the cell alone."""
    with demo.kernel() as kernel:
        yield kernel


@pytest.mark.parametrize(
    "body",
    [
        "json.dumps({'id': 1, 'op': 'release'}).encode()",
        "json.dumps({'id': 1, 'op': 'drop', 'plan': {}}).encode()",
        "json.dumps({'id': 1, 'op': 'release', 'plan': {'op': 'sql', 'text': 'select * from t'}}).encode()",
        "json.dumps({'id': 1, 'op': 'release', 'plan': {'op': 'table', 'name': 'st_anna.visits'}}).encode()",
    ],
    ids=["no plan", "unknown op", "sql", "rows"],
)
def test_malformed_plans_on_the_raw_link_get_a_code_and_the_vault_lives(raw_kernel, kernel, body):
    answer = raw_kernel.run(f"{RAW}\nprint(ask({body}))", timeout=30)
    assert "'error'" in answer
    assert re.search(r"'code': '[a-z_]+\.[a-z_]+'", answer)
    assert "Traceback" not in answer
    assert "±" in kernel.run(HEAD + "v.bmi.mean().release")


@pytest.mark.parametrize(
    "body",
    [
        "b'garbage'",
        "b'{}'",
        "b'{\"id\":1,\"op\":\"release\",\"plan\":' + b'[' * 50000 + b']' * 50000 + b'}'",
        "json.dumps({'id': 1, 'op': 'release', 'plan': {'x': 'y' * 2_000_000}}).encode()",
    ],
    ids=["garbage", "no id", "deep", "oversized"],
)
def test_nonsense_on_the_link_ends_the_sandbox_with_a_code_and_nothing_else(demo, kernel, body):
    # The link is one stream: after nonsense no byte of it can be trusted to start a frame.
    with demo.kernel() as victim:
        try:
            answer = victim.run(f"{RAW}\nprint(ask({body}))", timeout=30)
        except CellError as error:
            answer = str(error)
        assert re.search(r"[a-z_]+\.[a-z_]+", answer)
        assert "next" in answer
    assert "±" in kernel.run(HEAD + "v.bmi.mean().release")


def test_exhausted_budget_is_refused_with_what_is_left(fresh_demo):
    with fresh_demo.kernel() as kernel:
        kernel.run(HEAD + "v.bmi.mean(share=0.9)")
        text = kernel.run(HEAD + "try:\n    v.age.mean(share=0.2)\nexcept CloisterError as e:\n    print(e)")
        assert "budget" in text
        assert "next step" in text
        assert "±" in kernel.run(HEAD + "v.age.mean(share=0.05).release")


def test_two_notebooks_at_once_see_one_budget(demo):
    with demo.kernel() as first, demo.kernel() as second:
        before = int(spent(first))
        first.run(HEAD + "v.cost.mean(share=0.01)")
        second.run(HEAD + "v.cost.mean(share=0.011)")
        assert int(spent(first)) == int(spent(second)) == before + 2


def test_killed_vault_is_replaced_and_nothing_is_charged_twice(fresh_demo):
    with fresh_demo.kernel() as kernel:
        first = kernel.run(HEAD + "print(float(v.bmi.mean()))")
        (vault,) = fresh_demo.processes("cloister.vault")
        vault.kill()
        time.sleep(0.5)
        for _ in range(3):
            answer = refused(kernel, "print(float(v.bmi.mean()))")
            if "RELEASED" in answer:
                break
            assert answer.endswith("True True")
        assert first.strip() in answer
        assert spent(kernel) == "1"


def test_an_interrupted_release_says_what_to_do_and_is_charged_once(fresh_demo):
    with fresh_demo.kernel() as kernel:
        kernel.run(HEAD)
        # The first release opens the table, which takes its planned second: time enough to lose patience.
        threading.Timer(0.4, kernel.manager.interrupt_kernel).start()
        reply, _ = kernel.messages(HEAD + "v.bmi.mean(share=0.03)")
        assert reply["ename"] == "KeyboardInterrupt"
        shown = "\n".join(reply["traceback"])
        assert "next step: run the cell again: nothing more is charged" in shown
        assert "line 4: v.bmi.mean(share=0.03)" in shown
        assert not re.search(r"threading\.py|link\.py|session\.py", shown)
        first = kernel.run(HEAD + "print(float(v.bmi.mean(share=0.03)))")
        assert kernel.run(HEAD + "print(float(v.bmi.mean(share=0.03)))") == first
        assert spent(kernel) == "1"


def test_killed_sandbox_is_reported_as_dead_and_the_budget_stays(fresh_demo):
    with fresh_demo.kernel() as kernel:
        kernel.run(HEAD + "v.bmi.mean()")
        (sandbox,) = fresh_demo.processes("cloister.enclave.jail")
        sandbox.kill()
        time.sleep(0.5)
        reply, _ = kernel.messages("1 + 1", timeout=10)
        assert reply["status"] == "error"
        assert re.search(r"\[[a-z_]+\.[a-z_]+\]", reply["evalue"])
        assert "next step" in reply["evalue"]
    with fresh_demo.kernel() as kernel:
        assert spent(kernel) == "1"


@pytest.mark.parametrize("part", ["cloister.enclave.bridge", "cloister.enclave --config"])
def test_killed_bridge_or_agent_answers_within_a_second(fresh_demo, part):
    with fresh_demo.kernel() as kernel:
        kernel.run(HEAD + "v.bmi.mean()")
        (process,) = fresh_demo.processes(part)
        process.kill()
        time.sleep(0.5)
        start = time.monotonic()
        reply, _ = kernel.messages("1 + 1", timeout=10)
        assert time.monotonic() - start < 1
        assert reply["status"] == "error"
        assert "next step" in reply["evalue"]
        assert kernel.client.kernel_info(reply=True, timeout=5)["content"]["status"] == "ok"
    with fresh_demo.kernel() as kernel:
        assert "±" in kernel.run(HEAD + "v.bmi.mean().release")
        assert spent(kernel) == "1"


def test_broker_down_stops_releases_and_a_retry_pays_once(fresh_demo):
    with fresh_demo.kernel() as kernel:
        kernel.run(HEAD + "v.bmi.mean()")
        (broker,) = fresh_demo.processes("cloister.provider")
        os.kill(broker.pid, signal.SIGSTOP)
        found = refused(kernel, "v.age.mean()")
        assert found.endswith("True True")
        assert "RELEASED" not in found
        os.kill(broker.pid, signal.SIGCONT)
        assert "±" in kernel.run(HEAD + "v.age.mean().release")
        assert spent(kernel) == "2"


def test_full_disk_at_the_ledger_charges_nothing_and_a_retry_pays_once(fresh_demo):
    with fresh_demo.kernel() as kernel:
        kernel.run(HEAD + "v.bmi.mean()")
        (broker,) = fresh_demo.processes("cloister.provider")
        broker.rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))
        found = refused(kernel, "v.age.mean()")
        assert found == "ledger.unavailable True True"
        broker.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        assert "±" in kernel.run(HEAD + "v.age.mean().release")
        assert spent(kernel) == "2"


@pytest.mark.parametrize("victim", ["*.parquet", "manifest.json", "card.json"])
def test_tampered_capsule_opens_for_nobody(fresh_demo, victim):
    folder = fresh_demo.home / "demo" / "world" / "capsules" / "st_anna.visits"
    path = sorted(folder.rglob(victim))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    if victim == "card.json":
        done = fresh_demo.command("demo", "up")
        assert done.returncode == 1
        assert "next step" in done.stderr
        return
    with fresh_demo.kernel() as kernel:
        found = refused(kernel, "v.bmi.mean()")
        assert "RELEASED" not in found
        assert found.endswith("True True")


def test_changed_code_is_refused_until_the_measurement_is_approved_anew(fresh_demo, tmp_path):
    import shutil
    from pathlib import Path

    import cloister

    tree = tmp_path / "tree"
    shutil.copytree(Path(cloister.__file__).parent, tree / "cloister", ignore=shutil.ignore_patterns("__pycache__"))
    with (tree / "cloister" / "vault" / "noise.py").open("a") as source:
        source.write("#")
    with fresh_demo.kernel(PYTHONPATH=str(tree)) as kernel:
        reply, _ = kernel.messages("1 + 1", timeout=30)
        assert reply["status"] == "error"
        assert "appraisal.env_digest" in reply["evalue"]
        assert "cloister demo reset" in "".join(reply["traceback"])  # the everyday cause: an update
        assert kernel.client.kernel_info(reply=True, timeout=5)["content"]["status"] == "ok"
