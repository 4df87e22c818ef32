"""JupyterLab in a browser: `jupyterlab` starts the one, `browser` the other, `Notebook` joins them."""

from __future__ import annotations

import ast
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, ElementHandle, Page, sync_playwright

from tests.xla_flags import as_for_readers

ROOT = Path(__file__).resolve().parent.parent

# No cell is left out of the page, and nothing is written back or asked of the world.
SETTINGS: dict[str, dict[str, Any]] = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
QUIET_CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # What pages are refused by `watched_page`, too, one by one; JupyterLab's own would be slowed by that.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

PAGE_JS = r"""
window.lab = (() => {
  const panel = () => jupyterapp.shell.currentWidget;
  const cells = () => [...panel().content.node.querySelectorAll(".jp-Cell")];
  const scratch = document.createElement("canvas");
  // The pixels of an img or a canvas, as one number; 0 if there are none yet.
  function hash(node) {
    const width = node.naturalWidth ?? node.width, height = node.naturalHeight ?? node.height;
    if (!width || !height || node.complete === false) return 0;
    Object.assign(scratch, { width, height });
    const context = scratch.getContext("2d", { willReadFrequently: true });
    context.drawImage(node, 0, 0);
    let sum = 7;
    for (const pixel of new Uint32Array(context.getImageData(0, 0, width, height).data.buffer))
      sum = (Math.imul(sum, 31) + pixel) | 0;
    return sum;
  }
  // What is drawn as SVG, as one number: the texts on its root, which a reader hears, are not looked at.
  function markup(node) {
    let sum = 7;
    for (const letter of node.innerHTML) sum = (Math.imul(sum, 31) + letter.charCodeAt(0)) | 0;
    return sum || 1;
  }
  // `frames` counts, for each widget, messages with bytes in them, as every picture and every film is.
  const news = { ran: null, problems: [], frames: {} };
  const bad = /(Error displaying|Loading|Error creating) widget|[Mm]odel not found|Failed to load/;
  const idle = () => panel().sessionContext.session?.kernel?.status === "idle";
  const pictures = (i) =>
    [...cells()[i].querySelectorAll(".jp-OutputArea-output :is(img, canvas, svg)")]
      .map((node) => (node instanceof SVGElement ? markup(node) : hash(node)));
  const same = (a, b) => a.length === b.length && a.every((sum, k) => sum === b[k]);
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  return {
    panel, cells, news, hash, idle, pictures,
    // The pictures of a cell once they have been loaded and the same, and the kernel idle, for 0.2 s;
    // with `like`, only if they are those. If it does not come to that within `limit` ms: null.
    async atRest(i, limit, like) {
      const end = Date.now() + limit;
      let now = pictures(i), since = Date.now();
      while (Date.now() < end) {
        const before = now;
        await pause(40);
        now = pictures(i);
        const still = idle() && same(now, before) && !now.includes(0) && same(now, like ?? now);
        if (!still) since = Date.now();
        else if (Date.now() - since >= 200) return now;
      }
      return null;
    },
    // Whether the pictures of a cell become others, all loaded, within `limit` ms.
    async differs(i, first, limit) {
      for (const end = Date.now() + limit; Date.now() < end; await pause(40)) {
        const now = pictures(i);
        if (!now.includes(0) && !same(now, first)) return true;
      }
      return false;
    },
    listen() {
      panel().sessionContext.iopubMessage.connect((_, { header, content }) => {
        const { ename, evalue, text = "" } = content;
        if (header.msg_type === "error") news.problems.push(`${ename}: ${evalue}`);
        if (header.msg_type === "stream" && text.includes("Traceback")) news.problems.push(text);
        const { comm_id: id, data } = content;
        if (header.msg_type === "comm_msg" && data?.buffer_paths?.length)
          news.frames[id] = (news.frames[id] ?? 0) + 1;
      });
    },
    async runAll() {
      news.ran = null;
      news.ran = await jupyterapp.commands.execute("notebook:run-all-cells").catch(String) ?? true;
    },
    outputs: (i) => panel().content.widgets[i].model.outputs?.toJSON() ?? [],
    broken: () => bad.exec(panel().content.node.innerText)?.[0] ?? null,
  };
})();
"""


class Lab(NamedTuple):
    """A running JupyterLab."""

    url: str
    token: str


