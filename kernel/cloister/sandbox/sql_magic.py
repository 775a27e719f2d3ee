"""``%%cloister_sql``: a cell of SQL.

    %%cloister_sql means --epsilon 0.1
    SELECT sex, AVG(bmi) AS bmi FROM visits WHERE age >= 18 GROUP BY sex

The answer is shown and kept in the variable ``means``; with ``--cost`` only its price is shown. A Cloister kernel knows
the magic from its start; IPython loads this module when it is first used.
"""

from __future__ import annotations

import keyword
import re
import shlex
from typing import TYPE_CHECKING, Any

from cloister.errors import CloisterError, PlanError
from cloister.sandbox import session, sql_text
from cloister.sandbox.sql_query import sql

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

NAME = "cloister_sql"
_USAGE = "%%cloister_sql [NAME] [--epsilon E | --share S | --within W [--n N]] [--cost]"
_NUMBERS = ("epsilon", "share", "within", "n")
_WORD = re.compile(r"[\w.]*$")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magic and the completion of names inside it (IPython's hook)."""
    from IPython.core.completer import SimpleCompletion  # noqa: PLC0415 (only in a notebook)

    def cell(line: str, body: str = "") -> Any:
        return run(line, body, shell.user_ns)

    def names(context: CompletionContext) -> SimpleMatcherResult:
        typed, found = complete(context.full_text, context.text_until_cursor)
        matches: list[SimpleCompletion] = [SimpleCompletion(text=name) for name in found]
        return {"completions": matches, "matched_fragment": typed, "suppress": bool(matches)}

    names.matcher_api_version = 2  # type: ignore[attr-defined]
    cell.__doc__ = f"Ask in SQL: {_USAGE}\n\n{__doc__}"
    shell.register_magic_function(cell, "cell", NAME)  # type: ignore[arg-type]
    shell.Completer.custom_matchers = [*shell.Completer.custom_matchers, names]


def run(line: str, body: str, namespace: dict[str, Any]) -> Any:
    """Answer one cell.

    Args:
        line: What stands behind the magic: a name for the answer, and options.
        body: The query.
        namespace: The notebook's variables.

    Raises:
        PlanError: The line or the query is not written like this.
    """
    name, options, price = _options(line)
    if price:
        return sql.cost(body, **options)
    found = sql(body, **options)
    if name:
        namespace[name] = found
    return found


def complete(cell: str, before: str) -> tuple[str, list[str]]:
    """Return what is typed of a table or column name inside a cell of this magic, and the names that begin so."""
    if not cell.lstrip().startswith(f"%%{NAME}") or before.rpartition("\n")[2].startswith("%%"):
        return "", []
    found = _WORD.search(before)
    typed = found[0] if found else ""
    try:
        cards = session.current().about.cards
    except CloisterError:
        return "", []
    known = [name for card in cards for name in (card, card.rpartition(".")[2])]
    known += [column.name for card in cards.values() for column in card.columns]
    wanted = typed.lower()
    return typed, sorted({name for name in known if name.lower().startswith(wanted)}) if wanted else []


def _options(line: str) -> tuple[str, dict[str, Any], bool]:
    try:
        words = shlex.split(line.replace("=", " "))
    except ValueError as error:
        raise _usage("a quotation mark is missing") from error
    name, price, options = "", False, {}
    rest = iter(words)
    for word in rest:
        if word == "--cost":
            price = True
        elif word.removeprefix("--") in _NUMBERS and word.startswith("--"):
            value = next(rest, None)
            if value is None:
                raise _usage(f"{word} needs a number")
            options[word.removeprefix("--")] = sql_text.number(value)
        elif word.isidentifier() and not keyword.iskeyword(word) and not name:
            name = word
        else:
            raise _usage(f"{word[:40]!r} is not part of it")
    return name, options, price


def _usage(reason: str) -> PlanError:
    return PlanError("sql.magic", f"%%{NAME} is not written like this: {reason}", nearest=(_USAGE,))
