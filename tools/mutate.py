"""Do the tests notice a wrong sign? Change formulas one place at a time, and count what is caught.

    python tools/mutate.py                       all of gaussians, objectives and measures
    python tools/mutate.py measures --sample 40  forty of the changes, drawn by --seed
    python tools/mutate.py measures --lines 120,150-155 --list

A mutant has one sign, comparison, constant or name turned: see `others`. It lives in the memory of a process
of its own and is tried by those tests of the module that run its line, the quickest first, until one fails;
no file of the checkout is ever written but the record of who runs what, in .pytest_cache. The process is
forked from one that has imported the libraries but started nothing of JAX, so that a mutant takes a second
or so. One that runs far longer than the tests do is stopped and counts as caught.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = {
    "gaussians": ("test_gaussians", "test_mixtures"),
    "objectives": ("test_objectives", "test_gan_objectives"),
    "measures": ("test_measures", "test_sample_measures"),
}
"""The tests that are to notice: those of the module itself, not of what is built on it."""
LIBRARIES = (
    *("numpy", "scipy.integrate", "scipy.ndimage", "scipy.spatial", "scipy.special", "scipy.stats", "optax"),
    *("jax", "jax.numpy", "jax.scipy.stats", "jax.scipy.special", "flax.nnx", "jaxtyping", "tqdm.auto"),
    *("sklearn.decomposition", "sklearn.mixture", "hypothesis.extra.numpy", "PIL.Image", "pooch"),
)


# --- mutants --------------------------------------------------------------------------------

OPERATORS: dict[type[ast.AST], tuple[type[Any], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
PAIRS = [("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("any", "all"), ("floor", "ceil")]
NAMES = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
PRODUCTS = (ast.Mult, ast.Div, ast.MatMult, ast.Pow)


class Mutant(NamedTuple):
    """A change of one expression."""

    line: int
    column: int
    before: str
    after: str
    lines: range
    """Of the statement that it stands in: a test that runs one of them may notice."""
    path: tuple[tuple[str, int | None], ...]
    """The fields, and places in lists, that lead from the module to the expression."""
    new: ast.AST


def number(node: ast.AST) -> int | float | None:
    """The number that stands there, with its sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand) if isinstance(node.operand, ast.Constant) else None
        return None if inner is None else -inner
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def others(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    """What might have stood there by mistake."""
    value = number(node)
    if (
        value is not None
    ):  # 0 -> 1, 1 -> 2, -1 -> 0, 0.5 -> 1.0, -1 -> 1 unless it is an axis, perhaps the last
        yield ast.Constant(value + 1 if isinstance(value, int) or not value else 2 * value)
        if value < 0 and not (isinstance(parent, ast.keyword) and parent.arg == "axis"):
            yield ast.Constant(-value)
        return
    match node:
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert(), operand=operand):
            yield operand
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op):
            for kind in OPERATORS.get(type(op), ()):
                yield replaced(node, op=kind())
            # the sign of a whole product, unless that of a sum or of a larger product is the same change
            inner = isinstance(parent, ast.UnaryOp) or (
                isinstance(parent, ast.BinOp) and (isinstance(parent.op, PRODUCTS) or node is parent.right)
            )
            if isinstance(node, ast.BinOp) and isinstance(op, PRODUCTS) and not inner:
                yield ast.UnaryOp(ast.USub(), node)
        case ast.Compare(ops=ops):
            for k, op in enumerate(ops):
                for kind in OPERATORS.get(type(op), ()):
                    yield replaced(node, ops=[*ops[:k], kind(), *ops[k + 1 :]])
        case ast.Name(id=name) if name in NAMES:
            yield replaced(node, id=NAMES[name])
        case ast.Attribute(attr=name) if name in NAMES:
            yield replaced(node, attr=NAMES[name])


def replaced(node: ast.AST, **fields: Any) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def mutants(source: str) -> list[Mutant]:
    """All changes of a module, by line: none of types, of decorators (caches) and of what errors say."""
    found: list[Mutant] = []

    def visit(node: ast.AST, parent: ast.AST, path: tuple[tuple[str, int | None], ...], lines: range) -> None:
        if isinstance(node, (ast.Raise, ast.JoinedStr)):
            return
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)  # of a compound statement only the head
            lines = range(node.lineno, body[0].lineno if body else (node.end_lineno or node.lineno) + 1)
            lines = lines or range(node.lineno, node.lineno + 1)  # "if x: y" on one line
        for new in others(node, parent):
            place: Any = node
            texts = ast.unparse(node), ast.unparse(new)
            found.append(Mutant(place.lineno, place.col_offset + 1, *texts, lines, path, new))
        if number(node) is not None:
            return
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list"):
                continue
            for k, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    visit(child, node, (*path, (field, k)), lines)

    tree = ast.parse(source)
    visit(tree, tree, (), range(0))
    return sorted(found, key=lambda m: (m.line, m.column))