@contextmanager
def jupyterlab(root: Path, work: Path) -> Iterator[Lab]:
    """JupyterLab on a free port of this computer, showing `root`, with all of its own files in `work`."""
    for name, setting in SETTINGS.items():
        file = work / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16))
    options = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={lab.token}",
        # Should the test be killed, the kernels and then the server go by themselves.
        "--ServerApp.shutdown_no_activity_timeout=900",
        "--MappingKernelManager.cull_idle_timeout=900",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]
    log = work / "jupyterlab.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=environment(work), stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait_for(server, lab, log)
            yield lab
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def on_kernel_path() -> None:
    """Let kernels find this checkout first, whatever is installed."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def environment(work: Path) -> dict[str, str]:
    """The environment for Jupyter: its files in `work`, and this checkout first on the kernels' path."""
    folders = {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    on_kernel_path()
    return {**as_for_readers(os.environ), **{name: str(work / folder) for name, folder in folders.items()}}


def _wait_for(server: subprocess.Popen[bytes], lab: Lab, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{lab.url}/api?token={lab.token}", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=QUIET_CHROMIUM)
        try:
            yield running
        finally:
            running.close()


class Watched(NamedTuple):
    """A page, and what it did that it should not."""

    page: Page
    console: list[str]
    """Errors on the console and uncaught ones."""
    outside: list[str]
    """Addresses asked for that are not on this computer."""


def watched_page(running: Browser, width: int = 1280, height: int = 900) -> Watched:
    """A fresh page whose errors and requests are written down; requests to elsewhere are refused."""
    watched = _watched(running.new_context(viewport={"width": width, "height": height}).new_page())
    watched.page.route(
        lambda url: urlsplit(url).hostname not in (None, *LOOPBACK), lambda route: route.abort()
    )
    return watched


def _watched(page: Page) -> Watched:
    watched = Watched(page, [], [])

    def asked(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in LOOPBACK:
            watched.outside.append(url)

    page.on("console", lambda m: watched.console.append(_said(m)) if m.type == "error" else None)
    page.on("pageerror", lambda error: watched.console.append(f"uncaught: {error}"))
    page.on("request", lambda request: asked(request.url))
    page.on("websocket", lambda socket: asked(socket.url))
    page.on("dialog", lambda dialog: dialog.accept())
    return watched


def _said(message: ConsoleMessage) -> str:
    """The text, and of what failed to load the address without what is asked there (a token)."""
    address = message.location.get("url", "").split("?")[0]
    return f"{message.text} ({address})" if "Failed to load" in message.text else message.text


_CONTEXTS: dict[Browser, BrowserContext] = {}
"""JupyterLab's megabytes are loaded and compiled once for all its pages: a third of the time to open one."""


class Notebook:
    """A notebook that is open in JupyterLab, in a page of its own.

    Cells are counted from 0, text cells included.
    """

    def __init__(self, running: Browser, lab: Lab, path: str, *, width: int = 1280, height: int = 900):
        if running not in _CONTEXTS:
            _CONTEXTS[running] = running.new_context()
        self.watched = _watched(_CONTEXTS[running].new_page())
        self.page = self.watched.page
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(f"{lab.url}/lab/tree/{quote(path)}?token={lab.token}&reset")
        ready = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        self._wait_on_page(ready, 60)
        self.page.evaluate(PAGE_JS)
        self.page.evaluate("() => lab.panel().revealed")
        self.page.evaluate("() => { jupyterapp.shell.collapseLeft(); lab.listen(); }")

    def close(self) -> None:
        """Have the kernel shut down, without waiting for the seconds that takes, and close the page."""
        asked = "/api/sessions/"
        with self.page.expect_request(lambda r: r.method == "DELETE" and asked in r.url):
            self.page.evaluate("() => { lab.panel().sessionContext.shutdown(); }")
        self.page.wait_for_timeout(100)
        self.page.close()

    def _wait_on_page(self, condition: str, seconds: float) -> None:
        # Left to itself Playwright asks at every frame, and so has the page drawn sixty times a second.
        self.page.wait_for_function(condition, polling=100, timeout=seconds * 1000)

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab and wait for it."""
        self.page.evaluate("([n, a]) => jupyterapp.commands.execute(n, a).then(() => {})", [name, arguments])

    def start_all(self) -> None:
        """Run all cells, without waiting."""
        self.page.evaluate("() => { lab.runAll(); }")

    def wait_until_run(self, seconds: float) -> None:
        """Wait for what `start_all` began, for an idle kernel, and for the widgets to be there."""
        self._wait_on_page("() => lab.news.ran !== null && lab.idle()", seconds)
        self.wait_for(lambda: not self.broken(), 20, complain=False)

    def run_all(self, seconds: float = 300) -> None:
        """Run all cells and wait."""
        self.start_all()
        self.wait_until_run(seconds)

    def wait_idle(self, seconds: float = 60) -> None:
        """Wait until the kernel has nothing to do."""
        self._wait_on_page("() => lab.idle()", seconds)

    def wait_for(self, condition: Any, seconds: float, *, complain: bool = True) -> bool:
        """Wait until condition() is true; return whether it is, or raise."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                if complain:
                    raise TimeoutError(f"not so within {seconds} s")
                return False
            self.page.wait_for_timeout(50)
        return True

    def interrupt(self) -> None:
        """Kernel > Interrupt."""
        self.command("notebook:interrupt-kernel")

    def restart(self) -> None:
        """Restart the kernel, without the question whether to."""
        self.page.evaluate("() => lab.panel().sessionContext.session.kernel.restart()")

    def theme(self, name: str) -> None:
        """Choose "Dark" or "Light"."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name}")
        dark = "true" if name == "Light" else "false"
        self.page.wait_for_selector(f'body[data-jp-theme-light="{dark}"]', state="attached")
        self.page.wait_for_timeout(300)

    def problems(self) -> list[str]:
        """Errors of cells and of widget callbacks so far."""
        return self.page.evaluate("() => lab.news.problems")

    def broken(self) -> str | None:
        """A message in the notebook that a widget could not be shown, if there is one."""
        return self.page.evaluate("() => lab.broken()")

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as in the file."""
        return self.page.evaluate("i => lab.outputs(i)", cell)

    def printed(self, cell: int) -> str:
        """What a cell printed."""
        return "".join("".join(out["text"]) for out in self.outputs(cell) if out["output_type"] == "stream")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the kernel, as JSON has it."""
        reply = self.page.evaluate(
            """async (told) => {
            const { kernel } = lab.panel().sessionContext.session;
            const request = { code: "", silent: true, user_expressions: { told } };
            return (await kernel.requestExecute(request).done).content.user_expressions.told;
        }""",
            f"__import__('json').dumps({expression})",
        )
        if reply["status"] != "ok":
            raise RuntimeError(f"{expression}: {reply['ename']}: {reply['evalue']}")
        return json.loads(ast.literal_eval(reply["data"]["text/plain"]))

    def pictures(self, cell: int) -> list[int]:
        """A number for the pixels of each picture in a cell's output; 0 for one that is not loaded."""
        return self.page.evaluate("i => lab.pictures(i)", cell)

    def at_rest(self, cell: int, seconds: float, *, like: list[int] | None = None) -> list[int] | None:
        """The pictures of a cell once nothing has changed, and the kernel has been idle, for 0.2 s.

        With `like` they have to be those. None if it does not come to that in the given time.
        """
        return self.page.evaluate("([i, ms, p]) => lab.atRest(i, ms, p)", [cell, seconds * 1000, like])

    def differs(self, cell: int, first: list[int], seconds: float) -> bool:
        """Whether the pictures of a cell become others in the given time."""
        return self.page.evaluate("([i, p, ms]) => lab.differs(i, p, ms)", [cell, first, seconds * 1000])

    def screenshot(self, path: Path) -> None:
        """A picture of the window."""
        self.page.screenshot(path=path)


PANEL_TEXTS = (".widget-label", ".widget-readout", "samp")
SLIDERS = ".jp-Notebook .noUi-handle, .jp-Notebook input[type=range]"
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOK_SECONDS = 600


class Opened(NamedTuple):
    """A notebook of the collection that was opened, looked at, and run."""

    notebook: Notebook
    name: str
    unrun_broken: str | None
    unrun_pictures: list[int]
    """How many pictures each cell showed before it was run, by the number of the cell."""
    panels: list[int]
    """The cells that show sliders once run."""


@contextmanager
def opened_notebook(running: Browser, lab: Lab, name: str) -> Iterator[Opened]:
    """A notebook of the collection, run once from top to bottom."""
    notebook = Notebook(running, lab, f"notebooks/{name}")
    notebook.page.wait_for_load_state("networkidle")
    shown = """() => lab.cells().map((cell) => [...cell.querySelectorAll(".jp-OutputArea img")]
        .filter((img) => img.naturalWidth && img.getBoundingClientRect().width).length)"""
    unrun = notebook.broken(), notebook.page.evaluate(shown)
    notebook.run_all(NOTEBOOK_SECONDS)
    found = "s => [...document.querySelectorAll(s)].map((e) => lab.cells().indexOf(e.closest('.jp-Cell')))"
    panels = sorted(set(notebook.page.evaluate(found, SLIDERS)))
    yield Opened(notebook, name, *unrun, panels)
    notebook.close()


def place_of(handle: ElementHandle) -> str:
    """Where a slider stands, which is known at once: no kernel is asked."""
    return handle.evaluate("e => e.closest('.noUi-origin')?.style.transform ?? e.value")


def name_of(handle: ElementHandle) -> str:
    """What a student reads beside a slider."""
    return handle.evaluate(
        "e => (e.closest('.widget-slider')?.querySelector('.widget-label') ?? e.closest('label')).textContent"
    )


def reset_of(handle: ElementHandle) -> ElementHandle:
    """The nearest button Reset around a control."""
    reset = handle.evaluate_handle(
        """e => { for (; e; e = e.parentElement) {
            const found = [...e.querySelectorAll("button")].find((b) => b.textContent.trim() === "Reset");
            if (found) return found;
        } }"""
    ).as_element()
    assert reset is not None, "no Reset near the control"
    return reset


def write(path: Path, cells: list[str]) -> Path:
    """A notebook of code cells that have not been run."""
    notebook = new_notebook(cells=[new_code_cell(cell.strip()) for cell in cells])
    notebook.metadata["kernelspec"] = KERNELSPEC
    nbformat.write(notebook, path)
    return path


def complaints(notebook: Notebook) -> list[str]:
    """What went wrong in the kernel, on the page and on the network, all told."""
    watched = notebook.watched
    broken = [notebook.broken()] if notebook.broken() else []
    return [*notebook.problems(), *broken, *watched.console, *watched.outside]


def settled(notebook: Notebook, cell: int) -> list[int]:
    """The pictures of a cell once they are loaded, at rest, and the kernel is idle."""
    pictures = notebook.at_rest(cell, 60)
    assert pictures is not None, f"cell {cell} does not come to rest"
    return pictures


def cut_off(page: Page) -> list[str]:
    """Controls that reach out of their cell's output, have no room, or show only part of their text."""
    return page.evaluate(
        """() => {
        const told = [];
        const parts = [".widget-slider .widget-label", ".noUi-base", ".widget-readout", ".jupyter-button",
            ".moon-slider input", ".moon-slider button", ".moon-slider span", ".moon-slider canvas",
            ".moon-slider figcaption", ".jp-OutputArea img",
            ".style-widget :is(canvas, svg, input, button, output, span, p, figcaption)",
            ".film :is(canvas, input, button, select, output, span, p)"];
        for (const output of document.querySelectorAll(".jp-Cell-outputWrapper"))
            for (const part of output.querySelectorAll(parts)) {
                const [{ left, right }, box] = [output, part].map((node) => node.getBoundingClientRect());
                const say = (what) => told.push(`${part.className} ${part.textContent}: ${what}`);
                if (!box.width) continue;
                if (box.left < left - 1 || box.right > Math.min(right, innerWidth) + 1)
                    say(`from ${box.left} to ${box.right}, where there is room from ${left} to ${right}`);
                if (part.matches(".noUi-base, input") && box.width < 80) say(`only ${box.width} wide`);
                if (part.matches(".widget-label, .widget-readout") && part.scrollWidth > part.clientWidth + 1)
                    say("its text is cut off");
            }
        const shown = ".jp-OutputArea-output:has(.jupyter-widgets, .style-widget, .moon-slider, .film)";
        for (const part of document.querySelectorAll(`${shown}, ${shown} *`)) {
            const { scrollWidth: wide, clientWidth: room } = part;
            if (wide > room + 1 && /auto|scroll/.test(getComputedStyle(part).overflowX))
                told.push(`${part.className}: ${wide} wide, to be scrolled in ${room}`);
        }
        return told;
    }"""
    )


def contrasts(page: Page, *texts: str) -> list[tuple[str, float]]:
    """What each text of these selectors says, and its contrast to what is behind it (WCAG 2)."""
    return page.evaluate(
        """(texts) => {
        const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
        const brightness = (c) => c.slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        function behind(node) {
            const frame = node.ownerSVGElement?.querySelector("rect");
            if (frame) return rgba(getComputedStyle(frame).fill);
            for (; node; node = node.parentElement) {
                const colour = rgba(getComputedStyle(node).backgroundColor);
                if (colour.length < 4 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        }
        return [...document.querySelectorAll(texts)].map((node) => {
            const { fill, color } = getComputedStyle(node);
            const both = [rgba(node instanceof SVGElement ? fill : color), behind(node)].map(brightness);
            return [node.textContent, (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)];
        });
    }""",
        list(texts),
    )
