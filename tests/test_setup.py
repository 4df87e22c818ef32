"""The set-up: one set of pins for every way in, and a bootstrap script that says what is wrong."""

from __future__ import annotations

import ast
import errno
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.conftest import group_of, keep_bytecode, keep_compiled
from tests.xla_flags import QUICK, as_for_readers, compile_quickly
from tools import bootstrap, check_browser_ran

ROOT = Path(__file__).resolve().parent.parent
LOW, END = (3, 11), (3, 14)
SUPPORTED = ["3.11", "3.12", "3.13"]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PINS = (ROOT / "requirements.txt").read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(PYPROJECT)


def pin_lines() -> list[str]:
    return [line for line in PINS.splitlines() if line and not line.startswith("#")]


def pins_for(minor: str) -> dict[str, str]:
    """The version of each package that the pins choose for this Python, on this system."""
    environment = {**default_environment(), "python_version": minor, "python_full_version": minor + ".0"}
    chosen: dict[str, str] = {}
    for line in pin_lines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in chosen, f"{name} is pinned twice for Python {minor}"
            chosen[name] = str(requirement.specifier).removeprefix("==")
    return chosen


# --- the three files agree ------------------------------------------------------------------


def test_supported_pythons_are_those_of_pyproject() -> None:
    allowed = SpecifierSet(project()["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in allowed] == SUPPORTED
    assert bootstrap.supported_range(PYPROJECT) == (LOW, END)


@pytest.mark.parametrize("minor", SUPPORTED)
def test_every_dependency_is_pinned_within_its_bounds(minor: str) -> None:
    pins = pins_for(minor)
    wanted = project()["project"]["dependencies"] + project()["dependency-groups"]["dev"]
    for line in wanted:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in requirements.txt"
        assert pins[name] in requirement.specifier


def test_pins_are_exact_and_name_no_server() -> None:
    for line in pin_lines():
        specifiers = list(Requirement(line).specifier)
        assert [s.operator for s in specifiers] == ["=="], line
        assert "*" not in specifiers[0].version, line
    # An address would bind everybody to one mirror; `@` and `--` are the other ways to write one.
    for forbidden in ("://", "@", "--hash", "--index", "--find-links", "--extra"):
        assert forbidden not in PINS


def conda_environment() -> tuple[str, list[str]]:
    """The Python and the pip lines of environment.yml."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (python,) = [d for d in dependencies if isinstance(d, str) and d.startswith("python=")]
    (pip,) = [d["pip"] for d in dependencies if isinstance(d, dict)]
    return python.removeprefix("python="), pip


def test_conda_environment_has_the_same_pins_and_a_supported_python() -> None:
    python, pip = conda_environment()
    assert python in SUPPORTED
    assert pip == ["-r requirements.txt", "-e ."]


@pytest.mark.network
def test_pip_part_of_conda_environment_installs(tmp_path: Path) -> None:
    def uv(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "uv", *arguments]
        environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, **options
        )

    python = tmp_path / "fresh" / "bin" / "python"
    assert uv("venv", "--python", sys.executable, str(tmp_path / "fresh")).returncode == 0
    _, pip = conda_environment()
    words = [word for line in pip for word in line.split()]
    installed = uv("pip", "install", "--python", str(python), *words)
    if installed.returncode != 0 and "CI" not in os.environ:
        probe = uv("pip", "compile", "--no-cache", "-", input="iniconfig\n")
        if probe.returncode != 0:
            pytest.skip("the package registry is out of reach")
    assert installed.returncode == 0, installed.stderr

    code = "import lecture_lib; print(lecture_lib.__file__)"
    imported = subprocess.run(
        [str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert imported.returncode == 0, imported.stderr
    assert Path(imported.stdout.strip()) == ROOT / "lecture_lib" / "__init__.py"


def test_wheel_holds_the_static_files(tmp_path: Path) -> None:
    import zipfile

    source = tmp_path / "source"
    static = source / "lecture_lib" / "static"
    static.mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", source)
    shutil.copy(ROOT / "LICENSE", source)
    shutil.copy(ROOT / "README.md", source)
    (source / "lecture_lib" / "__init__.py").touch()
    (static / "widget.js").touch()
    (static / "widget.css").touch()
    command = [sys.executable, "-m", "uv", "build", "--wheel", "--offline", "--out-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"lecture_lib/static/widget.js", "lecture_lib/static/widget.css"} <= names


# --- bootstrap: its decisions ---------------------------------------------------------------


def test_old_python_line_names_found_needed_and_next_step() -> None:
    line = bootstrap.wrong_python((3, 8, 18, "final", 0), "/usr/bin/python3", LOW, END, "python3.12", "test")
    assert line == (
        "Found Python 3.8.18 (/usr/bin/python3); this project needs Python 3.11 to 3.13. "
        "Type: make PYTHON=python3.12 test"
    )
    line = bootstrap.wrong_python((3, 14, 0), "python3", LOW, END, None, "lab")
    assert line.endswith("Install one of them, then type: make PYTHON=python3.13 lab")


def test_digest_follows_what_is_installed_and_nothing_else() -> None:
    base = bootstrap.digest(PINS, PYPROJECT)
    assert bootstrap.digest("# another comment\n" + PINS, PYPROJECT) == base
    assert bootstrap.digest(PINS, PYPROJECT.replace("line-length = 110", "line-length = 99")) == base
    assert bootstrap.digest(PINS + "zzz==1.0\n", PYPROJECT) != base
    assert bootstrap.digest(PINS.replace("numpy==2", "numpy==1"), PYPROJECT) != base
    for line in ('version = "0.1.0"', '"jax>=0.8"', '"uv>=0.11"', 'module-root = ""'):
        assert bootstrap.digest(PINS, PYPROJECT.replace(line, line + "  # changed")) != base


def test_stamp_counts_only_where_all_of_it_fits() -> None:
    stamp = {"layout": bootstrap.LAYOUT, "digest": "d", "venv": "/here/.venv", "minor": "3.12"}
    assert bootstrap.is_current(stamp, "d", "/here/.venv", None)
    assert bootstrap.is_current(stamp, "d", "/here/.venv", "3.12")
    assert not bootstrap.is_current(stamp, "d", "/here/.venv", "3.11")
    assert not bootstrap.is_current(stamp, "other pins", "/here/.venv", None)
    assert not bootstrap.is_current(stamp, "d", "/moved/.venv", None)
    assert not bootstrap.is_current({**stamp, "layout": 0}, "d", "/here/.venv", None)
    assert not bootstrap.is_current(None, "d", "/here/.venv", None)


def test_pinned_uv_is_the_one_in_the_pins() -> None:
    assert bootstrap.pinned(PINS, "uv") == "uv==" + pins_for("3.11")["uv"]
    with pytest.raises(bootstrap.SetupError, match="no pin for uv"):
        bootstrap.pinned("uvloop==1.0\n", "uv")


def test_finds_the_newest_python_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "can_build", lambda python: python in {"python3.11", "python3.12"})
    assert bootstrap.find_alternative(LOW, END) == "python3.12"
    monkeypatch.setattr(bootstrap, "can_build", lambda python: False)
    assert bootstrap.find_alternative(LOW, END) is None


# --- bootstrap: at work ---------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what set-up reads, with a space in its path, in which nothing gets installed."""
    root = tmp_path / "a checkout"
    root.mkdir()
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    monkeypatch.setattr(bootstrap, "ROOT", str(root))
    return root


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that bootstrap would run; `venv` makes just a folder and an interpreter."""
    seen: list[list[str]] = []

    def run(command: list[str], log: io.BufferedWriter | None) -> int:
        seen.append(command)
        if command[1:3] == ["-m", "venv"]:
            shutil.rmtree(command[-1], ignore_errors=True)
            folder = Path(command[-1]) / "bin"
            folder.mkdir(parents=True)
            (folder / "python").symlink_to(sys.executable)
        return 0

    monkeypatch.setattr(bootstrap, "run", run)
    return seen


def test_second_call_builds_nothing_and_changed_pins_build_again(
    checkout: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bootstrap.main([]) == 0
    assert [command[1:3] for command in commands] == [
        ["-m", "venv"],
        ["-m", "pip"],
        ["pip", "install"],
        ["pip", "install"],
    ]
    assert commands[1][-1] == bootstrap.pinned(PINS, "uv")
    assert "Setting up .venv" in capsys.readouterr().err

    commands.clear()
    assert bootstrap.main([]) == 0
    assert bootstrap.main(["--explicit"]) == 0
    assert commands == []
    assert capsys.readouterr().err == ""

    with (checkout / "requirements.txt").open("a") as pins:
        pins.write("zzz==1.0\n")
    assert bootstrap.main([]) == 0
    assert len(commands) == 4


def test_half_an_environment_is_built_again(
    checkout: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bootstrap.run

    def interrupted(command: list[str], log: io.BufferedWriter | None) -> int:
        if command[1:3] == ["pip", "install"]:
            raise KeyboardInterrupt
        return int(whole(command, log))

    monkeypatch.setattr(bootstrap, "run", interrupted)
    assert bootstrap.main([]) == 130
    assert (checkout / ".venv" / "bin" / "python").exists()

    commands.clear()
    monkeypatch.setattr(bootstrap, "run", whole)
    assert bootstrap.main([]) == 0
    assert len(commands) == 4


def test_uv_that_fails_is_followed_by_pip(
    checkout: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bootstrap.run
    monkeypatch.setattr(
        bootstrap,
        "run",
        lambda command, log: whole(command, log) or int(command[1:3] == ["pip", "install"]),
    )
    assert bootstrap.main([]) == 0
    assert [command[1:3] for command in commands[2:]] == [["pip", "install"], ["-m", "pip"]] * 2


def test_out_of_reach_registry_is_one_line(
    checkout: Path,
    commands: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = bootstrap.run
    monkeypatch.setattr(bootstrap, "run", lambda command, log: whole(command, log) or int("pip" in command))
    assert bootstrap.main([]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "package registry" in lines[1] and os.path.join(".venv", "setup.log") in lines[1]


def test_missing_venv_module_is_one_line(
    checkout: Path,
    commands: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bootstrap, "can_build", lambda python: False)
    assert bootstrap.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "apt-get install python3." in line
    assert commands == []


@pytest.fixture
def held_lock(tmp_path: Path) -> Iterator[Path]:
    """A lock that another process holds until the test ends."""
    path = tmp_path / "lock"
    code = "import sys; from tools import bootstrap; bootstrap.lock(sys.argv[1]); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    yield path
    holder.communicate(b"\n", timeout=30)


def test_second_make_waits_for_the_first(held_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    waits: list[int] = []
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_NB:
            real(descriptor, operation)
        else:
            waits.append(descriptor)

    monkeypatch.setattr(fcntl, "flock", flock)
    descriptor = bootstrap.lock(str(held_lock))
    assert waits == [descriptor]
    os.close(descriptor)


def test_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    os.close(bootstrap.lock(str(tmp_path / "lock")))
    assert "two makes at once" in capsys.readouterr().err


def test_syntax_is_old() -> None:
    source = (ROOT / "tools" / "bootstrap.py").read_text(encoding="ascii")
    tree = ast.parse(source)
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Nonlocal, ast.YieldFrom)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, newer)]
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            assert not node.kwonlyargs and not node.posonlyargs
            assert not [argument.arg for argument in node.args if argument.annotation is not None]
        if isinstance(node, ast.Raise):
            assert node.cause is None


def old_pythons() -> list[str]:
    """Interpreters outside the supported range, as far as this machine has any."""
    found = [shutil.which(f"python{version}") for version in ("2.7", "3.6", "3.8", "3.10", "3.14")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [str(path) for path in sorted(pyenv.glob("*/bin/python"))]
    code = "import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else 7)"
    usable = [path for path in found if path is not None]
    return [p for p in usable if subprocess.run([p, "-c", code], capture_output=True).returncode == 7]


def test_old_pythons_get_one_line(tmp_path: Path) -> None:
    """By running the script with every unsuitable Python there is here; there may be none."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "bootstrap.py", tmp_path / "tools")
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    pythons = old_pythons()
    if not pythons:
        pytest.skip("no Python here is outside the supported range")
    for python in pythons:
        result = subprocess.run(
            [python, str(tmp_path / "tools" / "bootstrap.py"), "--goal", "test"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert re.match(r"Found Python \d+\.\d+\.\d+ \(.+\); this project needs Python 3", line)
        assert line.endswith(" test")
        assert not (tmp_path / ".venv").exists()


# --- make -----------------------------------------------------------------------------------


def make(*words: str) -> subprocess.CompletedProcess[str]:
    # Flags of a make around this test (as in `make test`) are not meant for this one.
    kept = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "ARGS", "PYTHON"}}
    return subprocess.run(["make", *words], cwd=ROOT, env=kept, capture_output=True, text=True, timeout=60)


def test_help_is_the_default_and_lists_all_targets() -> None:
    listed = make()
    assert listed.returncode == 0
    targets, _ = listed.stdout.split("\n\n")  # examples come behind
    names = re.findall(r"^  make (\w+) +\S", targets, re.MULTILINE)
    expected = ["help", "lab", "pages", "test", "proof", "notebooks", "mutants", "bench", "pins", "clean"]
    assert names == expected
    assert make("help").stdout == listed.stdout


def test_lab_hands_its_arguments_on() -> None:
    plan = make("-n", "lab", "ARGS=--no-browser --port 8899")
    assert plan.returncode == 0, plan.stderr
    assert "--no-browser --port 8899 notebooks/00_start_here.ipynb" in plan.stdout
    assert "--ServerApp.ip=127.0.0.1" in plan.stdout
    assert "--explicit" not in plan.stdout
    assert "--explicit" in make("-n", "lab", "PYTHON=python3.12").stdout


@pytest.mark.parametrize("target", ["test", "notebooks"])
def test_other_targets_hand_their_arguments_on(target: str) -> None:
    assert make("-n", target, "ARGS=these words").stdout.rstrip().endswith("these words")


QUIET = """
import runpy, sys

def refuse(event, arguments):
    if event.startswith(("subprocess.", "socket.", "os.exec", "os.posix_spawn", "os.fork", "os.system")):
        raise RuntimeError(event)

sys.addaudithook(refuse)
runpy.run_path("tools/bootstrap.py", run_name="__main__")
"""


def test_warm_set_up_starts_nothing_and_asks_nobody() -> None:
    """A later `make lab` must not be felt: it reads three small files, and that is all."""
    venv = Path(sys.prefix)
    if not (venv / bootstrap.STAMP).exists():
        pytest.skip("these tests do not run in an environment that bootstrap.py made")
    before = (venv / bootstrap.STAMP).stat()  # reading may change its time of access, nothing else
    command = [sys.executable, "-c", QUIET, "--venv", str(venv)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    after = (venv / bootstrap.STAMP).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


# --- the tests themselves ------------------------------------------------------------------------


def test_tests_of_a_notebook_or_a_file_run_in_one_worker() -> None:
    browser, stored = "tests/test_browser.py::test_a", "tests/test_notebooks.py::test_b"
    assert group_of(f"{browser}[07_toy_gan.ipynb]") == group_of(f"{stored}[07_toy_gan]") == "07_toy_gan"
    assert group_of(browser) == group_of(f"{browser}[Dark]") == "browser"
    assert group_of(stored) == stored
    proof = "tests/test_proof_browser.py::test_d"
    assert group_of(f"{proof}[07_toy_gan.ipynb-Dark]") == "07_toy_gan"
    assert group_of(f"{proof}[a film]") == "proof_browser"
    assert group_of("tests/test_moon.py::test_c[01_moon]") == "tests/test_moon.py"


def test_compiled_programs_are_kept_where_that_is_possible_and_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "JAX_COMPILATION_CACHE_DIR"
    monkeypatch.setenv(name, "")  # a reader's wish to keep none
    keep_compiled(tmp_path / "kept")
    assert os.environ[name] == "" and not (tmp_path / "kept").exists()
    monkeypatch.delenv(name)
    keep_compiled(Path(os.devnull) / "kept")
    assert name not in os.environ
    keep_compiled(tmp_path / "kept")
    assert os.environ[name] == str(tmp_path / "kept")


def test_bytecode_is_kept_where_it_may_not_lie_beside_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, forbidden, kept = "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", str(tmp_path)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv(name, raising=False)
    keep_bytecode(tmp_path)
    assert name not in os.environ
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv(forbidden, "1")
    keep_bytecode(tmp_path)
    assert os.environ[name] == sys.pycache_prefix == kept
    assert forbidden not in os.environ and not sys.dont_write_bytecode


def test_notebooks_are_compiled_as_their_readers_compile_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for own in ("--xla_cpu_enable_fast_math=false", ""):  # a reader's flags are nobody's to change
        monkeypatch.setenv("XLA_FLAGS", own)
        compile_quickly()
        assert os.environ["XLA_FLAGS"] == as_for_readers(os.environ)["XLA_FLAGS"] == own
    monkeypatch.delenv("XLA_FLAGS")
    compile_quickly()
    assert os.environ.get("XLA_FLAGS") in (QUICK, None)
    assert "XLA_FLAGS" not in as_for_readers(os.environ)


# --- CI -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ('<testcase classname="tests.test_browser_lab" name="a"/>', None),
        ('<testcase classname="tests.test_setup" name="test_browser"/>', "no browser test ran"),
        ('<testcase classname="tests.test_browser" name="b"><skipped/></testcase>', "were skipped: b"),
        ('<testcase classname="tests.test_proof_browser" name="c"><skipped/></testcase>', "were skipped: c"),
        ('<testcase classname="tests.test_toy_browser" name="d"><skipped/></testcase>', "were skipped: d"),
        ('<testcase classname="tests.test_pages" name="e"><skipped/></testcase>', "were skipped: e"),
        ('<testcase classname="tests.test_page" name="f"><skipped/></testcase>', "no browser test ran"),
    ],
)
def test_skipped_browser_tests_do_not_pass_ci(cases: str, expected: str | None) -> None:
    found = check_browser_ran.problem(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert found is None if expected is None else found is not None and expected in found
