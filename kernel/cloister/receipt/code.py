"""Digests of code: which cell caused a release, and whether it was only reformatted since.

``exact`` digests the text as it was sent. ``normalised`` digests its tokens without comments, blank lines, layout
inside brackets, quote style and optional trailing commas, so a formatter does not look like an edit; it is the
same on every Python version. Cells with magics or text that is no Python are compared line by line.

The session transcript is a hash chain over everything that carried code, in order. A reviewer who recomputes it
from the cells of a notebook, top to bottom, knows that the notebook was run fresh, whole and in this order.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import token
import tokenize
from collections.abc import Iterator

from cloister.wire import canonical, documents

_MAGIC = re.compile(r"^\s*[%!?]|\?\s*$", re.MULTILINE)
_SKIPPED = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
_FSTRING_START = getattr(token, "FSTRING_START", -1)
_FSTRING_END = getattr(token, "FSTRING_END", -1)
_SOFT_KEYWORDS = ("match", "case", "type")
_CLOSING = {")": "(", "]": "[", "}": "{"}


def exact(source: str) -> str:
    """Return the digest of the text as sent."""
    return canonical.digest_bytes(source.encode("utf-8", "surrogatepass"))


def normalised(source: str) -> str:
    """Return the digest of the text without its layout."""
    try:
        words = _lines(source) if _MAGIC.search(source) else list(_words(source))
    except (tokenize.TokenError, SyntaxError, ValueError):
        words = _lines(source)
    return canonical.digest_bytes("\x00".join(words).encode("utf-8", "surrogatepass"))


def transcript_start(session: str) -> str:
    """Return the transcript of a session in which nothing ran yet."""
    return "sha256:" + documents.hash_fields("cloister/transcript/v1", session).hex()


def transcript_add(previous: str, kind: str, code: str) -> str:
    """Return the transcript after one more message.

    Args:
        previous: The transcript so far.
        kind: The Jupyter message type (``execute_request``, ...), or ``put`` for a file.
        code: ``exact`` digest of the code it carried, or ``put_code``.
    """
    return "sha256:" + documents.hash_fields("cloister/transcript/v1", previous, kind, code).hex()


def put_code(name: str, sha256: str) -> str:
    """Return what a ``put`` adds to a transcript: the digest of the file's name and of its bytes (``sha256:...``)."""
    return exact(f"{name}\x00{sha256}")


def _lines(source: str) -> list[str]:
    return ["#lines", *(line.rstrip() for line in source.splitlines() if line.strip())]


def _words(source: str) -> Iterator[str]:
    """Yield normalised tokens; a trailing comma waits until the closing bracket shows whether it means something."""
    brackets: list[tuple[str, bool, int]] = []  # opener, may lose a lone trailing comma, commas so far
    previous = ""
    held = False
    for word in _tokens(source):
        if held:
            held = False
            closes = brackets and word in _CLOSING
            if not closes or not (brackets[-1][1] or brackets[-1][2] > 1):
                yield ","
        if word in ("(", "[", "{"):
            after_value = _is_value(previous)
            brackets.append((word, after_value if word == "(" else not after_value, 0))
        elif word in _CLOSING and brackets:
            brackets.pop()
        elif word == "," and brackets:
            opener, free, commas = brackets[-1]
            brackets[-1] = (opener, free, commas + 1)
            held, previous = True, word
            continue
        yield word
        previous = word


def _is_value(word: str) -> bool:
    """Say whether a bracket after ``word`` calls or subscripts it."""
    if not word or word.startswith("#") or keyword.iskeyword(word) or word in _SOFT_KEYWORDS:
        return False
    return word in _CLOSING or word[-1].isalnum() or word[-1] in "_'\""


def _tokens(source: str) -> Iterator[str]:
    lines = source.splitlines(keepends=True)
    depth, begin = 0, (1, 0)
    for item in tokenize.generate_tokens(io.StringIO(source).readline):
        # Python 3.12 splits f-strings into parts; one word per string keeps digests equal across versions.
        if item.type == _FSTRING_START:
            depth, begin = depth + 1, begin if depth else item.start
        elif item.type == _FSTRING_END:
            depth -= 1
            if not depth:
                yield _slice(lines, begin, item.end)
        elif not depth and item.type not in _SKIPPED:
            yield _word(item)


def _word(item: tokenize.TokenInfo) -> str:
    if item.type == tokenize.INDENT:
        return "#indent"
    if item.type == tokenize.DEDENT:
        return "#dedent"
    if item.type == tokenize.NEWLINE:
        return "#newline"
    if item.type == tokenize.ERRORTOKEN:
        raise ValueError("no Python")
    if item.type == tokenize.STRING and "f" not in item.string[:3].lower().split("'")[0].split('"')[0]:
        return repr(ast.literal_eval(item.string))
    return item.string


def _slice(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])
