"""What the operator of a broker decides about alerts: the rules, and where alerts go. No contract can name either.

A hook is a command that gets one alert as JSON on its standard input; a file gets a line of JSON for each. Both are
told after the alert is in the log, once, and neither can hold the broker up: a hook has ten seconds, and what fails is
in the broker's own log. What was not told while the broker was down is in the stream all the same.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from datetime import timedelta
from pathlib import Path

import msgspec
import sqlalchemy as sa
import structlog

from cloister.contract.findings import parse_time
from cloister.errors import MalformedError
from cloister.provider import schema
from cloister.provider.home import BrokerHome
from cloister.receipt import alerts
from cloister.receipt.events import decode_event
from cloister.receipt.ledger import OwnAlert

HOOK_S = 10.0
SHOWN_DAYS, MOST_SHOWN, MOST_READ, MOST_TEXT = 7, 10, 100, 200
"""What an analyst is told of: so many days, alerts, rows of the log, and characters of a rule."""
_log = structlog.get_logger("cloister.alerts")
# What a command needs to run; nothing else of the broker's surroundings is the hook's business.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ")


def read_rules(home: BrokerHome) -> alerts.Pack:
    """Return the rules of this broker: the operator's own, or the packaged ones of PBoC article 40.

    Raises:
        MalformedError: ``alerts.malformed``, ``alerts.file``.
    """
    try:
        return alerts.read_pack(home.alert_rules_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return alerts.pboc40()
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError("alerts.file", f"{home.alert_rules_file} cannot be read") from error


def own(db: sa.Connection, pack: alerts.Pack, *, contract: str, analyst: str, now: str) -> tuple[OwnAlert, ...]:
    """Return the alerts of the last days about one analyst under one contract, the latest count of each.

    Those of rules that the broker has no more are not among them.
    """
    key = {"k_contract": contract, "k_subject": analyst, "k_most": MOST_READ}
    since = (parse_time(now) - timedelta(days=SHOWN_DAYS)).strftime("%Y-%m-%d")
    found: dict[tuple[int, str, str], OwnAlert] = {}
    for row in db.execute(schema.SELECT_ALERTS_ABOUT, key):
        one = alerts.raised(decode_event(row.body), row.position, pack)
        if one.bucket >= since and one.most >= 0 and len(found) < MOST_SHOWN:
            shown = OwnAlert(one.rule, one.text[:MOST_TEXT], one.what, one.bucket, one.count, one.most)
            found.setdefault((one.rule, one.what, one.bucket), shown)
    return tuple(reversed(found.values()))


class Teller:
    """Hands alerts to what the operator has named: a command (its words, as a shell would split them), a file."""

    def __init__(self, hook: str = "", file: Path | None = None) -> None:
        """Raises MalformedError: ``alerts.hook``, words that do not end."""
        try:
            self._hook = shlex.split(hook)
        except ValueError as error:
            raise MalformedError("alerts.hook", f"{hook!r} is no command: {error}") from error
        self._file = file

    def __call__(self, one: alerts.Raised) -> None:
        """Tell of one alert."""
        line = msgspec.json.encode(one) + b"\n"
        if self._file is not None:
            try:
                handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(line)
            except OSError as error:
                _log.warning("alert not written", file=str(self._file), why=error.strerror)
        if self._hook:
            self._run(line)

    def _run(self, line: bytes) -> None:
        surroundings = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            done = subprocess.run(
                self._hook,
                input=line,
                timeout=HOOK_S,
                env=surroundings,
                check=False,
                stdout=subprocess.DEVNULL,  # not a pipe: what a hook leaves running could hold it open
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _log.warning("alert hook failed", why=type(error).__name__)
        else:
            if done.returncode:
                _log.warning("alert hook failed", code=done.returncode)
