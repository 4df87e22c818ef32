"""tools/mutate.py: which changes it makes, that a wrong sign is caught, and that an untested line is told."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import mutate

TOY = '''"""The 2 of a docstring stays."""

FACTOR = 2.0


def area(a: "tuple[int, 3]", b, *, corner=0):
    """Says 4."""
    if not a < 1 and b:
        raise ValueError("wants", 5)
    return FACTOR * (a - b) + min(a, -corner)


def idle(x):
    return x.mean(axis=-1) / 3
'''
TESTS = """import toy


def test_area():
    assert toy.area(0, 3) == -6 and toy.area(0.5, 3, corner=1) == -6


def test_other():
    pass
"""


def changes(expression: str) -> set[str]:
    return {m.after for m in mutate.mutants(expression)}


def test_changes_of_a_module_are_these() -> None:
    found = [(m.line, m.before, m.after) for m in mutate.mutants(TOY)]
    assert sorted(found) == sorted(
        [
            (3, "2.0", "4.0"),
            (6, "0", "1"),
            (8, "not a < 1 and b", "not a < 1 or b"),
            (8, "not a < 1", "a < 1"),
            (8, "a < 1", "a <= 1"),
            (8, "a < 1", "a > 1"),
            (8, "1", "2"),
            (10, "FACTOR * (a - b) + min(a, -corner)", "FACTOR * (a - b) - min(a, -corner)"),
            (10, "FACTOR * (a - b)", "FACTOR / (a - b)"),
            (10, "FACTOR * (a - b)", "-(FACTOR * (a - b))"),
            (10, "a - b", "a + b"),
            (10, "min", "max"),
            (10, "-corner", "corner"),
            (14, "x.mean(axis=-1) / 3", "x.mean(axis=-1) * 3"),
            (14, "x.mean(axis=-1) / 3", "-(x.mean(axis=-1) / 3)"),
            (14, "-1", "0"),
            (14, "3", "4"),
        ]
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.5", {"1.0"}),
        ("0.0", {"1.0"}),
        ("x[-1]", {"x[0]", "x[1]"}),
        ("f(axis=(-2, -1))", {"f(axis=(-1, -1))", "f(axis=(-2, 0))", "f(axis=(2, -1))", "f(axis=(-2, 1))"}),
        ("a <= b < c", {"a < b < c", "a >= b < c", "a <= b <= c", "a <= b > c"}),
        ("a == b", {"a != b"}),
        ("a is None", {"a is not None"}),
        ("np.argmin(x) | y", {"np.argmin(x) & y", "np.argmax(x) | y"}),
        ("a * b / c", {"a * b * c", "a / b / c", "-(a * b / c)"}),
        ("x ** 2", {"x ** 3", "-x ** 2"}),
        ("x += 1", {"x -= 1", "x += 2"}),
        ("f'{x + 1}'", set()),
        ("x: list[3] = 4", {"x: list[3] = 5"}),
        ("raise ValueError(f(1))", set()),
        ("True", set()),
    ],
)
def test_changes_of_an_expression_are_these(before: str, after: set[str]) -> None:
    whole = {
        ast.unparse(mutate.mutated(before, m)).replace("(a * b) / c", "a * b / c")
        for m in mutate.mutants(before)
    }
    assert whole == after


def test_a_wrong_sign_is_caught_and_an_untested_line_survives(tmp_path: Path) -> None:
    """In a Python of its own, which has started no threads."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "test_toy.py").write_text(TESTS)
    script = """if True:
        import json, sys
        from pathlib import Path
        from tools import mutate
        folder = Path(sys.argv[1])
        target = mutate.Target("toy", folder / "toy.py", (folder / "test_toy.py",), folder)
        said = []
        found = mutate.try_out(target, mutate.mutants(target.file.read_text()), 2, said.append)
        outcomes = [(m.line, m.after, outcome) for m, outcome in found.items()]
        print(json.dumps([outcomes, said, mutate.table({"toy": found})]))
    """
    environment = {**os.environ, "PYTHONPATH": str(mutate.ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    outcomes, said, table = json.loads(done.stdout)
    became = {(line, after): outcome for line, after, outcome in outcomes}
    assert len(became) == 17
    assert became[10, "a + b"] == became[3, "4.0"] == became[10, "-(FACTOR * (a - b))"] == "caught"
    alive = {key for key, outcome in became.items() if outcome == "survived"}
    # a test of area might have told a = 1 from a < 1
    assert {key for key in alive if key[0] == 14} == {key for key in became if key[0] == 14}
    assert (8, "a <= 1") in alive
    assert "toy.py:14:30: `3` -> `4` survived: no test runs it" in said
    assert len(said) == len(alive)
    share = f"{100 - 100 * len(alive) / 17:.1f} %"
    assert f"| toy | 17 | {17 - len(alive)} | 0 | {len(alive)} | {share} |" in table
    assert (tmp_path / "toy.py").read_text() == TOY
    (known,) = (tmp_path / ".pytest_cache" / "mutate").glob("*.json")
    tests = json.loads(known.read_text())["tests"]
    assert tests["test_toy.py::test_area"][1] == [6, 8, 10] and tests["test_toy.py::test_other"][1] == []


def test_the_command_lists_what_it_would_try(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutate.main(["measures", "--list", "--sample", "5", "--seed", "3"]) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert len(drawn) == 5 and all(line.startswith("measures.py:") for line in drawn)
    assert mutate.main(["measures", "--list", "--sample", "5", "--seed", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == drawn
    with pytest.raises(SystemExit):
        mutate.main(["measure"])
    assert "no tests are known for measure; there are gaussians" in capsys.readouterr().err


def test_share_of_what_is_caught() -> None:
    assert mutate.share(["caught", "timed out", "survived", "caught"]) == 0.75
    assert mutate.share([]) == 1
    assert mutate.wanted_lines("12,40-42") == {12, 40, 41, 42}
