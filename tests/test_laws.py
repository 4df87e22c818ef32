"""Every test by examples is a law: it has the mark by which CI finds it, and tries as many as CI wants."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.laws import law

TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def name_of(decorator: ast.expr) -> str:
    """The last name of what decorates: law of `@law(50)`, given of `@hypothesis.given(...)`."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def without_law(source: str) -> list[str]:
    """Tests by Hypothesis whose number of examples is not that of `law`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [name_of(d) for d in getattr(node, "decorator_list", [])]
        if ("given" in names and "law" not in names) or "settings" in names:
            found.append(f"{node.name}, line {node.lineno}")  # type: ignore[attr-defined]
    return found


def test_laws_without_the_mark_are_told() -> None:
    source = """
@law(5)
@given(x)
def test_one(x): ...
@hypothesis.given(x)
def test_two(x): ...
class Test:
    @settings(max_examples=5)
    @law(5)
    @given(x)
    def test_three(x): ...
"""
    assert without_law(source) == ["test_two, line 6", "test_three, line 11"]


@pytest.mark.parametrize("path", [p for p in TESTS if "given(" in p.read_text()], ids=lambda p: p.name)
def test_every_test_by_examples_is_a_law(path: Path) -> None:
    assert without_law(path.read_text()) == []


@pytest.mark.parametrize(("told", "examples"), [(None, 30), ("20", 30), ("1000", 1000)])
def test_examples_are_as_many_as_the_environment_wants(
    monkeypatch: pytest.MonkeyPatch, told: str | None, examples: int
) -> None:
    monkeypatch.delenv("LECTURE_EXAMPLES", raising=False)
    if told is not None:
        monkeypatch.setenv("LECTURE_EXAMPLES", told)

    def test() -> None: ...

    marked: Any = law(30)(test)
    assert [mark.name for mark in marked.pytestmark] == ["law"]
    chosen = marked._hypothesis_internal_use_settings
    assert (chosen.max_examples, chosen.deadline, chosen.derandomize) == (examples, None, True)
