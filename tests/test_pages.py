"""Exported pages: formulas as MathML, nothing loaded from elsewhere, and widgets that equal JAX."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page

from lecture_lib import measures, pages, strokes
from tests.lab import ROOT, Watched, watched_page

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PNG = base64.b64encode(b"\x89PNG a picture").decode()

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
LIVE = ("00", "01", "04", "07")
"""Those with live widgets; the pages of the others are looked at by `make proof`, their formulas always."""
each_page = pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem[:2] in LIVE else pytest.mark.proof)
        for path in PATHS
    ],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def exported(path: Path, folder: Path) -> Path:
    """The page of a stored notebook, made once."""
    page = folder / f"{path.stem}.html"
    if not page.exists():
        told, _ = pages.OfflineHTML().from_filename(str(path))
        page.write_text(told, encoding="utf-8")
    return page


@functools.cache
def soup_of(path: Path, folder: Path) -> BeautifulSoup:
    return BeautifulSoup(exported(path, folder).read_text(encoding="utf-8"), "html.parser")


def convert(*cells: NotebookNode, name: str = "some_notebook") -> BeautifulSoup:
    resources = {"metadata": {"name": name, "path": str(ROOT)}}
    told, _ = pages.OfflineHTML().from_notebook_node(new_notebook(cells=list(cells)), resources)
    return BeautifulSoup(told, "html.parser")


def body_of(markdown: str) -> Any:
    return convert(new_markdown_cell(markdown)).select_one(".jp-MarkdownOutput")


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("source", "formulas", "text"),
    [
        ("Let $x$ be.", ["x"], "Let x be."),
        ("$$\n\\frac{a}{b}\n$$", ["ab"], "ab"),
        (r"\begin{align} a &= b \\ c &= d \end{align}", ["a=bc=d"], "a=bc=d"),
        (r"\\(a\\) and \\[b\\]", ["a", "b"], "a and b"),
        (r"It costs \$5, not \$6.", [], "It costs $5, not $6."),
        ("`$a$` and ``$b` $c$``", [], "$a$ and $b` $c$"),
        ("```\n$a$\n```\n\n$b$", ["b"], "$a$\n\nb"),
        ("one $ and\n\nanother $", [], "one $ and\nanother $"),
        ("*so $P(x|z)$ is*, $a_1$ and $b_1$", ["P(x|z)", "a1", "b1"], "so P(x|z) is, a1 and b1"),
        ("<p>In HTML: $x < y$.</p>", ["x<y"], "In HTML: x<y."),
        ("- a list\n- with $x$", ["x"], "a list\nwith x"),
    ],
)
def test_what_is_a_formula(source: str, formulas: list[str], text: str) -> None:
    body = body_of(source)
    assert [found.get_text() for found in body.select("math")] == formulas
    assert body.get_text().strip() == text


def test_a_bar_in_a_formula_ends_no_column() -> None:
    body = body_of("| q | p |\n|---|---|\n| $q(z|x)$ | $\\|a\\|$ |")
    assert [cell.get_text() for cell in body.select("td")] == ["q(z|x)", "‖a‖"]
    assert len(body.select("td math")) == 2


def test_headings_with_formulas_can_be_linked_to() -> None:
    heading = body_of("## The bound $L_b$").select_one("h2")
    assert heading.select_one("math") is not None
    assert heading["id"] == heading.select_one("a")["href"][1:] and "\ue000" not in heading["id"]


def test_display_formulas_stand_in_a_line_that_can_be_scrolled() -> None:
    body = body_of("$$x$$ and $y$")
    assert [found.get("display") for found in body.select("math")] == ["block", None]
    assert body.select_one("math").parent["class"] == ["formula"]


@each_notebook
def test_every_formula_of_the_notebooks_converts(path: Path) -> None:
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    soup = BeautifulSoup("".join(pages.markdown(text, escape=False) for text in texts), "html.parser")
    assert path.stem.startswith("00") or len(soup.select("math")) >= 5
    assert not soup.select("merror")
    for code in soup.select("code, pre"):
        code.clear()
    assert not re.search(r"\$|\\[a-z]|[\ue000\ue001]", soup.get_text())


@pytest.mark.parametrize("wrong", [r"\nosuchcommand{x}", r"\frac{a", "a_b_c", r"\left( a"])
def test_a_wrong_formula_names_itself_and_its_cell(wrong: str) -> None:
    cells = new_markdown_cell("# Fine"), new_code_cell("1"), new_markdown_cell(f"Look: ${wrong}$")
    with pytest.raises(pages.FormulaError) as told:
        convert(*cells, name="05_wrong")
    assert str(told.value).startswith("05_wrong, cell 3: formula ")
    assert repr(wrong) in str(told.value)


# ---------------------------------------------------------------- the page


def loaded(soup: BeautifulSoup) -> list[str]:
    """Every address that a page would load."""
    found = []
    for tag in soup.find_all(True):
        names = ("src", "srcset", "poster", "data", "action", "xlink:href")
        names += ("href",) if tag.name not in ("a", "area") else ()
        found += [tag[name] for name in names if tag.get(name)]
        found += re.findall(r"url\(\s*['\"]?([^'\")]{0,200})", tag.get("style", ""))
    for style in soup.select("style"):
        found += re.findall(r"url\(\s*['\"]?([^'\")]{0,200})", style.get_text())
        found += re.findall(r"@import[^;]*", style.get_text())
    for script in soup.select("script"):
        scripts = [script.get_text()]
        packed = re.findall(r"data:text/javascript;base64,([A-Za-z0-9+/=]+)", script.get_text())
        scripts += [base64.b64decode(text).decode() for text in packed]
        for text in scripts:
            found += re.findall(r"\bimport\s*\(?\s*['\"]([^'\"]{0,200})", text)
            found += re.findall(r"\bfrom\s+['\"]([^'\"]{0,200})['\"]\s*;", text)
            found += re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|importScripts)\b", text)
    return found


@each_page
def test_a_page_loads_nothing(path: Path, folder: Path) -> None:
    assert [where[:80] for where in loaded(soup_of(path, folder)) if not where.startswith("data:")] == []


def test_what_a_page_would_load_is_found() -> None:
    soup = BeautifulSoup(
        '<img src="http://a/b.png"><link href="//c/d.css"><style>p { background: url(https://e/f) }</style>'
        '<script>import("https://g/h.js"); fetch("x")</script>',
        "html.parser",
    )
    assert loaded(soup) == ["http://a/b.png", "//c/d.css", "https://e/f", "https://g/h.js", "fetch"]


@each_page
def test_pictures_keep_their_text_and_pages_their_names(path: Path, folder: Path) -> None:
    soup, notebook = soup_of(path, folder), nbformat.read(path, as_version=4)
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    texts = [out.metadata["image/png"]["alt"] for out in outputs if "image/png" in out.get("data", {})]
    shown = [image["alt"] for image in soup.select(".jp-OutputArea img")]
    assert texts and [text for text in texts if text not in shown] == []
    assert "No description has been provided for this image" not in shown
    heading = next(cell.source for cell in notebook.cells if cell.source.startswith("# "))
    assert soup.title and soup.title.get_text() == heading.splitlines()[0][2:]
    assert soup.html and soup.html["lang"] == "en"
    names = [element["id"] for element in soup.select("[id]")]
    assert len(names) == len(set(names))


@each_page
def test_links_to_notebooks_lead_to_their_pages(path: Path, folder: Path) -> None:
    stems = [other.stem for other in PATHS]
    links = [link["href"] for link in soup_of(path, folder).select("a[href]")]
    assert not [link for link in links if ".ipynb" in link]
    assert {link for link in links if link.endswith(".html") and ":" not in link} <= {
        f"{stem}.html" for stem in stems
    }
    if path.stem.startswith("00"):
        assert [f"{stem}.html" for stem in stems[1:]] == [link for link in links if link[:2].isdigit()]


def test_links_to_elsewhere_stay() -> None:
    body = body_of("[a](01_x.ipynb#there) [b](https://host/c.ipynb) [d](#e) [f](g/h.ipynb)")
    assert [a["href"] for a in body.select("a")] == [
        *("01_x.html#there", "https://host/c.ipynb", "#e", "g/h.html")
    ]


def test_a_picture_from_elsewhere_is_refused_and_one_beside_is_put_in() -> None:
    with pytest.raises(ValueError, match=r"some_notebook shows 'https://host/a\.png'"):
        convert(new_markdown_cell("![a](https://host/a.png)"))
    image = body_of("![the board, $x$](docs/drawing_board.png)").select_one("img")
    assert image["src"].startswith("data:image/png;base64,") and image["alt"] == "the board, x"


def test_widgets_of_the_kernel_leave_their_picture() -> None:
    view = {"model_id": "an-id-of-a-run", "version_major": 2, "version_minor": 0}
    data = {"application/vnd.jupyter.widget-view+json": view, "image/png": PNG, "text/plain": "a <moon>"}
    output = new_output("display_data", data=data, metadata={"image/png": {"alt": 'a "moon"', "width": 30}})
    bare = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": view})
    notebook = new_notebook(cells=[new_code_cell("panel", outputs=[output, bare])])
    state = {"state": {"an-id-of-a-run": {}}, "version_major": 2, "version_minor": 0}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    told, _ = pages.OfflineHTML().from_notebook_node(notebook)
    soup = BeautifulSoup(told, "html.parser")
    (image,) = soup.select(".jp-OutputArea img")
    assert (image["alt"], image["width"]) == ('a "moon"', "30")
    assert soup.select("script") == [] and "an-id-of-a-run" not in told
    assert "widgets" in notebook.metadata  # the notebook itself stays as it is


def test_latex_of_an_output_is_shown() -> None:
    output = new_output("display_data", data={"text/latex": r"$\sigma$", "text/plain": "sigma"})
    assert convert(new_code_cell("show", outputs=[output])).select_one(".jp-OutputArea math") is not None


def test_a_live_widget_is_stored_and_comes_back() -> None:
    def live(name: str) -> str:
        image = f'<img alt="a moon" src="data:image/png;base64,{PNG}"/>'
        script = f'<script type="module">document.getElementById("Moon-{name}").x = "Moon";</script>'
        return f'<div id="Moon-{name}">{image}</div>{script}'

    stored = []
    for name in ("0123abc", "4567def"):
        data = {"text/html": live(name), "image/png": PNG + "\n"}
        pages.store(data)
        assert set(data) == {pages.LIVE, "image/png"} and PNG not in data[pages.LIVE]
        stored.append(data)
    assert stored[0] == stored[1]  # a second run stores the same
    outputs = [new_output("display_data", data=data) for data in stored]
    told, _ = pages.OfflineHTML().from_notebook_node(
        new_notebook(cells=[new_code_cell("a", outputs=outputs)])
    )
    for number in (0, 1):
        assert live(f"0-{number}") in told
    still = {"text/html": "<img>", "image/png": PNG}
    pages.store(still)
    assert still == {"image/png": PNG}
    table = {"text/html": "<table></table>"}
    pages.store(table)
    assert table == {"text/html": "<table></table>"}


def test_jupyterlab_offers_it() -> None:
    """The menu shows the name; the address it calls allows letters, digits and _ only."""
    told = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert (
        '[project.entry-points."nbconvert.exporters"]\nHTML_offline = "lecture_lib.pages:OfflineHTML"' in told
    )
    found = [entry for entry in entry_points(group="nbconvert.exporters") if entry.name == "HTML_offline"]
    assert found and found[0].load() is pages.OfflineHTML


# ---------------------------------------------------------------- in a browser, without kernel and network

PARTS_JS = """
window.parts = Promise.all([...document.querySelectorAll("script[type=module]")].map(async (script) => {
  const text = script.textContent, module = await import(/import\\("([^"]+)"\\)/.exec(text)[1]);
  const bytes = Uint8Array.from(atob(/atob\\("([^"]*)"\\)/.exec(text)[1]), (c) => c.charCodeAt(0));
  const state = JSON.parse(/^const state = (.*);$/m.exec(text)[1]);
  return { module, state, floats: module.readFloats(new DataView(bytes.buffer)) };
}));
"""
"""The modules that the widgets of a page run by, their states and their weights, from the page itself."""

EIGHT_BITS = 0.5 / 255 + 1e-5
"""A canvas has 8 bits: half a level of rounding, and 1e-5 for the arithmetic."""


class Alone(NamedTuple):
    """A page that is open from its file, and what it asked for."""

    watched: Watched
    asked: list[str]
    states: list[dict[str, Any]]
    """Of its widgets."""
    floats: list[np.ndarray]
    """Their weights."""

    @property
    def page(self) -> Page:
        return self.watched.page

    def close(self) -> None:
        """Close it, after a look at whether it has asked or complained."""
        self.page.wait_for_timeout(100)
        kept = ("file:", "data:", "blob:")
        assert [url[:100] for url in self.asked if not url.startswith(kept)] == []
        assert self.watched.console == [] and self.watched.outside == []
        self.page.context.close()


def opened(name: str, folder: Path, chrome: Browser, width: int = 1280) -> Alone:
    (path,) = (path for path in PATHS if path.stem.startswith(name))
    watched, asked = watched_page(chrome, width), list[str]()
    watched.page.on("request", lambda request: asked.append(request.url))
    watched.page.context.set_offline(True)
    watched.page.goto(exported(path, folder).as_uri())
    watched.page.evaluate(PARTS_JS)
    states = watched.page.evaluate("async () => (await parts).map(({ state }) => state)")
    # the weights by Python and not by the page: they stand in its text
    texts = watched.page.evaluate(
        """() => [...document.querySelectorAll("script[type=module]")]
        .map((script) => /atob\\("([^"]*)"\\)/.exec(script.textContent)[1])"""
    )
    data = [base64.b64decode(text) for text in texts]
    floats = [np.frombuffer(part[4:], "<f2" if part[0] == 2 else "<f4").astype(np.float32) for part in data]
    return Alone(watched, asked, states, floats)


