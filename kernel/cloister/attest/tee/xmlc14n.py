"""A closed dialect of XML and its Canonical XML 1.1 form, for the one signed XML that evidence knows: NVIDIA's RIMs.

Elements, attributes, namespaces and text; no document type, entity, processing instruction or comment, no ``xml:``
attribute (their inheritance is where Canonical XML 1.0 and 1.1 differ). Parsing is expat's; what is written here is
inclusive canonicalisation (https://www.w3.org/TR/xml-c14n11/, without comments), which the standard library lacks: its
``canonicalize`` is version 2.0, which keeps other namespace declarations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from cloister.attest.evidence import RejectedError
from cloister.attest.tee.codes import rejected

MAX_DEPTH = 16
MAX_ELEMENTS = 4096
_XML = "http://www.w3.org/XML/1998/namespace"
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_ATTRIBUTE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)  # fmt: skip


@dataclass(eq=False)
class Element:
    """An element: name as written, namespace and local name, attributes by (namespace, local name), children.

    ``declared`` are the namespace declarations written on it, ``scope`` all that are in force (prefix -> namespace; the
    default namespace has the prefix "").
    """

    written: str
    namespace: str
    local: str
    attributes: dict[tuple[str, str], tuple[str, str]]
    declared: dict[str, str]
    scope: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def elements(self) -> list[Element]:
        """The child elements."""
        return [child for child in self.children if isinstance(child, Element)]

    def walk(self) -> Iterator[Element]:
        """Yield this element and everything below it, in document order."""
        yield self
        for child in self.elements():
            yield from child.walk()

    def attribute(self, local: str, namespace: str = "") -> str:
        """Return an attribute's value ("" if absent)."""
        return self.attributes.get((namespace, local), ("", ""))[1]

    def text(self) -> str:
        """Return the text directly in this element."""
        return "".join(child for child in self.children if isinstance(child, str))

    def child(self, namespace: str, local: str) -> Element:
        """Return the only child of that name.

        Raises:
            RejectedError: ``endorsements.malformed``: none, or several.
        """
        found = [child for child in self.elements() if (child.namespace, child.local) == (namespace, local)]
        if len(found) != 1:
            raise _malformed(f"{len(found)} elements {local!r} where there must be one")
        return found[0]


def parse(data: bytes) -> Element:
    """Return the root element of the document ``data``.

    Raises:
        RejectedError: ``endorsements.malformed``: not XML of this dialect.
    """
    builder = _Builder()
    parser = expat.ParserCreate("utf-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    parser.CommentHandler = builder.refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, UnicodeError, ValueError) as error:
        raise _malformed("not well-formed XML") from error
    if builder.root is None:
        raise _malformed("no XML element")
    return builder.root


def canonical(element: Element, *, without: Element | None = None) -> bytes:
    """Return the inclusive canonical form of ``element``, leaving out the subtree ``without``.

    An element that is not the root gets the namespace declarations in force around it, as a document subset does.
    """
    return "".join(_write(element, {}, without)).encode()


def _write(element: Element, rendered: dict[str, str], without: Element | None) -> Iterator[str]:
    if element is without:
        return
    # A declaration is written where it changes what is in force; an empty default only if there is one to undo.
    changed = {prefix: uri for prefix, uri in element.scope.items() if rendered.get(prefix, "") != uri}
    yield f"<{element.written}"
    for prefix in sorted(changed):
        yield f' {"xmlns:" + prefix if prefix else "xmlns"}="{changed[prefix].translate(_ATTRIBUTE)}"'
    for key in sorted(element.attributes):
        written, value = element.attributes[key]
        yield f' {written}="{value.translate(_ATTRIBUTE)}"'
    yield ">"
    for child in element.children:
        if isinstance(child, str):
            yield child.translate(_TEXT)
        else:
            yield from _write(child, element.scope, without)
    yield f"</{element.written}>"


class _Builder:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, written: str, flat: list[str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise _malformed("XML nested too deeply or of too many elements")
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        declared = {_prefix(name): uri for name, uri in pairs if name == "xmlns" or name.startswith("xmlns:")}
        if any(uri == _XML or (prefix and not uri) for prefix, uri in declared.items()) or "xml" in declared:
            raise _malformed("a namespace declaration that this dialect leaves out")
        scope = {**(self._open[-1].scope if self._open else {}), **declared}
        namespace, local = _resolve(written, scope, default=True)
        attributes: dict[tuple[str, str], tuple[str, str]] = {}
        for name, value in pairs:
            if name == "xmlns" or name.startswith("xmlns:"):
                continue
            key = _resolve(name, scope, default=False)
            if key in attributes:
                raise _malformed("an XML attribute is given twice")
            attributes[key] = (name, value)
        element = Element(written, namespace, local, attributes, declared, scope)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _written: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        self._open[-1].children.append(text)

    def refuse(self, *_: object) -> None:
        raise _malformed("a document type, processing instruction or comment")


def _prefix(name: str) -> str:
    return name.partition(":")[2]


def _resolve(name: str, scope: dict[str, str], *, default: bool) -> tuple[str, str]:
    prefix, colon, local = name.rpartition(":")
    if not colon:
        return (scope.get("", "") if default else ""), name
    if ":" in prefix or prefix not in scope:
        raise _malformed("an XML name whose prefix is not declared")
    return scope[prefix], local


def _malformed(reason: str) -> RejectedError:
    return rejected("endorsements.malformed", reason)
