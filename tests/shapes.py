"""The annotations of lecture_lib, held against what its functions take and give while the tests run.

Every public function and method is called first and looked at afterwards: what it refuses with an error of
its own it may be given, but what it accepts, and what it answers, has to fit. The dimensions of a call share
their names: `n` in an argument is `n` in the result, and a whole number that is called n is that `n`, too.
Named tuples and dataclasses of the package are held against their fields wherever they pass, each in names
of its own.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.abc
import importlib.machinery
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import jax
import numpy as np
from beartype import BeartypeConf, FrozenDict
from beartype.door import is_bearable
from jaxtyping import Shaped, jaxtyped

PACKAGE = "lecture_lib"
# Numbers of NumPy count as numbers, as `whole` in checks.py has it.
NUMBERS = FrozenDict({int: int | np.integer, float: float | int | np.floating | np.integer})
CONF = BeartypeConf(hint_overrides=NUMBERS)
FOR_JAX = {"tree_flatten", "tree_unflatten"}
"""These meet whatever JAX has put in the place of arrays."""
MOST = 8  # so many items of a sequence are searched for tuples with fields


class Misfit(BaseException):
    """Something fits not its annotation; no Exception, since panels and exercises show those and go on."""


def told(value: Any) -> str:
    """A value in short: an array by its dtype and shape."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):  # nnx.Rngs has any attribute that is asked for
        return f"{type(value).__name__} {value.dtype}{list(value.shape)}"
    if isinstance(value, tuple | list) and len(value) <= MOST:
        return f"{type(value).__name__}({', '.join(map(told, value))})"
    return repr(value)[:80]


@functools.cache
def of_any_kind(hint: Any) -> Any:
    """What a hint says of arrays, whether of JAX or of NumPy; None if it says nothing of arrays."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    arrays = [kind for kind in kinds if hasattr(kind, "array_type")]
    return Union[tuple(kind.dtype[Any, kind.dim_str] for kind in arrays)] if arrays else None  # noqa: UP007


def fits(value: Any, hint: Any, *, given: bool = True) -> bool:
    """Whether a value fits a hint; beartype alone would look at a single item of a list or dict.

    What is `given` may be an array of JAX where one of NumPy is named, the other way round, a list of
    numbers, or what JAX traces in its place; shape and dtype have to fit all the same.
    """
    plain = get_origin(hint) or hint
    if hasattr(
        plain, "_fields"
    ):  # which are looked at by `look_into`; beartype knows no generic named tuples
        return isinstance(value, plain)
    either = of_any_kind(hint) if given or isinstance(value, jax.core.Tracer) else None
    if either is not None:
        one = np.asarray(value) if isinstance(value, list | tuple) else value
        if hasattr(one, "shape") and is_bearable(one, either):
            return True
    if not is_bearable(value, hint, conf=CONF):
        return False
    inside = get_args(hint)
    if plain in (dict, Mapping) and inside:
        return all(fits(one, inside[1], given=given) for one in value.values())
    if (plain in (list, Sequence) and inside) or (plain is tuple and inside[1:] == (...,)):
        return all(fits(one, inside[0], given=given) for one in value)
    return True


def hold(where: str, hints: dict[str, Any], values: dict[str, Any]) -> None:
    """Raise Misfit unless all values fit their hints, with each dimension's name standing for one size."""
    with jaxtyped("context"):
        names = set(re.findall(r"[a-z_]\w*", str(list(hints.values()))))
        for name in names & values.keys():
            if isinstance(values[name], int | np.integer) and not isinstance(values[name], bool):
                isinstance(np.broadcast_to(0, max(0, values[name])), Shaped[np.ndarray, name])
        for name, hint in hints.items():
            if hint is not Any and name in values and not fits(values[name], hint, given=name != "return"):
                rest = ", ".join(f"{n} {told(v)}" for n, v in values.items() if n not in (name, "self"))
                raise Misfit(f"{where}: {name} is {told(values[name])}; annotated {hint}; beside {rest}")


@functools.cache
def fields_of(kind: type) -> dict[str, Any] | None:
    """The annotated fields of a named tuple or dataclass of the package; None for other classes."""
    if not kind.__module__.startswith(PACKAGE):
        return None
    if hasattr(kind, "_fields") or dataclasses.is_dataclass(kind):
        return get_type_hints(kind, include_extras=True)
    return None


def look_into(where: str, value: Any, hint: Any) -> None:
    """Hold the named tuples and dataclasses in a value against their fields.

    Not if its hint is Any: it may be a tree in which JAX has put an axis in front of all arrays.
    """
    inner = get_args(hint)
    if hint is Any or (inner and all(one in (Any, ...) for one in inner)):
        return
    kind = type(value)
    hints = fields_of(kind)
    if hints:
        values = {name: getattr(value, name) for name in hints}
        hold(f"{kind.__name__} at {where}", hints, values)
        for name, one in values.items():
            look_into(where, one, hints[name])
        return
    if isinstance(value, tuple | list):
        inside: Sequence[Any] = value[:MOST]
    elif isinstance(value, dict):
        inside = list(value.values())[:MOST]
    else:
        return
    for one in inside:
        look_into(where, one, None)


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with what it accepts and what it returns held against its annotations."""
    where = f"{function.__module__.removeprefix(PACKAGE + '.')}.{function.__qualname__}"
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:  # at the first call, since names in quotes may stand below the function
        found = get_type_hints(function, include_extras=True)
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                found[name] = tuple[found[name], ...]
            elif parameter.kind is parameter.VAR_KEYWORD:
                found[name] = dict[str, found[name]]
        return found

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = bound.arguments | {"return": result}
        hold(where, hints(), values)
        for name, value in values.items():
            look_into(where, value, hints().get(name))
        return result

    checked.checks_shapes = True  # type: ignore[attr-defined]
    return checked


def public(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The public functions of a module, and the public methods of its public classes."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for one in inside:
            named = isinstance(one, ast.FunctionDef) and one.name
            if (
                named
                and named not in FOR_JAX
                and (not named.startswith("_") or named in ("__init__", "__call__"))
            ):
                yield one


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with `check` as the innermost decorator of all that is public in it.

    Innermost, so that jitted functions, cached ones and properties stay what they are.
    """

    def get_code(self, fullname: str) -> Any:  # never from bytecode, which knows of no checks
        tree = ast.parse(self.get_data(self.path), self.path)
        for function in public(tree):
            mark = ast.parse(f"__import__({__name__!r}, fromlist=['check']).check", mode="eval").body
            for node in ast.walk(mark):
                ast.copy_location(node, function)
            function.decorator_list.append(mark)
        return compile(tree, self.path, "exec", dont_inherit=True)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the package for the loader above."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if not fullname.startswith(PACKAGE + "."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            spec.loader = Loader(fullname, spec.origin)
        return spec


def install() -> None:
    """Check all modules of the package that are imported from now on."""
    assert not any(name.startswith(PACKAGE + ".") for name in sys.modules), "imported before the checks"
    # Before Python's own finder only: tools/mutate.py, which comes before, has its own text of a module.
    sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), Finder())