@pytest.fixture
def alone(folder: Path, chrome: Browser) -> Iterator[Any]:
    """Opens pages, and looks at the end whether they were silent."""
    all_of_them: list[Alone] = []

    def open_it(name: str) -> Alone:
        all_of_them.append(opened(name, folder, chrome))
        return all_of_them[-1]

    yield open_it
    for page in all_of_them:
        page.close()


ACTIVATIONS: dict[str, Any] = {"linear": lambda x: x, "tanh": jnp.tanh, "relu": jax.nn.relu}
ACTIVATIONS |= {"gelu": jax.nn.gelu, "sigmoid": jax.nn.sigmoid}


def by_jax(net: dict[str, Any], floats: np.ndarray, at: int, rows: Any, labels: Any = None) -> np.ndarray:
    """What a network of the page gives by JAX, from the same numbers."""
    x = jnp.asarray(rows, jnp.float32)
    if net["condition"] is not None:
        one_hot = jax.nn.one_hot(jnp.asarray(labels), net["classes"])
        x = jnp.concatenate([x, one_hot], axis=1) if net["condition"] == "concat" else x
    rest = iter(np.split(floats[at:], np.cumsum([n for layer in net["layers"] for n in counts(net, layer)])))
    for layer in net["layers"]:
        shape = layer["inputs"], layer["outputs"]
        x = jnp.matmul(x, next(rest).reshape(shape), precision="highest") + next(rest)
        if layer["film"]:
            scale, shift = (next(rest).reshape(net["classes"], -1) for _ in range(2))
            x = (1 + one_hot @ scale) * x + one_hot @ shift
        x = ACTIVATIONS[layer["activation"]](x)
    return np.asarray(x)


