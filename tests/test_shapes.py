"""The check of shapes itself, and that it reaches all that is public; without it the other tests see none."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lecture_lib import gaussians, measures, moon, quadrature
from lecture_lib.networks import Posterior
from tests import shapes

SOURCES = sorted((Path(__file__).resolve().parent.parent / "lecture_lib").glob("[a-z]*.py"))
X = np.zeros((2, 3))


@shapes.check
def doubled(x: Float[np.ndarray, "n dim"], times: int = 1) -> Float[np.ndarray, "n dim"]:
    if len(x) == 0:
        raise ValueError("x is empty")
    return np.concatenate([x] * times, axis=0)


@shapes.check
def rows(n: int, *parts: Float[np.ndarray, " n"]) -> Float[np.ndarray, "parts n"]:
    return np.stack(parts)


@shapes.check
def named(**values: Float[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, " n"]]:
    return {name: value[:2] for name, value in values.items()}


T = TypeVar("T")


@shapes.check
def handed_on(value: T) -> T:
    return value


@shapes.check
def tree(value: Any, *others: Any) -> tuple[Any, Any]:
    return value, others


def test_what_fits_passes() -> None:
    assert doubled(X).shape == (2, 3)
    assert rows(3, X[0], X[1]).shape == (2, 3)
    assert named(a=X[0, :2])["a"].shape == (2,)


def test_arrays_of_jax_and_lists_may_be_given_for_those_of_numpy() -> None:
    assert doubled(jnp.zeros((2, 3))).shape == doubled(X.tolist()).shape == (2, 3)
    with pytest.raises(shapes.Misfit, match="doubled: x is"):
        doubled([[[1.0]]])


def test_a_result_that_does_not_fit_is_found() -> None:
    with pytest.raises(shapes.Misfit, match=r"doubled: return is ndarray float64\[4, 3\].*x ndarray"):
        doubled(X, 2)
    with pytest.raises(shapes.Misfit, match="named: return"):
        named(a=X[0])


@pytest.mark.parametrize("x", [X.astype(int), X[None]], ids=["dtype", "rank"])
def test_an_argument_that_is_accepted_but_does_not_fit_is_found(x: Any) -> None:
    with pytest.raises(shapes.Misfit, match="doubled: x is"):
        doubled(x)


def test_a_number_with_the_name_of_a_dimension_is_that_dimension() -> None:
    with pytest.raises(shapes.Misfit, match="rows: parts is"):
        rows(2, X[0])


def test_several_arguments_share_their_dimensions() -> None:
    with pytest.raises(shapes.Misfit, match="named: values is"):
        named(a=X[0], b=X[:, 0])


def test_an_error_of_its_own_passes_unchanged() -> None:
    with pytest.raises(ValueError, match="x is empty"):
        doubled(X[:0, 0].astype(int))
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        doubled(X, y=1)


def test_fields_are_looked_at_wherever_they_pass() -> None:
    crooked = Posterior(jnp.zeros((2, 3)), jnp.zeros((3, 2)))
    for value in (crooked, [crooked], {"q": crooked}, (1, (crooked,))):
        with pytest.raises(shapes.Misfit, match=r"Posterior at .*handed_on: log_var is"):
            handed_on(value)

    assert tree(crooked)[0] is crooked  # any tree: JAX may have put an axis in front of all its arrays

    class Other(NamedTuple):
        n: Int[np.ndarray, " n"]

    assert handed_on(Other(X)).n is X  # type: ignore[arg-type]  # not of the package


def test_traced_arguments_are_checked_too() -> None:
    @shapes.check
    def short(x: Float[Array, " n"], key: PRNGKeyArray) -> Float[Array, " n"]:
        return x[1:]

    with pytest.raises(shapes.Misfit, match="short: return"):
        jax.jit(short)(jnp.zeros(3), jax.random.key(0))


def test_the_package_is_checked() -> None:
    assert measures.rms(X, X).shape == (2,)
    assert measures.rms([1.0, 2.0], X[:, :2]).shape == (2,)
    with pytest.raises(shapes.Misfit, match=r"measures\.rms: b is ndarray bool"):
        measures.rms(X, X > 0)
    rule = quadrature.trapezoid(-1.0, 1.0, 5)
    with pytest.raises(shapes.Misfit, match="Rule at"):
        handed_on(rule._replace(log_weights=rule.log_weights[1:]))
    with pytest.raises(ValueError, match="shapes differ"):
        gaussians.kl_standard_normal(jnp.zeros((2, 3)), jnp.zeros((3, 2)))
    assert moon.render(0.0, 16).shape == (16, 16)


# --- that it reaches everything, and that there is something to check -----------------------------


def is_checked(thing: Any) -> bool:
    """Whether there is a check somewhere inside a function, a property, a jitted or a cached function."""
    while thing is not None:
        if "checks_shapes" in getattr(thing, "__dict__", {}):
            return True
        thing = next(
            (vars(type(thing)).get(name) and getattr(thing, name) for name in ("fget", "__func__")), None
        ) or getattr(thing, "__wrapped__", None)
    return False


def found(module: Any, function: ast.FunctionDef, owner: str | None) -> Any:
    """What a definition in a module's text has become."""
    return vars(getattr(module, owner) if owner else module)[function.name]


