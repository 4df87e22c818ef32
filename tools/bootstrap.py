"""Make the virtual environment that every make target runs in, if it is not right already.

The syntax here is what Python 2.7 can parse, so that a Python too old for the project gets one
clear line instead of a syntax error; hence no annotations and no f-strings in this file.
Only the standard library is used: nothing else exists yet when this runs.
"""

from __future__ import print_function

import argparse
import errno
import hashlib
import io
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAMP = "setup-stamp.json"
LOG = "setup.log"
LAYOUT = 1  # raise it when this script starts to build the environment differently


class SetupError(Exception):
    """Something the user can put right; its text is the one line they see."""


# --- decisions, without side effects --------------------------------------------------------


def supported_range(pyproject):
    """Lowest supported and first unsupported (major, minor), from the text of pyproject.toml."""
    found = re.search(r'^requires-python = ">=(\d+)\.(\d+),<(\d+)\.(\d+)"$', pyproject, re.MULTILINE)
    if found is None:
        raise SetupError('pyproject.toml needs a line like requires-python = ">=3.11,<3.14".')
    numbers = [int(group) for group in found.groups()]
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def suitable_minors(low, end):
    """The supported Pythons as "3.12" strings, newest first."""
    return ["%d.%d" % (low[0], minor) for minor in range(end[1] - 1, low[1] - 1, -1)]


def wrong_python(version, executable, low, end, alternative, goal):
    """The line for a Python outside the supported range; `alternative` is a suitable one, or None."""
    minors = suitable_minors(low, end)
    found = "%d.%d.%d (%s)" % (tuple(version[:3]) + (executable,))
    line = "Found Python %s; this project needs Python %s to %s." % (found, minors[-1], minors[0])
    if alternative is not None:
        return "%s Type: make PYTHON=%s %s" % (line, alternative, goal)
    return "%s Install one of them, then type: make PYTHON=python%s %s" % (line, minors[0], goal)


def digest(requirements, pyproject):
    """A hash of all that decides what is in the environment, and of nothing else.

    Comments in the pins and the settings of ruff, mypy and pytest may change without a rebuild.
    """
    pins = [line.strip() for line in requirements.splitlines()]
    kept = [line for line in pins if line and not line.startswith("#")]
    relevant = False
    for line in pyproject.splitlines():
        header = re.match(r"\[([\w.\-]+)\]\s*$", line)
        if header is not None:
            relevant = header.group(1).startswith(("build-system", "project", "dependency-groups", "tool.uv"))
        if relevant and line.strip():
            kept.append(line.rstrip())
    return hashlib.sha256("\n".join(kept).encode("utf-8")).hexdigest()


def is_current(stamp, wanted_digest, venv, minor):
    """Whether the environment described by `stamp` may be used as it is.

    `minor` is the Python asked for ("3.12"), or None when any supported one will do. The folder
    counts because the scripts in it hold absolute paths: a moved checkout needs a new environment.
    """
    return (
        stamp is not None
        and stamp.get("layout") == LAYOUT
        and stamp.get("digest") == wanted_digest
        and stamp.get("venv") == venv
        and (minor is None or stamp.get("minor") == minor)
    )


def pinned(requirements, name):
    """The requirement `name==version` as it stands in the pins."""
    found = re.search(r"^%s==\S+$" % re.escape(name), requirements, re.MULTILINE)
    if found is None:
        raise SetupError("requirements.txt has no pin for %s." % name)
    return found.group(0)


# --- the world outside ----------------------------------------------------------------------


def read(*parts):
    with io.open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def read_stamp(venv):
    """What the last finished build wrote, or None if there was none or its Python has gone."""
    if not os.path.exists(os.path.join(venv, "bin", "python")):
        return None
    try:
        return json.loads(read(venv, STAMP))
    except (IOError, OSError, ValueError):
        return None


def can_build(python):
    """Whether this interpreter starts and has what `python -m venv` needs (a pyenv shim may not)."""
    try:
        with open(os.devnull, "w") as null:
            return subprocess.call([python, "-c", "import venv, ensurepip"], stdout=null, stderr=null) == 0
    except OSError:
        return False


def find_alternative(low, end):
    """The name of a suitable Python on PATH, or None."""
    for minor in suitable_minors(low, end):
        if can_build("python" + minor):
            return "python" + minor
    return None


