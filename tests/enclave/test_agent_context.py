"""What the agent vouches for: who asks, why, after which code; and what it lets a vault ask for."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_world import LINK, AgentWorld, Notebook, cell

from cloister.attest.hello import BROKER_SESSION, new_hello
from cloister.receipt import code
from cloister.wire import canonical
from cloister.wire.frames import Kind
from cloister.wire.identity import SigningKey

pytestmark = pytest.mark.timeout(120)
ASK = "import json\nprint(json.dumps(L.request({op!r}, {plan!r})))"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentWorld]:
    world = AgentWorld(tmp_path_factory.mktemp("scripted"))
    package = world.copy_package()
    shutil.copyfile(Path(__file__).parent / "scripted_vault.py", package / "vault" / "__main__.py")
    world.start()
    try:
        yield world
    finally:
        world.stop()


def ask(op: str, plan: object = None) -> str:
    return LINK + ASK.format(op=op, plan=plan)


def test_context_is_the_agents_and_not_the_sandboxes(scripted: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(scripted) as notebook:
            source = ask("describe")
            context = json.loads(await notebook.run(source))["context"]
            assert context["session"] == notebook.session.session
            assert (context["analyst"], context["purpose"]) == (scripted.analyst.did, "teaching")
            assert context["cause"]["kind"] == "cell"
            assert context["cause"]["code"] == code.exact(source)
            assert context["cause"]["code_normalised"] == code.normalised(source)
            start = code.transcript_start(notebook.session.session)
            assert context["transcript"] == code.transcript_add(start, "execute_request", code.exact(source))

    asyncio.run(story())


def test_run_all_attributes_every_plan_to_its_own_cell(scripted: AgentWorld) -> None:
    """All cells are queued at once, as Lab does; an ``idle`` that is still on its way must not mislead."""

    async def story() -> None:
        async with Notebook(scripted) as notebook:
            sources = [f"{ask('describe')} # {n}" for n in range(12)]
            ids = [await notebook.send("execute_request", cell(source)) for source in sources]
            await notebook.wait_idle(ids[-1])
            transcript = code.transcript_start(notebook.session.session)
            for source, message_id in zip(sources, ids, strict=True):
                mine = [f for f in notebook.frames if f[2].get("msg_id") == message_id]
                context = json.loads("".join(f[3]["text"] for f in mine if f[1]["msg_type"] == "stream"))["context"]
                transcript = code.transcript_add(transcript, "execute_request", code.exact(source))
                assert (context["cause"]["message"], context["cause"]["code"]) == (message_id, code.exact(source))
                assert context["transcript"] == transcript

    asyncio.run(story())


def test_a_file_that_was_put_joins_the_transcript_and_a_refused_one_does_not(scripted: AgentWorld) -> None:
    data = b"a,b"
    digest = canonical.digest_bytes(data)

    async def story() -> None:
        async with Notebook(scripted) as notebook:
            for name in ("no/name", "regions.csv"):
                head = {"type": "put", "id": name, "name": name, "sha256": digest}
                await notebook.session.send(Kind.EVENT, json.dumps(head).encode(), data)
            source = ask("describe")
            transcript = json.loads(await notebook.run(source))["context"]["transcript"]
            expected = code.transcript_start(notebook.session.session)
            expected = code.transcript_add(expected, "put", code.put_code("regions.csv", digest))
            assert transcript == code.transcript_add(expected, "execute_request", code.exact(source))

    asyncio.run(story())


def test_background_work_is_called_background(scripted: AgentWorld) -> None:
    source = LINK + (
        "import threading, time\nseen = []\n"
        "def later():\n    time.sleep(.5); seen.append(L.request('describe')['context']['cause'])\n"
        "thread = threading.Thread(target=later); thread.start()\n"
    )

    async def story() -> None:
        async with Notebook(scripted) as notebook:
            await notebook.run(source)
            await asyncio.sleep(1)
            cause = json.loads(await notebook.run("import json; print(json.dumps(seen[0]))"))
            assert cause == {"kind": "background", "message": "", "code": "", "code_normalised": ""}

    asyncio.run(story())


def test_receipts_reach_the_proxy_before_the_value_reaches_the_cell(scripted: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(scripted) as notebook:
            await notebook.run(LINK)
            message_id = await notebook.send("execute_request", cell(ask("release", {})))
            while not any(f[1]["msg_type"] == "stream" for f in notebook.frames):
                await notebook.next()
            receipts = [event for event in notebook.events if event["type"] == "receipt"]
            assert receipts == [{"type": "receipt", "receipt": {"fake": "receipt"}, "parent": message_id}]
            assert [event["admission"] for event in notebook.events if event["type"] == "admission"]
            (rehearsed,) = [event for event in notebook.events if event["type"] == "rehearsal"]
            assert (rehearsed["parent"], rehearsed["rehearsal"]["question"]) == (message_id, "q")

    asyncio.run(story())


def test_a_vault_gets_evidence_for_its_own_keys_only(scripted: AgentWorld) -> None:
    contract = scripted.entry().contract_digest
    did = SigningKey.generate().did
    honest = new_hello(did, contract, BROKER_SESSION)
    refused = {
        "hello.contract": new_hello(did, "sha256:" + "0" * 64, BROKER_SESSION),
        "hello.role": honest.replace(b"broker-session", b"analyst-channel").replace(
            b'"rp_eph_pub":""', b'"rp_eph_pub":"' + b"A" * 43 + b'="'
        ),
        "hello.malformed": b"{}",
    }

    async def story() -> None:
        async with Notebook(scripted) as notebook:
            answer = json.loads(await notebook.run(ask("price", {"hello": honest.decode()})))
            assert answer["head"] == {"id": "1", "type": "offer"}
            assert answer["offer"]["vault_id"].startswith("did:key:")
            assert answer["offer"]["contract"] == contract
            for expected, hello in refused.items():
                answer = json.loads(await notebook.run(ask("price", {"hello": hello.decode()})))
                assert answer["head"]["type"] == "error"
                assert answer["head"]["error"]["code"] == expected

    asyncio.run(story())


def test_a_vault_cannot_answer_a_session_that_did_not_ask(scripted: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(scripted) as victim, Notebook(scripted) as notebook:
            await victim.run(LINK)
            plan = {"session": victim.session.session}
            await notebook.send("execute_request", cell(ask("describe", plan)))
            assert await victim.run("print(L._waiting)") == "{}\n"
            assert not [event for event in victim.events if event["type"] == "receipt"]

    asyncio.run(story())


def test_vault_configuration_and_environment(scripted: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(scripted) as notebook:
            answer = json.loads(await notebook.run(ask("describe")))
            assert answer["config"] == ["approvals", "assurance", "capsules", "cards", "contract", "env_digest", "mode"]
            assert "CLOISTER_HOME" not in answer["env"]

    asyncio.run(story())
