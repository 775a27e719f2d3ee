"""What the proxy needs of an attested session. ``dial.EnclaveSession`` is the real one.

The proxy never speaks to an enclave in any other way: a session exists only after the analyst's machine has
appraised the evidence itself, and opening one fails with ``TrustError`` otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from cloister.wire.frames import Frame


class Verdict(Protocol):
    """The outcome of the appraisal, as shown to the analyst. ``time`` is RFC 3339, UTC."""

    @property
    def word(self) -> str:
        """The one word or phrase of the badge."""

    @property
    def assurance(self) -> str:
        """``simulated`` or the TEE's name."""

    @property
    def status(self) -> str:
        """The appraisal's tier: affirming, warning, contraindicated or none."""

    @property
    def reasons(self) -> Sequence[str]:
        """Why the status is not better, in plain words."""

    @property
    def isolation(self) -> Any:
        """What isolates the sandbox, as the agent declares it."""

    @property
    def time(self) -> Any:
        """When the evidence was appraised."""


class Session(Protocol):
    """One open channel to one notebook's sandbox."""

    @property
    def verdict(self) -> Verdict:
        """What was established about the enclave."""

    async def send(self, kind: int, *parts: bytes) -> None:
        """Send one frame.

        Raises:
            UnavailableError: The enclave is lost.
        """

    async def receive(self) -> Frame:
        """Return the next frame.

        Raises:
            UnavailableError: The enclave is lost.
        """

    async def close(self) -> None:
        """End the session; the enclave stops the sandbox."""


OpenSession = Callable[[], Awaitable[Session]]
