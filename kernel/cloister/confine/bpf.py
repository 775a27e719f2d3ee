"""A seccomp allowlist as data, and its translation to classic BPF.

A ``Rule`` names a system call and, if it is allowed only for some arguments, the alternatives that are. Arguments
are compared in their low 32 bits: that is what the kernel reads of an ``int`` (a process id, a command, a clock),
so whatever is put above them changes nothing. Pointers cannot be looked behind; calls whose danger is behind a
pointer are not on any list.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from cloister.confine.syscalls import AUDIT_ARCH, KNOWN_UP_TO, SYSCALLS

KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _JEQ, _JGE, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_OFFSET_NR, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16
_X32_BIT = 0x40000000
_FULL = 0xFFFFFFFF
MAX_INSTRUCTIONS = 4096


@dataclass(frozen=True)
class Arg:
    """A condition: ``argument[index] & mask == value``, in the low 32 bits."""

    index: int
    value: int
    mask: int = _FULL


@dataclass(frozen=True)
class Rule:
    """What happens to one system call.

    ``alternatives`` are conjunctions of conditions; the call runs if one of them holds, always if the only one
    is empty, never if there is none. Otherwise it returns ``-error``; error 0 pretends success without doing it.
    """

    syscall: str
    alternatives: tuple[tuple[Arg, ...], ...] = ((),)
    error: int = errno.EPERM


def allow(*names: str) -> tuple[Rule, ...]:
    """Allow system calls whatever their arguments."""
    return tuple(Rule(name) for name in names)


def refuse(error: int, *names: str) -> tuple[Rule, ...]:
    """Refuse system calls with an error other than the default."""
    return tuple(Rule(name, (), error) for name in names)


def one_of(syscall: str, index: int, values: Iterable[int], *, mask: int = _FULL, error: int = errno.EPERM) -> Rule:
    """Allow a system call if an argument has one of ``values``."""
    return Rule(syscall, tuple((Arg(index, value & _FULL, mask),) for value in values), error)


def assemble(rules: Iterable[Rule], architecture: str) -> bytes:
    """Translate rules into a BPF program for ``architecture``.

    Unlisted calls return EPERM; calls newer than this table return ENOSYS, so that libraries fall back; calls of
    a foreign ABI kill the process. Names an architecture does not have are skipped.

    Raises:
        ValueError: If a call is listed twice, or the program is too long for the kernel.
    """
    column = ("x86_64", "aarch64").index(architecture)
    code = [
        _op(_LOAD, _OFFSET_ARCH), _op(_JEQ, AUDIT_ARCH[architecture], 1, 0), _op(_RETURN, KILL_PROCESS),
        _op(_LOAD, _OFFSET_NR),
    ]  # fmt: skip
    if architecture == "x86_64":
        code += [_op(_JGE, _X32_BIT, 0, 1), _op(_RETURN, KILL_PROCESS)]
    seen: set[str] = set()
    for rule in rules:
        if rule.syscall in seen:
            raise ValueError(f"{rule.syscall} is listed twice")
        seen.add(rule.syscall)
        number = SYSCALLS[rule.syscall][column]
        if number is None:
            continue
        body = _body(rule)
        code += [_op(_JEQ, number, 0, len(body)), *body]
    code += [_op(_JGE, KNOWN_UP_TO + 1, 0, 1), _op(_RETURN, ERRNO | errno.ENOSYS), _op(_RETURN, ERRNO | errno.EPERM)]
    if len(code) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(code)} instructions; the kernel takes {MAX_INSTRUCTIONS}")
    return b"".join(code)


def _body(rule: Rule) -> list[bytes]:
    body: list[bytes] = []
    for conditions in rule.alternatives:
        if not conditions:
            return [*body, _op(_RETURN, ALLOW)]
        sizes = [2 if argument.mask == _FULL else 3 for argument in conditions]
        for position, argument in enumerate(conditions):
            body.append(_op(_LOAD, _OFFSET_ARGS + 8 * argument.index))
            if argument.mask != _FULL:
                body.append(_op(_AND, argument.mask))
            to_next_alternative = sum(sizes[position + 1 :]) + 1
            body.append(_op(_JEQ, argument.value, 0, to_next_alternative))
        body.append(_op(_RETURN, ALLOW))
    return [*body, _op(_RETURN, ERRNO | rule.error)]


def _op(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, k & _FULL)
