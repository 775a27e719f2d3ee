"""The sandbox's end of the link: one descriptor on which requests go out and released values come back.

Reading and writing happen on two threads of their own, so an interrupt of the cell (a ``KeyboardInterrupt`` in
the waiting thread) can never cut a frame in two. Replies find their request by ``id``; the reply to a request
nobody waits for any more is dropped. Anything that does not follow the protocol closes the link for good: after
it no byte can be trusted to start a frame.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import socket
import threading
from typing import Any

import msgspec

from cloister.errors import CloisterError, MalformedError, UnavailableError, from_dict, own_line
from cloister.plan.link import MAX_REQUEST, Reply, Request
from cloister.wire import canonical, frames

ENVIRONMENT = "CLOISTER_LINK_FD"
_RESTART = "restart the kernel; a release that was already paid for is recalled at no charge"
_ID_LIMIT = 2**53
_JOIN_S = 5.0


class _Slot:
    """What one waiting thread needs: a lock-free hand-over of one reply or one error."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.reply: Reply | None = None
        self.error: CloisterError | None = None


class Interrupted(KeyboardInterrupt):
    """The analyst interrupted a cell that was waiting for the vault; shown without our frames, with what to do."""

    def __init__(self, op: str) -> None:
        again = "nothing more is charged" if op == "release" else "nothing was charged"
        super().__init__(f"stopped waiting for the vault\n  next step: run the cell again: {again}")

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}", *own_line(self)]


# Clients know an interrupted cell by this name.
Interrupted.__name__ = Interrupted.__qualname__ = KeyboardInterrupt.__name__


class Link:
    """A client of the vault, through the agent; the last word on errors is theirs.

    Args:
        fd: A connected stream descriptor. The link owns it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._owner = os.getpid()
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, _Slot] = {}
        self._broken: CloisterError | None = None
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._threads = (
            threading.Thread(target=self._write, name="cloister-link-out", daemon=True),
            threading.Thread(target=self._read, name="cloister-link-in", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    @classmethod
    def from_environment(cls) -> Link:
        """Return the link this kernel was started with.

        Raises:
            CloisterError: This process is not a Cloister kernel.
        """
        text = os.environ.get(ENVIRONMENT, "")
        if not text.isascii() or not text.isdigit():
            raise _no_kernel()
        fd = int(text)
        try:
            os.fstat(fd)
        except OSError as error:
            raise _no_kernel() from error
        return cls(fd)

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one request and wait for its reply; safe from any thread.

        Raises:
            CloisterError: The refusal of vault or agent, rebuilt as it was raised there.
            UnavailableError: The link is closed.
            Interrupted: The cell was interrupted while it waited.
            MalformedError: The reply does not follow the protocol, or the request is too large.
        """
        if os.getpid() != self._owner:
            raise CloisterError(
                "link.fork",
                "a forked process cannot ask the vault: the link belongs to the kernel",
                next_step="ask in the notebook's own process and hand the released values to the workers",
            )
        slot = _Slot()
        number = next(self._ids) % _ID_LIMIT
        body = canonical.encode(Request(id=number, op=op, plan=plan))  # type: ignore[arg-type]
        if len(body) > MAX_REQUEST:
            raise MalformedError(
                "link.size",
                f"the plan takes {len(body):,} bytes; at most {MAX_REQUEST:,} are accepted",
                next_step="name intermediate results less deeply, or shorten long isin() lists",
            )
        with self._lock:
            if self._broken is not None:
                raise from_dict(self._broken.to_dict())
            self._waiting[number] = slot
        self._outgoing.put(frames.encode(frames.Kind.REQUEST, body))
        try:
            slot.done.wait()
        except KeyboardInterrupt:
            raise Interrupted(op) from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        return _result(slot)

    def close(self) -> None:
        """Stop both threads and close the descriptor; waiting threads get ``link.closed``."""
        self._fail(_closed())
        self._outgoing.put(None)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as end:
            end.shutdown(socket.SHUT_RDWR)
        # Only when no thread can touch the descriptor any more may its number be given to someone else.
        for thread in self._threads:
            thread.join(_JOIN_S)
        if not any(thread.is_alive() for thread in self._threads):
            with contextlib.suppress(OSError):
                os.close(self._fd)

    def _write(self) -> None:
        while (data := self._outgoing.get()) is not None:
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError:
                self._fail(_closed())
                return

    def _read(self) -> None:
        decoder = frames.Decoder()
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except OSError:
                data = b""
            if not data:
                self._fail(_closed())
                return
            try:
                for frame in decoder.feed(data):
                    self._deliver(frame)
            except (MalformedError, msgspec.DecodeError) as error:
                self._fail(_malformed(error))
                return

    def _deliver(self, frame: frames.Frame) -> None:
        if frame.kind != frames.Kind.REPLY or len(frame.parts) != 1:
            raise MalformedError("frame.kind", "only replies travel on this link")
        reply = msgspec.json.decode(frame.parts[0], type=Reply)
        with self._lock:
            # Id 0 answers a request the vault could not even read; ids count from 1, so it concerns everyone.
            ids = list(self._waiting) if reply.id == 0 else [reply.id]
            slots = [slot for number in ids if (slot := self._waiting.pop(number, None)) is not None]
        for slot in slots:
            slot.reply = reply
            slot.done.set()

    def _fail(self, error: CloisterError) -> None:
        with self._lock:
            self._broken = self._broken or error
            waiting, self._waiting = list(self._waiting.values()), {}
        for slot in waiting:
            slot.error = self._broken
            slot.done.set()


def _result(slot: _Slot) -> dict[str, Any]:
    if slot.error is not None:
        raise from_dict(slot.error.to_dict())
    reply = slot.reply
    if reply is None or (reply.result is None) == (reply.error is None):
        raise _malformed(None)
    if reply.error is not None:
        raise from_dict(reply.error)
    return reply.result or {}


def _no_kernel() -> CloisterError:
    return CloisterError(
        "link.absent",
        "this Python is not a Cloister kernel: there is no link to a vault here",
        next_step="pick a Cloister kernel in the kernel menu (`cloister connect` or `cloister demo` installs one)",
    )


def _closed() -> UnavailableError:
    return UnavailableError("link.closed", "the enclave closed the link to the vault", next_step=_RESTART)


def _malformed(cause: Exception | None) -> MalformedError:
    detail = f" ({cause.code})" if isinstance(cause, CloisterError) else ""
    return MalformedError(
        "link.malformed", f"a reply does not follow the protocol{detail}; the link is closed", next_step=_RESTART
    )
