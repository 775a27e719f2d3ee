"""The proxy's side of the session: dial once, queue meanwhile, send in order, notice the end.

    DIALLING --> OPEN --> LOST     the channel broke
        |          +----> DEAD     the kernel inside the enclave ended
        +--> REFUSED               no session: evidence, contract or trust store said no, or nobody answered

There is no way back: a new session is a new kernel. Whatever ends the session, the error that ended it is kept,
because every later request is answered with it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Callable, Coroutine

from cloister.analyst.session import OpenSession, Session, Verdict
from cloister.errors import CloisterError, TrustError, UnavailableError
from cloister.wire.frames import Frame

MAX_QUEUED_BYTES = 64 * 2**20
MAX_QUEUED_FRAMES = 10_000
_FRAME_OVERHEAD = 256

log = logging.getLogger(__name__)


class State(enum.Enum):
    """Where the session is; the value is what the page is told."""

    DIALLING = "dialling"
    OPEN = "open"
    REFUSED = "refused"
    LOST = "lost"
    DEAD = "dead"


class Uplink:
    """Owns the session and the queue towards it."""

    def __init__(
        self,
        open_session: OpenSession,
        on_frame: Callable[[Frame], Coroutine[None, None, None]],
        on_change: Callable[[], None],
    ) -> None:
        self._open_session = open_session
        self._on_frame = on_frame
        self._on_change = on_change
        self.session: Session | None = None
        self._queue: deque[tuple[int, tuple[bytes, ...]]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self.state = State.DIALLING
        self.error: CloisterError | None = None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the last attestation; fresh evidence may replace it while the session lasts."""
        return self.session.verdict if self.session is not None else None

    @property
    def gone(self) -> bool:
        """Whether no enclave will ever answer again."""
        return self.state in (State.REFUSED, State.LOST, State.DEAD)

    async def run(self) -> None:
        """Dial, then relay until the session ends. Returns only then; never raises."""
        try:
            self.session = session = await self._open_session()
        except CloisterError as error:
            self.end(State.REFUSED, error)
            return
        except Exception as error:  # noqa: BLE001 (boundary: a defect while verifying must end in refusal)
            self.end(State.REFUSED, _defect("dialling the enclave", error))
            return
        self.state = State.OPEN
        self._on_change()
        sender = asyncio.create_task(self._send_queued(session))
        try:
            while True:
                await self._on_frame(await session.receive())
        except CloisterError as error:
            self.end(State.LOST, error)
        except Exception as error:  # noqa: BLE001 (boundary: a defect while relaying must end the session)
            self.end(State.LOST, _defect("relaying to the enclave", error))
        finally:
            sender.cancel()

    def send(self, kind: int, parts: tuple[bytes, ...]) -> None:
        """Queue one frame for the enclave, in order.

        Raises:
            UnavailableError: The queue is full; nothing was queued.
        """
        size = _weight(parts)
        if len(self._queue) >= MAX_QUEUED_FRAMES or self._queued_bytes + size > MAX_QUEUED_BYTES:
            raise UnavailableError(
                "proxy.queue",
                "more is waiting for the enclave than the proxy keeps; this request was not sent",
                next_step="wait for the cells before this one, or send less at once",
            )
        self._queue.append((kind, parts))
        self._queued_bytes += size
        self._wake.set()

    def unsend(self, headers: set[bytes]) -> None:
        """Take requests with these raw headers back out of the queue."""
        kept = [item for item in self._queue if headers.isdisjoint(item[1])]
        self._queue = deque(kept)
        self._queued_bytes = sum(_weight(parts) for _, parts in kept)

    def end(self, state: State, error: CloisterError) -> None:
        """Leave DIALLING or OPEN for good; later calls change nothing."""
        if self.gone:
            return
        if state is State.REFUSED or isinstance(error, TrustError):
            # What this machine refused is in its own log: whoever was refused keeps none.
            log.warning("%s: %s", state.value, error.code)
        self.state, self.error = state, error
        self._queue.clear()
        self._queued_bytes = 0
        self._on_change()

    async def close(self) -> None:
        """End the session with the enclave, if there is one."""
        if self.session is not None:
            try:
                await self.session.close()
            except CloisterError as error:
                log.info("closing: %s", error)

    async def _send_queued(self, session: Session) -> None:
        try:
            while True:
                while self._queue:
                    kind, parts = self._queue.popleft()
                    self._queued_bytes -= _weight(parts)
                    await session.send(kind, *parts)
                self._wake.clear()
                await self._wake.wait()
        except CloisterError as error:
            self.end(State.LOST, error)
        except Exception as error:  # noqa: BLE001 (boundary: as in run)
            self.end(State.LOST, _defect("sending to the enclave", error))


def _weight(parts: tuple[bytes, ...]) -> int:
    return sum(map(len, parts)) + _FRAME_OVERHEAD


def _defect(doing: str, error: Exception) -> UnavailableError:
    log.error("defect while %s", doing, exc_info=error)
    return UnavailableError(
        "proxy.fault", f"the proxy failed while {doing} ({type(error).__name__})", next_step="restart the kernel"
    )
