"""A fitted model as a document: everything that leaves, nothing that runs.

The JSON is versioned and closed (an unknown or absent field is refused), holds no code, and ends in a digest of all the
rest: an altered file is refused. The digest protects against accidents and careless edits, not against a forger, who
can compute it again; what proves that numbers came out of the enclave is the receipt whose digest the file names.
``kinds.py`` has the kinds of models, ``checks.py`` what the schema cannot say.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec

from cloister.errors import MalformedError, PlanError
from cloister.sandbox.learn import checks
from cloister.sandbox.learn.kinds import KINDS, Document, Head
from cloister.wire import canonical

FORMAT = "cloister.model"
VERSION = 2
MAX_BYTES = 2**23


def encode(document: Document) -> str:
    """Return the document as JSON text, indented, with its digest.

    Raises:
        PlanError: ``api.learn.size``: larger than what ``decode`` reads.
    """
    fields = msgspec.to_builtins(document)
    first = {name: fields[name] for name in ("format", "version", "kind", *Head.__struct_fields__)}
    text = msgspec.json.format(
        msgspec.json.encode({**first, **fields, "digest": canonical.digest(fields)}), indent=2
    ).decode()
    check_size(text, MAX_BYTES, "model")
    return text


def check_size(text: str, most: int, what: str) -> None:
    """Refuse a file that could not be read again.

    Raises:
        PlanError: ``api.learn.size``.
    """
    # With the end of line that ``save`` adds.
    size = len(text.encode()) + 1
    if size > most:
        raise PlanError(
            "api.learn.size",
            f"the file of this {what} would have {size:,} bytes, and one of more than {most:,} is not read",
            next_step="fit it on fewer columns, classes or centres, or keep it as model.to_onnx()",
        )


def digest(document: Document) -> str:
    """Return the digest its file ends in."""
    return canonical.digest(msgspec.to_builtins(document))


def decode(text: str | bytes) -> Document:
    """Return the document a JSON text spells.

    Raises:
        MalformedError: Not such a document (``model.malformed``), of another version or kind (``model.version``), or
            changed after it was written (``model.altered``).
    """
    fields = _fields(text)
    claimed = fields.pop("digest", None)
    try:
        document: Document = msgspec.convert(fields, Document)
    except msgspec.ValidationError as error:
        raise checks.malformed(str(error)[:200]) from error
    if canonical.digest(fields) != claimed:
        raise MalformedError(
            "model.altered", "this model was changed after it was written", next_step="ask its author for the original"
        )
    # What may be left out of a document in memory stands in every file.
    if msgspec.json.decode(msgspec.json.encode(document)) != fields:
        raise checks.malformed("a field is absent")
    checks.check(document)
    return document


def _fields(text: str | bytes) -> dict[str, Any]:
    data = text.encode(errors="replace") if isinstance(text, str) else bytes(text)
    if len(data) > MAX_BYTES:
        raise checks.malformed(f"a model has at most {MAX_BYTES:,} bytes")
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise checks.malformed("not a JSON document") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise checks.malformed(f'no document of format "{FORMAT}"')
    # By equality: what is no text at all (a list) cannot be looked up.
    if fields.get("version") != VERSION or fields.get("kind") not in list(KINDS):
        raise MalformedError(
            "model.version",
            "a model of another version or kind",
            next_step=f"this version of cloister reads version {VERSION} of {', '.join(KINDS)}; fit it again, or try a "
            "newer one",
        )
    return fields


def number(text: str) -> float:
    """Return the double nearest to a rational or decimal of a document."""
    return float(Fraction(text))