def mutated(source: str, mutant: Mutant | None) -> ast.AST:
    """The module with the change; without one, as it is."""
    tree = ast.parse(source)
    if mutant is not None:
        *way, (field, k) = mutant.path
        node: Any = tree
        for name, place in way:
            node = getattr(node, name) if place is None else getattr(node, name)[place]
        old = getattr(node, field) if k is None else getattr(node, field)[k]
        new = ast.copy_location(copy.deepcopy(mutant.new), old)
        if k is None:
            setattr(node, field, new)
        else:
            getattr(node, field)[k] = new
    return ast.fix_missing_locations(tree)


# --- trying them ----------------------------------------------------------------------------


class Target(NamedTuple):
    """A module, and the files of the tests that are to notice."""

    module: str
    file: Path
    tests: tuple[Path, ...]
    root: Path = ROOT

    @property
    def name(self) -> str:
        return self.file.stem


class Patched(MetaPathFinder, Loader):
    """Imports the module from this tree."""

    def __init__(self, target: Target, tree: ast.AST):
        self.target, self.tree = target, tree

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, origin=str(self.target.file)) if name == self.target.module else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self.target.file)
        exec(compile(self.tree, str(self.target.file), "exec"), module.__dict__)  # type: ignore[arg-type]


class Chosen:
    """Plugin of pytest: runs these tests in this order."""

    def __init__(self, tests: Sequence[str]):
        self.place = {test: k for k, test in enumerate(tests)}

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Iterator[None]:
        yield
        items[:] = sorted((i for i in items if i.nodeid in self.place), key=lambda i: self.place[i.nodeid])


class Recorder:
    """Plugin of pytest: who runs which lines, and for how long. Nothing remains cached from test to test."""

    def __init__(self, file: Path):
        self.file, self.hit = str(file), set[int]()
        self.at_import: list[int] = []
        self.tests: dict[str, tuple[float, list[int]]] = {}

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != self.file:
            return None
        self.hit.add(frame.f_lineno)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, Any, Any]:
        sys.settrace(self.trace)
        result = yield
        sys.settrace(None)
        self.at_import = sorted(self.hit)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in ("lecture_lib", "tests"):
                for value in vars(module).values():
                    getattr(value, "cache_clear", lambda: None)()
        if "jax" in sys.modules:
            sys.modules["jax"].clear_caches()
        self.hit, start = set(), time.perf_counter()
        sys.settrace(self.trace)
        result = yield
        sys.settrace(None)
        self.tests[item.nodeid] = (time.perf_counter() - start, sorted(self.hit))
        return result


def run_tests(target: Target, tree: ast.AST, files: Sequence[Path], plugin: Any) -> int:
    """Exit status of pytest, in this process, which is good for nothing else afterwards."""
    os.chdir(target.root)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.meta_path.insert(0, Patched(target, tree))
    # one failing example is enough, the first; nobody reads a smaller one
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("quick", phases=phases)
    hypothesis.settings.load_profile("quick")
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", f"--rootdir={target.root}"]
    return int(pytest.main([*options, *map(str, files)], plugins=[plugin]))


