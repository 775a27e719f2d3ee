"""Exact sums of charges: fractions as text, added without error while that is possible at all."""

from __future__ import annotations

from fractions import Fraction

from cloister.errors import MalformedError

MAX_TEXT = 512
MAX_DENOMINATOR_BITS = 1024
_GRID_BITS = 512


def parse(text: str) -> Fraction:
    """Return the non-negative fraction written as ``"p/q"`` in lowest terms, or ``"p"``.

    Raises:
        MalformedError: ``ledger.fraction``: too long, negative, or another spelling.
    """
    if len(text) <= MAX_TEXT and text.replace("/", "", 1).isascii() and text.replace("/", "", 1).isdigit():
        try:
            value = Fraction(text)
        except (ValueError, ZeroDivisionError):
            value = Fraction(-1)
        if value >= 0 and str(value) == text:
            return value
    raise MalformedError("ledger.fraction", "an amount is a fraction p/q in lowest terms")


def add(left: Fraction, right: Fraction) -> Fraction:
    """Return the sum; a denominator beyond 1024 bits is rounded up to a multiple of 2^-512.

    Charges of many different noise levels have coprime denominators, and exact sums would grow without limit.
    Rounding up books too much by less than 2^-511, never too little.
    """
    total = left + right
    if total.denominator.bit_length() <= MAX_DENOMINATOR_BITS:
        return total
    return Fraction(-((-total.numerator << _GRID_BITS) // total.denominator), 1 << _GRID_BITS)
