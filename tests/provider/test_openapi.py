"""The HTTP surface is what its OpenAPI document says; health and metrics tell nothing of data; nonsense has to wait."""

from __future__ import annotations

import json
import os

import hypothesis
import pytest
import schemathesis
from log_world import spend
from provider_world import POPULATION, World
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks
from starlette.testclient import TestClient

from cloister.provider import openapi, operators, rate, restored, server
from cloister.provider.server import create_app

EXAMPLES = int(os.environ.get("CLOISTER_SCHEMATHESIS_EXAMPLES", "2"))
MANY = int(os.environ.get("CLOISTER_SCHEMATHESIS_MANY", "200"))
HURRY = list(hypothesis.HealthCheck)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("http"))
    spend(made, 1)
    yield made
    made.broker.close()


@pytest.fixture
def client(world):
    return TestClient(create_app(world.broker))


def test_every_route_is_documented_and_every_documented_route_is_served(world, client):
    document = client.get("/v1/openapi.json").json()
    assert document == json.loads(json.dumps(openapi.document()))
    served = {(route.path, method) for route in create_app(world.broker).routes for method in route.methods - {"HEAD"}}
    said = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert served == said


def metrics(world, client):
    operators.make_token(world.home)
    token = world.home.metrics_file.read_text()
    return client.get("/v1/metrics", headers={"authorization": f"Bearer {token}"}).text


def test_metrics_and_health_name_nobody(world, client):
    text = metrics(world, client)
    assert 'cloister_requests_total{op="append",status="ok"} 1' in text
    assert "cloister_read_only 0" in text
    for secret in (POPULATION, world.analyst.did, world.digest, "1/1000", world.provider.did):
        assert secret not in text
        assert secret not in client.get("/v1/health").text


def test_health_of_a_restored_broker(make_world):
    world = make_world()
    world.broker.close()
    restored.set_mark(world.home, restored.Mark("a test", "2026-06-01T00:00:00Z"))
    world.broker = world.start()
    client = TestClient(create_app(world.broker))
    assert client.get("/v1/health").json() == {"status": "read-only"}
    assert "cloister_read_only 1" in metrics(world, client)


def test_who_sends_nonsense_has_to_wait_and_nobody_else(world, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(server, "Rate", lambda: rate.Rate(lambda: now[0], burst=5))
    app = create_app(world.broker)
    noisy, other = (TestClient(app, client=(address, 1)) for address in ("192.0.2.1", "192.0.2.2"))
    codes = [noisy.post("/v1/append", content=b"nonsense").status_code for _ in range(7)]
    assert codes == [400] * 5 + [429] * 2
    assert noisy.post("/v1/hello", content=b"{}").status_code == 429
    assert other.post("/v1/append", content=b"nonsense").status_code == 400
    now[0] += 1
    assert noisy.post("/v1/append", content=b"nonsense").status_code == 400


@pytest.fixture
def unlimited(world, monkeypatch):
    monkeypatch.setattr(server, "Rate", lambda: rate.Rate(burst=10**9))
    return world


def _run(app, examples: int, seed: int, paths: set[str]) -> None:
    """Operations with generated bodies, valid and invalid by schema: no 5xx, and answers as documented.

    That a body which follows its schema is accepted is not asked: nobody but the key's owner can sign one.
    """
    asked = [
        schemathesis.checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
    ]
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app)
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path not in paths:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and operation.method == "get":
                continue  # nothing of them can be wrong

            @hypothesis.seed(seed)
            @hypothesis.settings(max_examples=examples, deadline=None, database=None, suppress_health_check=HURRY)
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def check(case) -> None:
                case.call_and_validate(checks=asked)

            check()
            seen.add(operation.path)
    assert seen == paths


def test_the_document_holds_for_generated_requests(unlimited):
    _run(create_app(unlimited.broker), EXAMPLES, 1, {"/v1/hello", "/v1/append", "/v1/health"})


@pytest.mark.slow
def test_the_document_holds_for_many_generated_requests(unlimited):
    paths = set(openapi.document()["paths"]) - {"/v1/openapi.json"}  # the tool leaves out what it has read already
    _run(create_app(unlimited.broker), MANY, 2, paths)