def fork(work: Callable[[], int], limit: float) -> int:
    """A process that does this and ends by its exit status, or by SIGALRM after so many seconds."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: those of OpenBLAS, which is ready for forks
        pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        signal.alarm(int(limit) + 1)
        status = work()
    finally:
        os._exit(status)


def record(target: Target) -> dict[str, Any]:
    """The lines that each test runs: from .pytest_cache, unless the sources have changed since."""
    sources = [target.file, *target.tests]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    place = target.root / ".pytest_cache" / "mutate" / f"{target.name}.json"
    try:
        known = json.loads(place.read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("key") == key:
        return known
    place.parent.mkdir(parents=True, exist_ok=True)

    def work() -> int:
        recorder = Recorder(target.file)
        status = run_tests(target, mutated(target.file.read_text(), None), target.tests, recorder)
        if status == 0:
            new = place.with_suffix(".new")
            new.write_text(json.dumps({"key": key, "import": recorder.at_import, "tests": recorder.tests}))
            new.replace(place)
        return status

    status = os.waitstatus_to_exitcode(os.waitpid(fork(work, 3600), 0)[1])
    if status:
        sys.exit(f"The tests of {target.name} fail as it is (exit status {status}): nothing to compare with.")
    return json.loads(place.read_text())


def tests_of(mutant: Mutant, known: dict[str, Any]) -> list[str]:
    """Who may notice, the quickest first: all, if the line is run only when the module is imported."""
    tests: dict[str, tuple[float, list[int]]] = known["tests"]
    its = set(mutant.lines)
    hit = [test for test, (_, lines) in tests.items() if its.intersection(lines)]
    if not hit and its.intersection(known["import"]):
        hit = list(tests)
    return sorted(hit, key=lambda test: tests[test][0])


def try_out(
    target: Target, chosen: Sequence[Mutant], jobs: int = 1, say: Callable[[str], object] = print
) -> dict[Mutant, str]:
    """What became of each mutant: "caught", "timed out" or "survived"."""
    known, source = record(target), target.file.read_text()
    found: dict[Mutant, str] = {}
    running: dict[int, Mutant] = {}
    waiting = list(chosen)[::-1]

    def start(mutant: Mutant) -> None:
        tests = tests_of(mutant, known)
        if not tests:
            found[mutant] = "survived"
            return say(f"{told(target, mutant)} survived: no test runs it") and None
        names = {test.split("::")[0] for test in tests}
        files = [file for file in target.tests if file.relative_to(target.root).as_posix() in names]
        limit = 60 + 3 * sum(known["tests"][test][0] for test in tests)
        tree = mutated(source, mutant)
        running[fork(lambda: run_tests(target, tree, files, Chosen(tests)), limit)] = mutant

    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                start(waiting.pop())
            if running:
                pid, status = os.wait()
                mutant = running.pop(pid)
                code = os.waitstatus_to_exitcode(status)
                found[mutant] = {0: "survived", -signal.SIGALRM: "timed out"}.get(code, "caught")
                if found[mutant] != "caught":
                    say(f"{told(target, mutant)} {found[mutant]}")
                if len(found) % 50 == 0:
                    say(f"{target.name}: {len(found)} of {len(chosen)}")
    finally:
        for pid in running:  # after Ctrl-C
            os.killpg(pid, signal.SIGKILL)
    return found


def told(target: Target, mutant: Mutant) -> str:
    return f"{target.name}.py:{mutant.line}:{mutant.column}: `{mutant.before}` -> `{mutant.after}`"


# --- the command ----------------------------------------------------------------------------


def table(results: dict[str, dict[Mutant, str]]) -> str:
    """Markdown: a row for each module, and one for all."""
    rows = {name: list(found.values()) for name, found in results.items()}
    rows["all"] = [outcome for outcomes in rows.values() for outcome in outcomes]
    lines = ["| module | mutants | caught | timed out | survived | share |", "|---|---:|---:|---:|---:|---:|"]
    for name, outcomes in rows.items():
        counts = [outcomes.count(outcome) for outcome in ("caught", "timed out", "survived")]
        cells = [name, len(outcomes), *counts, f"{100 * share(outcomes):.1f} %"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def share(outcomes: Sequence[str]) -> float:
    return 1 - outcomes.count("survived") / len(outcomes) if outcomes else 1.0


def wanted_lines(text: str) -> set[int]:
    parts = [part.split("-") for part in text.split(",")]
    return {line for part in parts for line in range(int(part[0]), int(part[-1]) + 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Change formulas one place at a time: do the tests notice?")
    parser.add_argument("modules", nargs="*", default=list(TESTS), help=", ".join(TESTS))
    parser.add_argument("--sample", type=int, help="so many mutants of each module only")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--lines", type=wanted_lines, help="only those on these lines, such as 12,40-45")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time")
    parser.add_argument("--least", type=float, default=95, help="percent to be caught, else exit status 1")
    parser.add_argument("--list", action="store_true", help="only say what would be tried")
    given = parser.parse_args(arguments)
    unknown = set(given.modules) - set(TESTS)
    if unknown:
        parser.error(f"no tests are known for {', '.join(sorted(unknown))}; there are {', '.join(TESTS)}")
    results: dict[str, dict[Mutant, str]] = {}
    begun = time.perf_counter()
    for name in given.modules:
        tests = tuple(ROOT / "tests" / f"{test}.py" for test in TESTS[name])
        target = Target(f"lecture_lib.{name}", ROOT / "lecture_lib" / f"{name}.py", tests)
        chosen = mutants(target.file.read_text())
        chosen = [m for m in chosen if given.lines is None or m.line in given.lines]
        if given.sample is not None and given.sample < len(chosen):
            drawn = random.Random(given.seed).sample(range(len(chosen)), given.sample)
            chosen = [chosen[k] for k in sorted(drawn)]
        if given.list:
            print(*(told(target, mutant) for mutant in chosen), sep="\n")
            continue
        prepare()
        results[name] = try_out(target, chosen, given.jobs, lambda text: print(text, flush=True))
    if given.list:
        return 0
    print(f"\n{table(results)}\n\n{time.perf_counter() - begun:.0f} s")
    outcomes = [outcome for found in results.values() for outcome in found.values()]
    return int(100 * share(outcomes) < given.least)


def prepare() -> None:
    """Import what all mutants need, and nothing that is changed or that starts threads."""
    # the mutants' programs are kept apart from those of the tests, and their number grows
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "mutate" / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, str(ROOT))
    for library in LIBRARIES:
        importlib.import_module(library)


if __name__ == "__main__":
    sys.exit(main())
