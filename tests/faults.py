"""What tests of faults share: real kernels, and notebooks that run without a network or a disk."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from jupyter_client import BlockingKernelClient, KernelManager

from tests.xla_flags import as_for_readers

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_LONG = 300.0  # seconds; on a busy machine a kernel takes its time


def cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def imports(path: Path) -> str:
    """All import statements of a notebook, without what stands beside them."""
    lines = [node for source in cells(path) for node in ast.parse(source).body]
    return "\n".join(ast.unparse(node) for node in lines if isinstance(node, ast.Import | ast.ImportFrom))


def names_missing(path: Path) -> list[tuple[str, set[str]]]:
    """Cells of the second half that need a name of a cell above: the source, and those names."""
    sources = cells(path)
    made = [_made(source) for source in sources]
    found = []
    for i in range(len(sources) // 2, len(sources)):
        above = set().union(*made[:i]) - _made(imports(path))
        body = ast.parse(sources[i]).body
        used = {n.id for n in ast.walk(ast.Module(body, [])) if isinstance(n, ast.Name)}
        missing = (used & above) - made[i]
        if missing:
            found.append((sources[i], missing))
    return found


def _made(source: str) -> set[str]:
    """The names that a cell gives the notebook."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
    return found


# --- kernels --------------------------------------------------------------------------------


class Said(NamedTuple):
    """What a cell has put out."""

    printed: str
    error: str
    """The name of the exception, or ""."""
    message: str


def for_kernels(**changes: str) -> dict[str, str]:
    """An environment in which a kernel finds this package and compiles as a reader's does."""
    return {**as_for_readers(os.environ), "PYTHONPATH": str(ROOT), **changes}


@contextmanager
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A real kernel, ended with the block."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(
        cwd=str(ROOT / "notebooks"), env=for_kernels(), extra_arguments=["--log-level=ERROR"]
    )
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=_LONG)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, source: str) -> Said:
    """Run a cell to its end."""
    printed, error, message = [], "", ""

    def hear(heard: Mapping[str, Any]) -> None:
        nonlocal error, message
        content = heard["content"]
        if heard["msg_type"] == "stream":
            printed.append(content["text"])
        elif heard["msg_type"] == "error":
            error, message = content["ename"], content["evalue"]

    client.execute_interactive(source, output_hook=hear, timeout=_LONG, stop_on_error=False)
    return Said("".join(printed), error, message)


# --- a notebook in another world ------------------------------------------------------------

EXECUTE = """
import json, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, kernel_name="python3", timeout=600, extra_arguments=["--log-level=ERROR"],
               resources={"metadata": {"path": sys.argv[2]}}).execute()
outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
told = {
    "printed": "".join(o.text for o in outputs if o.get("name") == "stdout").splitlines(),
    "warned": [o.text for o in outputs if o.get("name") == "stderr"],
    "shown": sorted(mime for o in outputs for mime in o.get("data", {})),
}
print("TOLD", json.dumps(told))
"""


def begin(
    notebook: Path, folder: Path, *, prefix: Sequence[str] = (), **changes: str
) -> subprocess.Popen[str]:
    """Start a notebook in a process of its own, with `folder` as the working directory."""
    command = [*prefix, sys.executable, "-c", EXECUTE, str(notebook), str(folder)]
    environment = for_kernels(**changes)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def end(process: subprocess.Popen[str]) -> dict[str, list[str]]:
    """What the notebook has put out: `printed`, without its progress bars, `warned` and `shown`."""
    try:
        out, err = process.communicate(timeout=2 * _LONG)
    finally:
        process.kill()
    assert process.returncode == 0, err[-4000:]
    line = next(line for line in out.splitlines() if line.startswith("TOLD "))
    told: dict[str, list[str]] = json.loads(line[5:])
    told["printed"] = [line for line in told["printed"] if line and "|" not in line]
    return told


def namespaces(flag: str) -> bool:
    """Whether this machine lends a process its own network (`-n`) or mounts (`-m`)."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-r", flag, "true"], capture_output=True).returncode == 0