def counts(net: dict[str, Any], layer: dict[str, Any]) -> list[int]:
    inputs, outputs = layer["inputs"], layer["outputs"]
    return [inputs * outputs, outputs, *([net["classes"] * outputs] * 2 if layer["film"] else [])]


def shown(page: Page, selector: str) -> np.ndarray:
    """The grey levels of canvases, from 0 to 1, one row each."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    levels = page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].map((canvas) =>
        [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]
        .filter((_, i) => i % 4 === 0))""",
        selector,
    )
    return np.array(levels) / 255


@pytest.mark.browser
@pytest.mark.parametrize("name", ["00", "01"])
def test_moons_of_a_page_equal_jax(alone: Any, name: str) -> None:
    here = alone(name)
    (state,), (floats,) = here.states, here.floats
    data, places = state["data"], np.arange(11) / 10
    at = len(data["phases"]) * data["size"] ** 2
    np.testing.assert_array_equal(floats[:at], measures.true_moons(data["size"], 5)[1].ravel())
    slider, written = here.page.locator(".moon-slider input[type=range]"), []
    for line in data["models"]:
        codes = (line["low"] + places * (line["high"] - line["low"])).astype(np.float32)
        found = here.page.evaluate(
            """async ([spec, at, codes]) => {
            const [{ module: { readNet, run }, floats }] = await parts;
            return codes.map((code) => [...run(readNet(spec, floats, at), [code])]);
        }""",
            [line["net"], at, codes.tolist()],
        )
        written.append(by_jax(line["net"], floats, at, codes[:, None]))
        np.testing.assert_allclose(found, written[-1], atol=1e-5)
        at += line["net"]["count"]
    assert at == len(floats)
    slider.press("Home")
    for k in range(11):
        canvases = shown(here.page, ".moon-pair figure:first-child canvas")
        expected = np.clip([moons[k] for moons in written], 0, 1)
        assert np.abs(canvases - expected).max() <= EIGHT_BITS
        slider.press("PageUp")


