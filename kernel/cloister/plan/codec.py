"""Plans on the wire: canonical JSON in, frozen structs out, or a refusal.

Decoding is total: any bytes or JSON value give a plan, a ``MalformedError`` or a ``PlanError``, within fixed bounds on
size, depth and counts that are checked before anything recursive runs. Only the encoding of the *decoded* plan is
digested, so two spellings of one plan have one digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import msgspec

from cloister.contract.exits import MAX_TARGETS
from cloister.errors import MalformedError, PlanError
from cloister.plan import algebra as a
from cloister.plan.numbers import rational
from cloister.plan.typing import MAX_CAP, sources
from cloister.wire import canonical

MAX_BYTES = 1 << 18
MAX_DEPTH = 160
MAX_VALUES = 40_000
MAX_TEXT = 1024
MAX_MATCH_BYTES = 900_000
MAX_LIST = 2048
MAX_NAME = 256
MAX_MEASURES = 64
MAX_KEYS = 8
MAX_GRAM = 64
MAX_RELATIONS = 160
_MAX_RHO = 10**6
_MAX_DELTA = Fraction(1, 1000)


def decode(data: Mapping[str, Any] | bytes) -> a.Plan:
    """Return the plan that ``data`` (JSON bytes, or the JSON object) spells.

    Raises:
        MalformedError: Not a plan: wrong JSON, unknown node or field, or beyond a cap of size, depth or count.
        PlanError: A plan, but with names or numbers that can never be released.
    """
    plan: a.Plan = _convert(data, a.Plan)
    _check_names(plan)
    return plan


def decode_exit(data: Mapping[str, Any] | bytes) -> a.Exit:
    """Return the plan of an exit that ``data`` spells.

    Raises:
        MalformedError, PlanError: As ``decode``; a plan that is no exit is malformed here.
    """
    large = isinstance(data, Mapping) and data.get("op") == "match"
    plan: a.Exit = _convert(data, a.Exit, *((MAX_TARGETS, MAX_MATCH_BYTES) if large else (MAX_LIST, MAX_BYTES)))
    if isinstance(plan, a.Match):
        _check_match(plan)
    else:
        _check_relations(plan.source)
        _check_distinct("receiver", [plan.receiver])
        if rational(plan.step) <= 0:
            raise PlanError("plan.step", "scores are rounded to a step above zero", next_step='write step="0.01"')
    return plan


def is_exit(data: Mapping[str, Any]) -> bool:
    """Whether a plan, well formed or not, claims to be an exit: it is then decoded as one, or not at all."""
    return data.get("op") in ("match", "deliver")


def exit_name(plan: a.Exit) -> Literal["match", "deliver"]:
    """Return what an exit is called in entries and receipts."""
    return "match" if isinstance(plan, a.Match) else "deliver"


def canonical_exit(plan: a.Exit) -> bytes:
    """Return the canonical bytes of an exit: what a commitment is over, and its digest in a contract."""
    return canonical.encode(msgspec.to_builtins(plan))


def exit_digest(plan: a.Exit) -> str:
    """Return ``sha256:<hex>`` of an exit: what a ``DeliverTerms`` approves."""
    return canonical.digest_bytes(canonical_exit(plan))


def _convert(data: Mapping[str, Any] | bytes, kind: Any, items: int = MAX_LIST, size: int = MAX_BYTES) -> Any:
    value = _parse(data) if isinstance(data, bytes) else data
    _check_caps(value, items, size)
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise MalformedError(
            "plan.malformed",
            f"not a plan: {str(error)[:200]}",
            next_step="send a plan of the closed algebra, version 1",
        ) from error


def encode(plan: a.Plan) -> dict[str, Any]:
    """Return the plan as JSON builtins; ``decode(encode(plan)) == plan``."""
    builtins: dict[str, Any] = msgspec.to_builtins(plan)
    if plan.draw == 0:
        # The first answer to a question is written as before there were others: old receipts keep their digests.
        del builtins["draw"]
    return builtins


def digest(plan: a.Plan) -> str:
    """Return ``sha256:<hex>`` of the plan's canonical JSON."""
    return canonical.digest(encode(plan))


