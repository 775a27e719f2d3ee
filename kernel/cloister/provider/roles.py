"""Who may do what at a broker over HTTP: one table of actions and roles, from which matrix, checks and tests follow.

Whoever sits at the broker's machine owns it and uses the commands; roles are for everybody else. Stopping something is
done by one person at once; starting it again, giving rights, purging and destroying a key take a second one, who did
not ask.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from cloister.errors import MalformedError, RefusedError
from cloister.provider import files
from cloister.provider.home import BrokerHome
from cloister.wire import canonical, identity

Role = Literal["space_admin", "node_admin", "analyst", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)
# Nobody audits what he administers, and nobody administers what he asks for.
_APART: tuple[frozenset[str], ...] = (
    frozenset({"auditor", "space_admin"}),
    frozenset({"auditor", "node_admin"}),
    frozenset({"auditor", "analyst"}),
    frozenset({"analyst", "node_admin"}),
    frozenset({"space_admin", "node_admin"}),
)


class Action(msgspec.Struct, frozen=True):
    """An action: what it does, who may ask for it, and who may approve it if it takes a second person."""

    name: str
    does: str
    roles: frozenset[str]
    approvers: frozenset[str] = frozenset()


def _action(name: str, does: str, roles: str, approvers: str = "") -> Action:
    return Action(name, does, frozenset(roles.split()), frozenset(approvers.split()))


_ALL = " ".join(ROLES)
ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        _action("broker.status", "size of the event log, number of contracts, read-only or not", _ALL),
        _action("catalogue.search", "search entries that are published and visible to the asker", _ALL),
        _action("catalogue.show", "show one of them", _ALL),
        _action("catalogue.submit", "submit a capsule: its signed manifest and every card", "node_admin"),
        _action("catalogue.publish", "publish a submitted entry", "node_admin", "space_admin"),
        _action("catalogue.deprecate", "mark a published entry as not to be used for new contracts", "node_admin"),
        _action("catalogue.withdraw", "take an entry back", "node_admin space_admin"),
        _action("capsule.shred", "destroy the key of a capsule, for good", "node_admin", "space_admin"),
        _action("contract.suspend", "stop every release of a contract", "node_admin space_admin"),
        _action("contract.resume", "let a suspended contract go on", "node_admin", "space_admin"),
        _action("contract.revoke", "stop every release of a contract for good", "node_admin space_admin"),
        _action("release.veto", "refuse the code of a software release, for good", "node_admin space_admin"),
        _action("identity.revoke", "serve a did no more, for good", "space_admin"),
        _action("role.grant", "give a role to a did", "space_admin", "space_admin"),
        _action("role.remove", "take a role from a did", "space_admin"),
        _action("account.show", "what was spent of every account", "node_admin auditor"),
        _action("account.own", "what the asker has spent under each contract", "analyst"),
        _action("log.checkpoint", "a signed checkpoint of all logs", "node_admin space_admin auditor"),
        _action("log.purge", "remove bodies of events whose retention has ended", "node_admin", "auditor"),
        _action("audit.export", "every log, without data, keys and results", "auditor"),
        _action("audit.alerts", "the alerts of the packaged rules", "auditor space_admin"),
        _action("alert.follow", "the alerts in the log, and new ones as they come", "auditor space_admin node_admin"),
        _action("request.list", "requests that wait for a second person", "space_admin node_admin auditor"),
        _action("request.approve", "approve somebody else's request", "space_admin auditor"),
        _action("request.reject", "reject a request, or take one's own back", "space_admin node_admin auditor"),
    )
}


class Roles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The roles of every did."""

    dids: dict[str, tuple[Role, ...]] = {}

    def of(self, did: str) -> frozenset[str]:
        """Return the roles of a did."""
        return frozenset(self.dids.get(did, ()))


def read(home: BrokerHome) -> Roles:
    """Return the roles.

    Raises:
        MalformedError: ``roles.file``.
    """
    try:
        return msgspec.json.decode(home.roles_file.read_bytes(), type=Roles)
    except FileNotFoundError:
        return Roles()
    except (OSError, msgspec.MsgspecError) as error:
        raise MalformedError("roles.file", "the file of the roles cannot be read") from error


def grant(home: BrokerHome, did: str, role: str) -> None:
    """Give a role.

    Raises:
        MalformedError: Not a did:key, or ``roles.unknown``.
        RefusedError: ``roles.apart``: together with what the did is already, it would control itself.
    """
    identity.public_from_did(did)
    with files.changing(home.roles_file):
        known = read(home)
        held = known.of(did) | {_role(role)}
        if any(apart <= held for apart in _APART):
            raise RefusedError(
                "roles.apart",
                f"nobody is {' and '.join(sorted(held))} at once",
                clause="separation of duties",
                next_step="give the role to somebody else, or take the other one away first",
            )
        _write(home, {**known.dids, did: tuple(name for name in ROLES if name in held)})


def remove(home: BrokerHome, did: str, role: str) -> None:
    """Take a role away.

    Raises:
        MalformedError: ``roles.unknown``.
    """
    with files.changing(home.roles_file):
        known = read(home).dids
        kept = tuple(name for name in known.get(did, ()) if name != _role(role))
        others = {name: held for name, held in known.items() if name != did}
        _write(home, {**others, **({did: kept} if kept else {})})


def clear(home: BrokerHome) -> None:
    """Take every role away."""
    with files.changing(home.roles_file):
        _write(home, {})


def matrix() -> str:
    """Return the matrix of actions and roles as a Markdown table."""
    head = "| action | " + " | ".join(ROLES) + " | what |\n|---|" + "---|" * len(ROLES) + "---|"
    rows = [
        f"| `{a.name}` | " + " | ".join(_cell(a, role) for role in ROLES) + f" | {a.does} |" for a in ACTIONS.values()
    ]
    return "\n".join([head, *rows]) + "\n"


def _cell(action: Action, role: str) -> str:
    words = [word for word, who in (("asks", action.roles), ("approves", action.approvers)) if role in who]
    return " and ".join(words) if action.approvers else "yes" if words else ""


def _role(role: str) -> Role:
    for name in ROLES:
        if name == role:
            return name
    raise MalformedError("roles.unknown", f"{role!r} is no role", next_step="one of " + ", ".join(ROLES))


def _write(home: BrokerHome, dids: dict[str, tuple[Role, ...]]) -> None:
    files.write_private(home.roles_file, canonical.encode(Roles(dids)))