def lock(path):
    """Hold `path` against a second set-up in the same checkout, until the result is closed.

    The kernel drops such a lock when its holders die, so it cannot be left behind. The programs
    started from here inherit it, so that it outlives this process where they do.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    os.set_inheritable(descriptor, True)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (IOError, OSError) as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            say("Another make is setting up this checkout; waiting for it ...")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (IOError, OSError):
        say("This file system cannot lock files: do not run two makes at once here.")
    return descriptor


def say(line):
    print(line, file=sys.stderr)
    sys.stderr.flush()


def run(command, log):
    """The exit code of `command`; its output goes to the file `log`, or to the terminal if that is None."""
    environment = dict(os.environ)
    # Another environment's modules must not be taken for this one's.
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONHOME", None)
    # Where home and checkout are on two file systems uv cannot link from its cache and says so at length.
    environment.setdefault("UV_LINK_MODE", "copy")
    # Schools and firms put their certificates into the system's store; uv looks there only when told.
    environment.setdefault("UV_SYSTEM_CERTS", "1")
    return subprocess.call(command, env=environment, cwd=ROOT, stdout=log, stderr=log, close_fds=False)


def build(venv, requirements, stamp):
    """Build the environment from nothing; the stamp is written last, so half a build never counts."""
    # In an activated .venv `python3` is the very link that is about to be removed.
    base = getattr(sys, "_base_executable", None) or sys.executable
    if not can_build(base):
        version = "%d.%d" % sys.version_info[:2]
        raise SetupError(
            "Python %s cannot make virtual environments: its venv or ensurepip module is missing "
            "(Debian and Ubuntu: apt-get install python%s-venv)." % (version, version)
        )
    if os.path.exists(os.path.join(venv, STAMP)):
        os.remove(os.path.join(venv, STAMP))
    name = os.path.relpath(venv, ROOT)
    version = "%d.%d.%d" % sys.version_info[:3]
    say("Setting up %s with Python %s: once, about a minute on a good line." % (name, version))
    if run([base, "-m", "venv", "--clear", venv], None) != 0:
        raise SetupError("Could not make the virtual environment %s." % name)

    python = os.path.join(venv, "bin", "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--retries", "2"]
    uv = [os.path.join(venv, "bin", "uv"), "pip", "install", "--python", python]
    log_path = os.path.join(venv, LOG)
    with open(log_path, "wb") as log:
        progress = None if sys.stderr.isatty() else log
        installed = run(pip + [pinned(requirements, "uv")], log) == 0
        for what in (["-r", "requirements.txt"], ["--no-deps", "-e", "."]):
            # uv is fast, but does not read pip's settings: where only they name a mirror, pip does it.
            installed = installed and (run(uv + what, progress) == 0 or run(pip + what, log) == 0)
    if not installed:
        raise SetupError(
            "Set-up could not install the pinned packages. It needs the package registry this once: "
            "is this machine online? What happened is in %s." % os.path.relpath(log_path, ROOT)
        )
    with io.open(os.path.join(venv, STAMP + ".new"), "w", encoding="utf-8") as file:
        json.dump(stamp, file)
    os.rename(os.path.join(venv, STAMP + ".new"), os.path.join(venv, STAMP))


def ensure(venv, explicit, goal):
    """Leave with a right environment in `venv`, or raise SetupError."""
    requirements, pyproject = read(ROOT, "requirements.txt"), read(ROOT, "pyproject.toml")
    wanted = digest(requirements, pyproject)
    minor = "%d.%d" % sys.version_info[:2]
    stamp = read_stamp(venv)
    if is_current(stamp, wanted, venv, minor if explicit else None):
        return

    base = (stamp or {}).get("base", "")
    if not explicit and base != os.path.realpath(sys.executable) and os.access(base, os.X_OK):
        # New pins, and no Python asked for: keep the one that this environment was made with.
        os.execv(base, [base, os.path.abspath(__file__), "--venv", venv, "--explicit", "--goal", goal])

    low, end = supported_range(pyproject)
    if not low <= sys.version_info[:2] < end:
        raise SetupError(
            wrong_python(sys.version_info, sys.executable, low, end, find_alternative(low, end), goal)
        )

    held = lock(venv + ".lock")
    try:
        if is_current(read_stamp(venv), wanted, venv, minor if explicit else None):
            return  # the make that held the lock has built it
        base = os.path.realpath(sys.executable)
        stamp = {"layout": LAYOUT, "digest": wanted, "venv": venv, "minor": minor, "base": base}
        build(venv, requirements, stamp)
    finally:
        os.close(held)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv", help="folder of the environment (default: .venv)")
    parser.add_argument("--explicit", action="store_true", help="the environment must have this very Python")
    parser.add_argument("--goal", default="lab", help="make target to name in advice")
    options = parser.parse_args(arguments)
    try:
        ensure(os.path.join(ROOT, options.venv), options.explicit, options.goal)
    except SetupError as error:
        say(str(error))
        return 1
    except EnvironmentError as error:  # a full disk, a folder that cannot be written
        say("Set-up stopped: %s." % error)
        return 1
    except KeyboardInterrupt:
        say("Interrupted; the next call starts set-up afresh.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
