"""A cursor over bytes that cannot read past their end: what every binary format here is parsed with."""

from __future__ import annotations

from typing import Literal

from cloister.attest.tee.codes import rejected


class Cursor:
    """Reads fields one after another; integers are little-endian unless ``order`` says otherwise.

    ``area`` is ``evidence`` or ``endorsements``: what a refusal is about.
    """

    def __init__(self, data: bytes, *, order: Literal["little", "big"] = "little", area: str = "evidence") -> None:
        self._data = data
        self._at = 0
        self._order: Literal["little", "big"] = order
        self._area = area

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._at

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes.

        Raises:
            RejectedError: ``evidence.truncated`` (``endorsements.malformed``): fewer are left.
        """
        if count < 0 or count > self.remaining:
            code = "evidence.truncated" if self._area == "evidence" else f"{self._area}.malformed"
            raise rejected(code, f"it ends at byte {len(self._data)}, inside a field at byte {self._at}")
        self._at += count
        return self._data[self._at - count : self._at]

    def u8(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return the next two bytes as a number."""
        return int.from_bytes(self.take(2), self._order)

    def u32(self) -> int:
        """Return the next four bytes as a number."""
        return int.from_bytes(self.take(4), self._order)

    def u64(self) -> int:
        """Return the next eight bytes as a number."""
        return int.from_bytes(self.take(8), self._order)

    def zeros(self, count: int, what: str) -> None:
        """Read ``count`` reserved bytes, which must be zero.

        Raises:
            RejectedError: ``evidence.malformed``: they are not, or ``take``'s.
        """
        if any(self.take(count)):
            raise rejected(f"{self._area}.malformed", f"{what} are not zero")

    def sub(self, count: int) -> Cursor:
        """Return a cursor over the next ``count`` bytes alone."""
        return Cursor(self.take(count), order=self._order, area=self._area)

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(self.remaining)

    def end(self, what: str = "the structure") -> None:
        """Refuse bytes after the last field.

        Raises:
            RejectedError: ``evidence.malformed``.
        """
        if self.remaining:
            raise rejected(f"{self._area}.malformed", f"{self.remaining} bytes follow {what}")