@pytest.mark.browser
def test_pad_and_board_of_a_page_equal_jax(alone: Any) -> None:
    here = alone("04")
    pad = next(k for k, state in enumerate(here.states) if "place" in state)
    board = 1 - pad
    data, floats = here.states[pad]["data"], here.floats[pad]
    places = [here.states[pad]["place"], [2.5, -1.3, 0], [-2.0, 2.5, 3]]
    answers = here.page.evaluate(
        """async ([k, places]) => {
        const { module: { readNet, run, styleAt }, state: { data }, floats } = (await parts)[k];
        const net = readNet(data.net, floats), ten = [...Array(10).keys()];
        return places.map((place) => ten.map((digit) => [...run(net, styleAt(data, place), digit)]));
    }""",
        [pad, places],
    )
    for (across, up, hand), found in zip(places, answers, strict=True):
        z = np.asarray(data["hands"][hand]) + np.array([across, up]) @ np.asarray(data["directions"])
        written = by_jax(data["net"], floats, 0, np.tile(z, (10, 1)), np.arange(10))
        np.testing.assert_allclose(found, written, atol=1e-5)
        if across == places[0][0]:
            digits = shown(here.page, "[id^=StylePad] .style-ten canvas")
            assert np.abs(digits - np.clip(written, 0, 1)).max() <= EIGHT_BITS

    state, floats = here.states[board], here.floats[board]
    data = state["data"]
    found = here.page.evaluate(
        """async (k) => {
        const { module: { readNet, run, asMnist }, state, floats } = (await parts)[k];
        const { data } = state, ten = [...Array(10).keys()], n = data.encoder.count;
        const image = asMnist(state.strokes, state.width);
        const read = [...run(readNet(data.reader, floats, n + data.decoder.count), image)];
        const label = read.indexOf(Math.max(...read));
        const z = [...run(readNet(data.encoder, floats), image, label)].slice(0, data.latent);
        const decoder = readNet(data.decoder, floats, n);
        return { read, label, z, written: ten.map((digit) => [...run(decoder, z, digit)]) };
    }""",
        board,
    )
    image = strokes.as_mnist(state["strokes"], width=state["width"]).astype(np.float32).reshape(1, -1)
    n = data["encoder"]["count"]
    read = by_jax(data["reader"], floats, n + data["decoder"]["count"], image)[0]
    assert found["label"] == read.argmax()
    z = by_jax(data["encoder"], floats, 0, image, [found["label"]])[0, : data["latent"]]
    np.testing.assert_allclose(found["z"], z, atol=1e-5, rtol=1e-5)
    written = by_jax(data["decoder"], floats, n, np.tile(z, (10, 1)), np.arange(10))
    np.testing.assert_allclose(found["written"], written, atol=1e-5)
    digits = shown(here.page, "[id^=DrawingBoard] .style-ten canvas")
    assert np.abs(digits - np.clip(written, 0, 1)).max() <= EIGHT_BITS