def public_functions() -> Iterator[tuple[str, Any, ast.FunctionDef]]:
    """Name, object and text of all public functions and methods of the package."""
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = importlib.import_module(f"lecture_lib.{path.stem}")
        owners = {
            id(one): node.name for node in tree.body if isinstance(node, ast.ClassDef) for one in node.body
        }
        for function in shapes.public(tree):
            owner = owners.get(id(function))
            where = ".".join(filter(None, (path.stem, owner, function.name)))
            yield where, found(module, function, owner), function


def test_every_public_function_is_checked() -> None:
    every = dict((where, is_checked(thing)) for where, thing, _ in public_functions())
    assert [where for where, checked in every.items() if not checked] == []
    assert len(every) > 400
    for path in SOURCES:  # what `public` finds is all that Python would call so
        module = importlib.import_module(f"lecture_lib.{path.stem}")
        own = {
            name
            for name, thing in vars(module).items()
            if inspect.isfunction(thing) and thing.__module__ == module.__name__ and name[0] != "_"
        }
        assert own <= {where.removeprefix(f"{path.stem}.") for where in every}, path.stem


ARRAYS = {"Array", "ArrayLike", "ndarray"}
SHAPED = {"Float", "Float32", "Int", "Int32", "Integer", "UInt8", "Bool", "Real", "Shaped", "Key"}


def bare(annotation: ast.AST) -> Iterator[str]:
    """The arrays in an annotation that no shape belongs to."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in {*SHAPED, "Literal"}:
        return
    name = annotation.id if isinstance(annotation, ast.Name) else getattr(annotation, "attr", None)
    if name in ARRAYS:
        yield ast.unparse(annotation)
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        yield from bare(ast.parse(annotation.value, mode="eval").body)
    for part in ast.iter_child_nodes(annotation):
        yield from bare(part)


def test_bare_arrays_are_found() -> None:
    text = "Float[Array, 'n'] | tuple[np.ndarray, 'jax.Array'] | Callable[[ArrayLike], Int[Array, '']]"
    assert list(bare(ast.parse(text, mode="eval").body)) == ["np.ndarray", "jax.Array", "ArrayLike"]


def test_every_public_signature_says_its_shapes() -> None:
    problems = []
    for where, _, function in public_functions():
        given = function.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        for one in filter(None, every):
            if one.annotation is not None:
                problems += [f"{where}: {one.arg} is a bare {name}" for name in bare(one.annotation)]
            elif one.arg not in ("self", "cls"):
                problems.append(f"{where}: {one.arg} has no annotation")
        if function.returns is not None:
            problems += [f"{where}: the result is a bare {name}" for name in bare(function.returns)]
        elif function.name != "__init__":
            problems.append(f"{where}: the result has no annotation")
    assert problems == []


def test_every_public_field_and_alias_says_its_shape() -> None:
    problems = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name[0] != "_":
                fields = [(one.target, one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)]
                of = [(f"{node.name}.{ast.unparse(target)}", annotation) for target, annotation in fields]
            elif isinstance(node, ast.AnnAssign):
                of = [(ast.unparse(node.target), node.annotation)]
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                of = [(ast.unparse(node.targets[0]), node.value)]
            else:
                continue
            for name, annotation in of:
                problems += [f"{path.stem}.{name} is a bare {array}" for array in bare(annotation)]
    assert problems == []
