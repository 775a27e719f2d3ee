"""Replies the proxy makes itself: the list it always answers, and the requests it never forwards.

``kernel_info``, ``comm_info``, ``is_complete``, ``interrupt``, ``shutdown`` and subshell requests get a normal
reply in every state of the enclave. ``debug_request`` (memory), ``connect_request`` and ``usage_request`` (host
name, process ids) never reach the enclave.
"""

from __future__ import annotations

import codeop
import platform
import uuid
import warnings
from typing import Any

import cloister
from cloister.analyst.connection_file import ConnectionFile
from cloister.analyst.messages import PROTOCOL_VERSION, Request
from cloister.errors import CloisterError, RefusedError

SUBSHELL_REQUESTS = frozenset({"create_subshell_request", "delete_subshell_request", "list_subshell_request"})
ALWAYS_ANSWERED = SUBSHELL_REQUESTS | {
    "kernel_info_request",
    "comm_info_request",
    "is_complete_request",
    "interrupt_request",
    "shutdown_request",
}
NEVER_FORWARDED = frozenset({"debug_request", "connect_request", "usage_request"})
INFO_KEY = "cloister"
_REMOVED_FEATURES = frozenset({"debugger"})


class OwnReplies:
    """Contents of the proxy's own replies; holds only the subshells it handed out while no enclave was there."""

    def __init__(self, connection: ConnectionFile) -> None:
        self._connection = connection
        self._subshells: list[str] = []

    def content(self, request: Request, info: dict[str, Any], comms: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request of ``ALWAYS_ANSWERED`` or ``NEVER_FORWARDED``.

        Args:
            request: What was asked.
            info: The block about the enclave that goes under ``INFO_KEY``.
            comms: The proxy's own comms, as in a ``comm_info_reply``.
        """
        asked = request.content()
        match request.header.msg_type:
            case "kernel_info_request":
                return kernel_info(info)
            case "comm_info_request":
                target = asked.get("target_name")
                kept = {key: comm for key, comm in comms.items() if target in (None, comm["target_name"])}
                return {"status": "ok", "comms": kept}
            case "is_complete_request":
                return is_complete(str(asked.get("code", "")))
            case "shutdown_request":
                return {"status": "ok", "restart": bool(asked.get("restart", False))}
            case "connect_request":
                return self._ports()
            case "debug_request":
                return _debug_refused(asked)
            case "usage_request":
                return error_content(_USAGE_REFUSED)
            case kind if kind in SUBSHELL_REQUESTS:
                return self._subshell(kind, asked)
        return {"status": "ok"}

    def _ports(self) -> dict[str, Any]:
        names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
        return {"status": "ok", **{name: getattr(self._connection, name) for name in names}}

    def _subshell(self, kind: str, asked: dict[str, Any]) -> dict[str, Any]:
        if kind == "create_subshell_request":
            self._subshells.append(str(uuid.uuid4()))
            return {"status": "ok", "subshell_id": self._subshells[-1]}
        if kind == "delete_subshell_request":
            self._subshells = [known for known in self._subshells if known != asked.get("subshell_id")]
            return {"status": "ok"}
        return {"status": "ok", "subshell_id": list(self._subshells)}


def kernel_info(info: dict[str, Any]) -> dict[str, Any]:
    """Return a ``kernel_info_reply`` that needs no enclave; the language version is this machine's."""
    version = platform.python_version()
    return {
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "cloister",
        "implementation_version": cloister.__version__,
        "language_info": {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        },
        "banner": banner(info),
        "help_links": [],
        "supported_features": ["kernel subshells"],
        INFO_KEY: info,
    }


def amend_kernel_info(content: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Return the sandbox's ``kernel_info_reply`` with our banner and block, and without the debugger."""
    features = content.get("supported_features")
    kept = [name for name in features if name not in _REMOVED_FEATURES] if isinstance(features, list) else []
    return {
        **content,
        "status": "ok",
        "banner": f"{banner(info)}\n{content.get('banner', '')}",
        "supported_features": kept,
        "debugger": False,
        INFO_KEY: info,
    }


def banner(info: dict[str, Any]) -> str:
    """Return the first line a console shows: version, mode and verdict."""
    return f"Cloister {info['version']} ({info['mode']}): {info['word']}"


def is_complete(code: str) -> dict[str, Any]:
    """Judge by Python's own compiler whether ``code`` is a complete cell; magics count as complete."""
    if code.lstrip().startswith(("%", "!")):
        return {"status": "complete"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = codeop.compile_command(code, symbol="exec")
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
        return {"status": "invalid"}
    last = code.rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip(" "))]
    # An indented last line may go on; an empty line ends the block, as in IPython.
    if compiled is not None and not (indent and last.strip()):
        return {"status": "complete"}
    return {"status": "incomplete", "indent": indent + "    " if last.rstrip().endswith(":") else indent}


def error_content(error: CloisterError) -> dict[str, Any]:
    """Return the content of an error reply or ``error`` output."""
    text = str(error)
    return {
        "status": "error",
        "ename": type(error).__name__,
        "evalue": text,
        "traceback": [f"\x1b[31m{type(error).__name__}\x1b[0m: {text}"],
    }


_USAGE_REFUSED = RefusedError(
    "proxy.usage", "host name, process ids and memory of the enclave's machine are not shown to the page"
)


def _debug_refused(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer in the words of the Debug Adapter Protocol: a response that did not succeed."""
    sequence = asked.get("seq", 0)
    return {
        "type": "response",
        "request_seq": sequence,
        "seq": sequence,
        "success": False,
        "command": asked.get("command", ""),
        "message": "[proxy.debug] the debugger reads memory of the enclave and is switched off",
        "body": {},
    }