@pytest.mark.browser
def test_films_of_a_page_play(alone: Any) -> None:
    """The film of one game, and that of the game under the map's cursor."""
    here = alone("07")
    films = here.page.locator(".film")
    assert films.count() == len(here.states) == 2
    for film, state in zip(films.all(), here.states, strict=True):
        slider, last = film.locator("input[type=range]"), len(state["film"]["steps"]) - 1
        assert slider.get_attribute("max") == str(last)
        film.locator("select").select_option("fast")
        slider.press("End")
        for _ in range(12):
            slider.press("ArrowLeft")
        film.get_by_role("button", name="Play").click()
        here.page.wait_for_function(
            "([slider, last]) => slider.value === String(last)", arg=[slider.element_handle(), last]
        )


@pytest.mark.browser
@each_page
def test_a_page_fits_a_telephone(path: Path, folder: Path, chrome: Browser) -> None:
    here = opened(path.stem, folder, chrome, width=390)
    assert here.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    beyond = """() => [...document.querySelectorAll("p > math, li > math, img, canvas")].filter((part) => {
        const box = part.getBoundingClientRect();
        return box.right > innerWidth && !part.closest(".formula, table");
    }).map((part) => part.outerHTML.slice(0, 80))"""
    assert here.page.evaluate(beyond) == []
    here.close()
