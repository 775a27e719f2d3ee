"""The OpenAPI document of a broker, built from the structs that are decoded and the routes that are served."""

from __future__ import annotations

from typing import Any

import msgspec

from cloister import __name__ as package
from cloister.provider import alert_stream, limits, passes
from cloister.wire.envelope import Envelope

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_REFUSALS = {
    "400": "Not what it must be.",
    "403": "Not signed by whom it names, or no role may do this.",
    "408": "The body did not arrive in time.",
    "409": "Two histories of one broker.",
    "411": "The request does not say how long it is.",
    "413": "The body is larger than requests of this kind are.",
    "429": "Too many requests from this address.",
    "503": "The accounts cannot be written or read now, or the broker holds as many requests as it can.",
}
_SIGNED = "A DSSE envelope; the payload is the canonical JSON of {kind} ({where})."
_RAISES = _SIGNED.format(kind="Raises", where="cloister/receipt/alerts.py")
_REFUSED_ALERTS = ("400", "403", "429", "503")
_OFFICE = f"`{alert_stream.SCHEME} ` and the base64url of a signed request for `alert.follow` (docs/roles.md)."
_POSTS: tuple[tuple[str, str, str, str], ...] = (
    ("/v1/session", "Admit a vault: its evidence is appraised, its epoch raised, data keys are sealed to it.", "SessionRequest", "ledger"),  # noqa: E501
    ("/v1/append", "Charge an account; the same charge gets the same answer for ever.", "AppendRequest", "ledger"),
    ("/v1/settle", "Deposit the sealed receipt of a charge, once.", "SettleRequest", "ledger"),
    ("/v1/tip", "Where an account stands.", "TipRequest", "ledger"),
    ("/v1/office", "An action of an administrator, analyst or auditor (docs/roles.md).", "Ask", "office"),
)  # fmt: skip


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    contract: str
    vault_id: str


class _Error(msgspec.Struct):
    kind: str
    code: str
    reason: str
    clause: str
    next_step: str
    nearest: list[str]


class _Refusal(msgspec.Struct):
    error: _Error


class _Health(msgspec.Struct):
    status: str


def document() -> dict[str, Any]:
    """Return the document (OpenAPI 3.1)."""
    kinds = (Envelope, _Question, _Refusal, _Health)
    (envelope, question, refusal, health), schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    perhaps = {"anyOf": [envelope, {"type": "null"}]}
    paths: dict[str, Any] = {
        "/v1/health": {"get": _get("Does the broker serve, or only read?", _content(health))},
        "/v1/metrics": {"get": _metrics(_content(refusal))},
        "/v1/alerts": {"get": _alerts(_content(envelope), _content(refusal))},
        "/v1/openapi.json": {"get": _get("This document.", _content({"type": "object"}))},
        "/v1/hello": {"post": _post("A fresh hello for a vault.", question, {"type": "object"}, refusal)},
        "/v1/anchor": {
            "post": _post(
                "Take up a peer's checkpoint: an AnchorRequest that the peer signed.", envelope, envelope, refusal
            )
        },
        "/v1/anchor/newest": {
            "post": _post(
                "The newest checkpoint seen of the peer that signs the AnchorRequest.", envelope, perhaps, refusal
            )
        },
    }
    for path, words, kind, where in _POSTS:
        signed = _SIGNED.format(kind=kind, where=f"cloister/receipt/{where}.py")
        paths[path] = {"post": _post(f"{words} {signed}", envelope, envelope, refusal)}
    for path, most in limits.BODY.items():
        _limit(paths[path]["post"]["requestBody"], most)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{package.partition('.')[0].title()} broker",
            "version": "1",
            "description": "Requests and replies are signed documents; HTTP and TLS are not relied on.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "operator": {"type": "http", "scheme": "bearer"},
                "office": {"type": "apiKey", "in": "header", "name": "Authorization", "description": _OFFICE},
            },
        },
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {_JSON: {"schema": schema}}


def _get(words: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"summary": words, "responses": {"200": {"description": "The answer.", "content": content}}}


def _metrics(refusal: dict[str, Any]) -> dict[str, Any]:
    said = _get("Counters without data, for the broker's operator.", {"text/plain": {"schema": {"type": "string"}}})
    said["responses"]["403"] = {"description": "Not the operator's token.", "content": refusal}
    said["security"] = [{"operator": []}]
    return said


def _alerts(content: dict[str, Any], refusal: dict[str, Any]) -> dict[str, Any]:
    said = _get("Alerts in the event log from a position on; waits for one if asked to. " + _RAISES, content)
    said["responses"] |= {code: {"description": _REFUSALS[code], "content": refusal} for code in _REFUSED_ALERTS}
    said["parameters"] = [
        _query("after", "Position in the event log: 0, or `next` of the answer before.", alert_stream.MOST_POSITION),
        _query("wait", f"Seconds to wait for an alert, at most {alert_stream.MOST_WAIT_S}.", 10**6),
    ]
    said["security"] = [{"operator": []}, {"office": []}]
    return said


def _query(name: str, words: str, most: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 0, "maximum": most}
    return {"name": name, "in": "query", "description": words, "required": False, "schema": schema}


def _limit(body: dict[str, Any], most: int) -> None:
    body["x-max-bytes"] = most
    body["description"] = f"At most {most:,} bytes, with a content-length."
    if most > limits.STRANGERS_BODY:
        body["x-max-bytes-without-pass"] = limits.STRANGERS_BODY
        body["description"] += (
            f" More than {limits.STRANGERS_BODY:,} only with the header {passes.HEADER} of the latest answer that"
            " had one."
        )


def _post(words: str, body: dict[str, Any], reply: dict[str, Any], refusal: dict[str, Any]) -> dict[str, Any]:
    answers = {"200": {"description": "The answer.", "content": _content(reply)}}
    answers |= {code: {"description": why, "content": _content(refusal)} for code, why in _REFUSALS.items()}
    return {"summary": words, "requestBody": {"required": True, "content": _content(body)}, "responses": answers}
