"""Source mutants: change one line of a module while it runs, and put it back.

A mutant replaces the code objects of a module's functions, so that every importer sees the change.
"""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Iterator


@contextlib.contextmanager
def mutated(module: types.ModuleType, old: str, new: str) -> Iterator[None]:
    """Run the block with ``old`` replaced by ``new`` in the source of ``module`` (it must occur exactly once)."""
    source = inspect.getsource(module)
    if source.count(old) != 1:
        raise LookupError(f"{module.__name__}: {old!r} occurs {source.count(old)} times; the mutant list is stale")
    twin = types.ModuleType(module.__name__)
    twin.__dict__.update({name: value for name, value in module.__dict__.items() if name.startswith("__")})
    exec(compile(source.replace(old, new), module.__file__ or "", "exec"), twin.__dict__)
    saved_code = [(function, function.__code__, twin_function.__code__)
                  for function, twin_function in _functions(module, twin)]  # fmt: skip
    saved_values = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, int | float | str | tuple | dict) and not name.startswith("__")
    }
    _clear_caches(module)
    try:
        for function, _, changed in saved_code:
            function.__code__ = changed
        for name in saved_values:
            setattr(module, name, getattr(twin, name))
        yield
    finally:
        for function, original, _ in saved_code:
            function.__code__ = original
        for name, value in saved_values.items():
            setattr(module, name, value)
        _clear_caches(module)


def _functions(module, twin) -> Iterator[tuple[types.FunctionType, types.FunctionType]]:
    for name, value in list(vars(module).items()):
        other = getattr(twin, name, None)
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for attribute, member in vars(value).items():
                method = _function(member)
                if method is not None and attribute in vars(other):
                    yield method, _function(vars(other)[attribute])
            continue
        function = inspect.unwrap(value) if callable(value) else value
        if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
            yield function, inspect.unwrap(other)


def _function(member) -> types.FunctionType | None:
    """The function behind a method, a property or a cached one."""
    member = getattr(member, "fget", None) or getattr(member, "func", None) or member
    return member if isinstance(member, types.FunctionType) else None


def _clear_caches(module) -> None:
    for value in vars(module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