def _parse(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise _beyond(f"a plan has at most {MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError("plan.malformed", "not a JSON document", next_step="send canonical JSON") from error


def _check_caps(value: Any, items: int, size: int) -> None:
    """Walk the value without recursion: kinds, depth, counts and text lengths.

    ``items`` is the most a list may have, ``size`` the most bytes all texts may take.
    """
    stack: list[tuple[Any, int]] = [(value, 1)]
    values = total = 0
    while stack:
        item, depth = stack.pop()
        values += 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            raise _beyond(f"a plan has at most {MAX_VALUES} values, nested at most {MAX_DEPTH} deep")
        if isinstance(item, str):
            total += _check_text(item)
        elif isinstance(item, Mapping):
            if len(item) > 64 or not all(isinstance(name, str) for name in item):
                raise _beyond("an object of a plan has at most 64 named fields")
            total += sum(_check_text(name) for name in item)
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list | tuple):
            if len(item) > items:
                raise _beyond(f"a list in a plan has at most {items} items")
            stack.extend((child, depth + 1) for child in item)
        elif isinstance(item, int) and not -(2**53) <= item <= 2**53:
            raise _beyond("an integer of a plan is below 2^53")
        elif item is not None and not isinstance(item, int):
            raise _beyond(f"a plan holds no {type(item).__name__}")
        if total > size:
            raise _beyond(f"the texts of a plan have at most {size} bytes")


def _check_text(text: str) -> int:
    if len(text) > MAX_TEXT:
        raise _beyond(f"a text in a plan has at most {MAX_TEXT} characters")
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise MalformedError("plan.malformed", "a text in the plan is not Unicode") from error


def _check_names(plan: a.Plan) -> None:
    if isinstance(plan, a.ThresholdKeys):
        _check_threshold(plan)
    small = isinstance(plan, a.Fit) or 1 <= len(plan.measures) <= MAX_MEASURES
    if not small or len(plan.keys) > MAX_KEYS:
        raise PlanError(
            "plan.size",
            f"a release has 1 to {MAX_MEASURES} measures and at most {MAX_KEYS} keys",
            next_step="ask in several releases",
        )
    _check_distinct("measure", [measure.name for measure in plan.measures])
    _check_distinct("key", plan.keys)
    for measure in plan.measures:
        if isinstance(measure, a.Gram) and not 1 <= len(measure.of) <= MAX_GRAM:
            raise PlanError("plan.gram", f"a Gram has 1 to {MAX_GRAM} terms", next_step="use fewer features")
    _check_relations(plan.source)
    if not 0 < rational(plan.rho) <= _MAX_RHO:
        raise PlanError("plan.rho", "rho, the price asked, must be positive", next_step="ask with epsilon= or share=")


def _check_match(plan: a.Match) -> None:
    if not 1 <= len(plan.targets) <= MAX_TARGETS or len(set(plan.targets)) < len(plan.targets):
        raise PlanError(
            "plan.targets",
            f"a match asks about 1 to {MAX_TARGETS} unit keys, each once",
            next_step="ask in several requests",
        )
    _check_distinct("table", [plan.table])
    _check_distinct("column", [plan.column])


def _check_threshold(plan: a.ThresholdKeys) -> None:
    if not plan.keys or not 1 <= plan.groups <= MAX_CAP:
        raise PlanError(
            "plan.keys",
            "values of keys are asked for at least one key, and a unit counts for at least one of them",
            next_step="write groups=k, k >= 1",
        )
    if not 0 < rational(plan.delta) <= _MAX_DELTA:
        raise PlanError(
            "plan.delta",
            "the chance that a value is released that only one unit has must be above 0 and at most 1/1000",
            next_step="ask with a delta well below one over the number of units",
        )


def _check_relations(relation: a.Relation) -> None:
    nodes = [relation]
    for node in nodes:
        nodes.extend(sources(node))
        if len(nodes) > MAX_RELATIONS:
            raise _beyond(f"a plan has at most {MAX_RELATIONS} relations")
        for what, names in _names_of(node):
            _check_distinct(what, names)
        if isinstance(node, a.Cap) and not 1 <= node.rows <= MAX_CAP:
            raise PlanError("plan.cap", "a cap keeps at least one row", next_step="write cap(rows=k), k >= 1")


def _names_of(node: a.Relation) -> list[tuple[str, Sequence[str]]]:
    """Return the names a relation gives or mentions, each list of which must have no name twice."""
    match node:
        case a.Derive():
            return [("column", [name for name, _ in node.columns])]
        case a.Select():
            return [("column", node.columns)]
        case a.Cap():
            return [("key", node.by)]
        case a.Align():
            return [("column", [new for _, new in node.columns])]
        case a.Lookup():
            return [("key", node.keys), ("column", node.columns)]
        case a.PerUnit():
            return [("key", node.by), ("measure", [measure.name for measure in node.measures])]
        case a.Window():
            names = [name for name, _ in node.order]
            return [("key", node.by), ("order", names), ("function", [function.name for function in node.functions])]
        case a.Stack():
            return [("label", node.labels)]
        case _:
            return []


def _check_distinct(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not 1 <= len(name) <= MAX_NAME:
            raise PlanError("plan.name", f"a {what} name has 1 to {MAX_NAME} characters", next_step="rename it")
        if name in seen:
            raise PlanError("plan.name", f"the {what} {name[:60]!r} is named twice", next_step="name each once")
        seen.add(name)


def _beyond(reason: str) -> MalformedError:
    return MalformedError("plan.limits", reason, next_step="send a smaller plan, or several")
