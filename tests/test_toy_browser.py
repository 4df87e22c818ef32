"""The film of a GAN of numbers in Chromium: its arithmetic against NumPy, in JupyterLab, and exported."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page

from lecture_lib import browser as packing
from lecture_lib import measures, toy_trials
from lecture_lib.toy_films import EDGES
from lecture_lib.toy_widgets import NAMES, FilmPlayer
from tests.lab import Lab, Notebook, complaints, contrasts, cut_off, settled, watched_page, write
from tests.test_toy_widgets import made_up

pytestmark = pytest.mark.browser

# Games of 300 steps, so that a moved slider is answered at once.
SETUP = """
from functools import partial
from lecture_lib import toy_films, toy_panels, toy_trials, toy_widgets
toy_trials.train = train = partial(toy_trials.train, steps=300, every=10)
panel = toy_panels.film_panel()
player = panel.picture

def numbers(film, place):
    return {name: float(getattr(film, name)[place]) for name in toy_widgets.NAMES}

def by_hand(place, log):
    import jax
    settings, key = toy_trials.RECIPE, jax.random.key(0)
    fitted = train(settings, keys=jax.random.split(key, 1))
    state = toy_panels.walk(fitted, settings, place, log)
    film = toy_films.look(fitted.game, toy_films.players(state), settings.data, [0])
    return numbers(film, 0)
"""
FILM = 1
"""The cell that shows it."""
FRAMES, START = 31, 15


# ---------------------------------------------------------------- the arithmetic of the page


@pytest.fixture(scope="module")
def scripts(chrome: Browser) -> Iterator[Page]:
    """A page where `film` holds what the script exports, and `read` takes a film's numbers as base64."""
    page = watched_page(chrome).page
    page.evaluate(
        """async (script) => {
        window.film = await import(`data:text/javascript;base64,${script}`);
        window.read = (info, text, data) => {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            return film.readFilm(info, film.readFloats(new DataView(bytes.buffer)), data);
        };
    }""",
        base64.b64encode(packing.script("nets.js", "film.js").encode()).decode(),
    )
    yield page
    page.context.close()


@pytest.mark.parametrize(("frames", "kind"), [(1, "one bump"), (7, "skewed")])
def test_a_film_is_read_as_it_was_packed(scripts: Page, frames: int, kind: str) -> None:
    film = made_up(frames, kind=kind, prior="normal")
    player = FilmPlayer(film)
    found = scripts.evaluate(
        """([info, text, data]) => {
        const { series, ...film } = read(info, text, data);
        const plain = (part) => (ArrayBuffer.isView(part) ? [...part] : part);
        return Object.fromEntries(Object.entries({ ...film, ...series }).map(([k, v]) => [k, plain(v)]));
    }""",
        [player.film, base64.b64encode(player.weights).decode(), player.data],
    )
    curve = toy_trials.DATA[film.kind]
    expected = {name: getattr(film, name).ravel() for name in ("z", "d", "density", "x", *NAMES)}
    expected |= {"curve": curve.density(EDGES), "masses": np.diff(curve.cdf(EDGES)) / np.diff(EDGES)}
    assert set(found) == {*expected, "steps", "kind", "prior"}
    assert (found["steps"], found["kind"]) == (film.step.tolist(), kind)
    assert found["prior"] == "z, standard normal"
    for name, part in expected.items():
        np.testing.assert_allclose(found[name], part, rtol=1e-6, atol=1e-6, err_msg=name)


def test_the_best_d_is_that_of_the_measures(scripts: Page) -> None:
    film = made_up(3, kind="two bumps")
    player = FilmPlayer(film)
    film.density[1, 40:60] = 0  # where there may be data, or nothing
    film.density[2, :] = 0
    player.show(film)
    found = scripts.evaluate(
        """([info, text, data]) => {
        const { masses, density, steps } = read(info, text, data), { cells } = data;
        return steps.map((_, i) =>
            [...film.bestOf(masses, density.subarray(i * cells, (i + 1) * cells))]
                .map((v) => (Number.isNaN(v) ? null : v)));
    }""",
        [player.film, base64.b64encode(player.weights).decode(), player.data],
    )
    masses = np.diff(toy_trials.DATA["two bumps"].cdf(EDGES)) / np.diff(EDGES)
    found = np.array(found, np.float64)  # None becomes NaN
    for best, density in zip(found, film.density, strict=True):
        expected = measures.optimal_discriminator(masses, density)
        somewhere = masses + density > 1e-9  # below that, rounding would be asked
        assert somewhere.sum() > 50
        np.testing.assert_allclose(best[somewhere], expected[somewhere], atol=1e-6)
        assert np.isnan(best[~somewhere]).all()


# ---------------------------------------------------------------- in JupyterLab


@pytest.fixture(scope="module")
def opened(root: Path, lab: Lab, chrome: Browser) -> Iterator[Notebook]:
    write(root / "film.ipynb", [SETUP, "panel"])
    notebook = Notebook(chrome, lab, "film.ipynb", height=1500)
    notebook.run_all()
    yield notebook
    notebook.close()


@pytest.fixture
def fresh(opened: Notebook) -> Notebook:
    """The same, with the panel as at the start."""
    panel_reset(opened).click()
    settled(opened, FILM)
    assert place_on(opened.page) == START
    return opened


def panel_reset(notebook: Notebook) -> Locator:
    return notebook.page.locator(".jupyter-button", has_text="Reset")


def button(page: Page, name: str) -> Locator:
    return page.locator(".film").get_by_role("button", name=name, exact=True)


def steps_slider(page: Page) -> Locator:
    return page.locator(".film input[type=range]")


def place_on(page: Page) -> int:
    """The frame; the number beside the slider has to say the same."""
    place, step = page.locator(".film label").first.evaluate(
        "label => [label.querySelector('input').value, label.querySelector('output').textContent].map(Number)"
    )
    assert step == 10 * place
    return place


def facts_on(page: Page) -> list[str]:
    return page.locator(".film-told span").all_inner_texts()


def expected_facts(place: int, log: str, n: dict[str, float]) -> list[str]:
    """The sentence under the picture, with a tolerance for the last digit left to `same_facts`."""
    hand = f" and by hand {log}" if log else ""
    return [
        f"step {10 * place}{hand}",
        f"D's loss {n['loss_d']:.3f}",
        f"G's loss {n['loss_g']:.3f}",
        f"mean D on real x {n['real']:.3f}, on G's {n['fake']:.3f}",
        f"D is right on {100 * n['right']:.1f} %",
        f"JS {n['js']:.4f} nats",
        f"W1 {n['w1']:.3f} (averaged G {n['w1_averaged']:.3f})",
        f"G's mean {n['mean']:.2f}, sd {n['sd']:.2f}".replace("-", "−"),
    ]


def same_facts(page: Page, place: int, log: str, n: dict[str, float]) -> bool:
    *facts, reach = facts_on(page)
    told = float(reach.split()[4]), float(reach.split()[8])
    assert told == pytest.approx((n["reach"], n["reach_minimax"]), rel=0.06)
    return facts == expected_facts(place, log, n)


def wait_for_facts(notebook: Notebook, beginning: str) -> None:
    notebook.wait_for(lambda: facts_on(notebook.page)[0] == beginning, 20)
    settled(notebook, FILM)


def test_it_shows_the_numbers_of_the_kernels_film(fresh: Notebook) -> None:
    page = fresh.page
    for key, place in (("Home", 0), ("ArrowRight", 1), ("End", FRAMES - 1)):
        steps_slider(page).press(key)
        assert place_on(page) == place
        assert same_facts(page, place, "", fresh.ask(f"numbers(player._shown, {place})"))
    assert complaints(fresh) == []


def test_slider_and_keys_move_the_picture(fresh: Notebook) -> None:
    page, first = fresh.page, settled(fresh, FILM)
    active = page.evaluate("() => lab.panel().content.activeCellIndex")
    seen = [tuple(first)]
    places = [("ArrowRight", 16), ("ArrowUp", 17), ("ArrowLeft", 16), ("End", 30), ("ArrowRight", 30)]
    for key, place in [*places, ("Home", 0), ("ArrowDown", 0)]:
        steps_slider(page).press(key)
        assert place_on(page) == place
        seen.append(tuple(settled(fresh, FILM)))
        assert fresh.ask("player.place") == place
    assert seen[1] == seen[3] and seen[4] == seen[5] and seen[6] == seen[7] and len(set(seen)) == 5
    # both the scene and the charts have moved; the key above them has not
    changed = [a != b for a, b in zip(seen[0], seen[1], strict=True)]
    assert changed == [False] * 4 + [True, True]
    assert steps_slider(page).get_attribute("aria-valuetext") == "step 0"
    labels = page.locator(".film canvas[role=img]").evaluate_all("all => all.map((c) => c.ariaLabel)")
    assert "step 0; D's loss" in labels[0] and labels[1].endswith("at step 0.")
    assert page.evaluate("() => lab.panel().content.activeCellIndex") == active
    assert complaints(fresh) == []


@pytest.mark.proof
def test_play_moves_through_the_frames_without_the_kernel(fresh: Notebook) -> None:
    page = fresh.page
    page.locator(".film select").select_option("fast")
    page.evaluate(
        """() => {
        const { kernel } = lab.panel().sessionContext.session;
        window.busy = true;
        kernel.requestExecute({ code: "import time; time.sleep(3)" }).done.then(() => (window.busy = false));
        window.places = [];
        const slider = document.querySelector(".film input[type=range]");
        window.watch = setInterval(() => places.push(Number(slider.value)), 5);
    }"""
    )
    button(page, "▶ Play").click()
    page.wait_for_function("() => document.querySelector('.film input[type=range]').value === '30'")
    page.wait_for_function("() => document.querySelector('.film-bar button').textContent === '▶ Play'")
    assert page.evaluate("() => window.busy") is True
    places = page.evaluate("() => (clearInterval(watch), places)")
    assert places == sorted(places) and len(set(places)) > 5
    fresh.wait_idle()
    settled(fresh, FILM)
    assert place_on(page) == FRAMES - 1 == fresh.ask("player.place")
    assert same_facts(page, FRAMES - 1, "", fresh.ask("numbers(player._shown, -1)"))
    # from the end it begins again, and it can be stopped
    page.locator(".film select").select_option("slow")
    button(page, "▶ Play").click()
    fresh.wait_for(lambda: 2 <= place_on(page) < 20, 10)
    button(page, "⏸ Pause").click()
    stopped = place_on(page)
    page.wait_for_timeout(600)
    assert place_on(page) == stopped
    settled(fresh, FILM)
    assert fresh.ask("player.place") == stopped
    assert complaints(fresh) == []


@pytest.mark.proof
def test_a_moved_slider_stops_the_film(fresh: Notebook) -> None:
    page = fresh.page
    page.locator(".film select").select_option("slow")
    button(page, "▶ Play").click()
    steps_slider(page).press("Home")
    assert button(page, "▶ Play").count() == 1 and place_on(page) == 0
    page.wait_for_timeout(400)
    assert place_on(page) == 0


def test_pointing_into_the_charts_seeks(fresh: Notebook) -> None:
    page = fresh.page
    charts = page.locator(".film-charts")
    charts.scroll_into_view_if_needed()
    box = charts.bounding_box()
    assert box is not None and box["width"] > 560
    wide, tall = box["width"] / 2, box["height"] / 2

    def at(chart: int, share: float, up: float = 0.5) -> tuple[float, float]:
        """On the page: 40 pixels are left of each axis and 14 right of it, 34 above it and 22 below."""
        left, top = chart % 2 * wide + 40, chart // 2 * tall + 34
        return box["x"] + left + share * (wide - 54), box["y"] + top + up * (tall - 56)

    for chart, share, place in ((0, 0.0, 0), (1, 0.5, 15), (2, 1.0, 30), (3, 0.2, 6), (0, 1.0, 30)):
        page.mouse.click(*at(chart, share))
        assert place_on(page) == place, chart
        settled(fresh, FILM)
        assert fresh.ask("player.place") == place
    before = settled(fresh, FILM)
    page.mouse.move(*at(1, 0.3))  # only with a button down
    page.mouse.click(box["x"] + 3, box["y"] + 3)  # a title
    assert settled(fresh, FILM) == before
    page.mouse.move(*at(0, 0.9))
    page.mouse.down()
    for share, place in ((0.9, 27), (0.6, 18), (0.3, 9)):
        page.mouse.move(*at(0, share), steps=4)
        assert place_on(page) == place
    page.mouse.up()
    settled(fresh, FILM)
    assert fresh.ask("player.place") == 9
    assert complaints(fresh) == []


@pytest.mark.proof
def test_steps_by_hand_and_undo(fresh: Notebook) -> None:
    page, first = fresh.page, settled(fresh, FILM)
    assert button(page, "undo").is_disabled()
    for name, log, told in (
        ("step D", "D", "1 × D"),
        ("step G", "DG", "1 × D, 1 × G"),
        ("10 × D", "DG" + "D" * 10, "1 × D, 1 × G, 10 × D"),
        ("50 × G, D asleep", "DG" + "D" * 10 + "G" * 50, "1 × D, 1 × G, 10 × D, 50 × G"),
    ):
        before = settled(fresh, FILM)
        button(page, name).click()
        wait_for_facts(fresh, f"step 150 and by hand {told}")
        assert fresh.ask("player.asked") == [START, log]
        assert same_facts(page, START, told, fresh.ask(f"by_hand({START}, {log!r})"))
        after = settled(fresh, FILM)
        assert after != before and place_on(page) == START
        assert after[5] == first[5]  # the charts are those of the film
    button(page, "undo").click()
    assert fresh.at_rest(FILM, 10, like=first) is not None
    assert facts_on(page)[0] == "step 150" and button(page, "undo").is_disabled()
    # the same steps again, after undo and after the slider has moved away and back
    seen = []
    for keys in ((), (), ("ArrowRight", "ArrowLeft")):
        for key in keys:
            steps_slider(page).press(key)
        button(page, "50 × G, D asleep").click()
        wait_for_facts(fresh, "step 150 and by hand 50 × G")
        seen.append(settled(fresh, FILM))
        assert fresh.ask("player.branch")["log"] == "50 × G"
        button(page, "undo").click()
        assert fresh.at_rest(FILM, 10, like=first) is not None
        assert fresh.ask("[player.branch, player.asked]") == [{"log": ""}, [START, ""]]
    assert seen[0] == seen[1] == seen[2] != first
    assert complaints(fresh) == []


@pytest.mark.proof
def test_moving_on_drops_the_steps(fresh: Notebook) -> None:
    page = fresh.page
    button(page, "step G").click()
    wait_for_facts(fresh, "step 150 and by hand 1 × G")
    steps_slider(page).press("ArrowRight")
    settled(fresh, FILM)
    assert facts_on(page)[0] == "step 160" and fresh.ask("player.branch") == {"log": ""}
    button(page, "step D").click()
    wait_for_facts(fresh, "step 160 and by hand 1 × D")  # not "1 × G 1 × D"


@pytest.mark.proof
def test_reset_of_the_player(fresh: Notebook) -> None:
    page, first = fresh.page, settled(fresh, FILM)
    steps_slider(page).press("End")
    button(page, "10 × D").click()
    wait_for_facts(fresh, "step 300 and by hand 10 × D")
    button(page, "Reset").click()
    assert fresh.at_rest(FILM, 10, like=first) is not None
    assert place_on(page) == START == fresh.ask("player.place")


@pytest.mark.proof
def test_reset_of_the_panel_stops_the_film(fresh: Notebook) -> None:
    """The kernel does not know where the page is while it plays."""
    page, first = fresh.page, settled(fresh, FILM)
    page.locator(".film select").select_option("slow")
    button(page, "▶ Play").click()
    fresh.wait_for(lambda: place_on(page) > START + 1, 10)
    panel_reset(fresh).click()
    assert fresh.at_rest(FILM, 10, like=first) is not None
    assert button(page, "▶ Play").count() == 1 and place_on(page) == START


@pytest.mark.proof
def test_another_setting_trains_anew_and_keeps_the_frame(fresh: Notebook) -> None:
    page, first = fresh.page, settled(fresh, FILM)
    for key in ("End", "ArrowLeft", "ArrowLeft"):
        steps_slider(page).press(key)
    button(page, "step D").click()
    wait_for_facts(fresh, "step 280 and by hand 1 × D")
    before = settled(fresh, FILM)
    page.get_by_role("radio", name="two bumps").or_(page.get_by_role("button", name="two bumps")).click()
    assert fresh.differs(FILM, before, 20)
    settled(fresh, FILM)
    assert place_on(page) == 28 and facts_on(page)[0] == "step 280"
    assert same_facts(page, 28, "", fresh.ask("numbers(player._shown, 28)"))
    assert fresh.ask("player.film['kind']") == "two bumps"
    page.locator(".jupyter-button", has_text="D too strong").click()
    fresh.wait_for(lambda: fresh.ask("panel.values()['loss']") == "log(1 − D)", 20)
    settled(fresh, FILM)
    assert same_facts(page, 28, "", fresh.ask("numbers(player._shown, 28)"))
    panel_reset(fresh).click()
    assert fresh.at_rest(FILM, 20, like=first) is not None
    assert page.locator("[role=alert]").count() == 0 and complaints(fresh) == []


@pytest.mark.proof
def test_keyboard_alone_reaches_everything(fresh: Notebook) -> None:
    page = fresh.page
    focused = """() => {
        const node = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(node);
        const ring = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
        return [node.tagName === "BUTTON" ? node.textContent : node.tagName.toLowerCase(), ring];
    }"""
    names = ["▶ Play", "input", "select", "Reset", "step D", "step G", "10 × D", "50 × G, D asleep"]
    button(page, names[0]).focus()
    for name in names[1:]:
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == [name, True]
    page.keyboard.press("Enter")
    wait_for_facts(fresh, "step 150 and by hand 50 × G")
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == ["undo", True]
    page.keyboard.press("Space")
    settled(fresh, FILM)
    assert facts_on(page)[0] == "step 150"
    # its name is the label's text alone
    assert page.get_by_role("slider", name="step of training", exact=True).count() == 1
    assert page.evaluate("() => lab.panel().content.mode") == "command"


@pytest.mark.proof
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_readable_in_both_themes(fresh: Notebook, theme: str) -> None:
    fresh.theme(theme)
    settled(fresh, FILM)
    told = contrasts(fresh.page, ".film :is(span, output, button, select)", ".widget-label")
    ink = scene_ink(fresh.page)
    fresh.theme("Light")
    assert len(told) > 30
    assert [(text, contrast) for text, contrast in told if contrast < 4.5] == []
    assert ink > 100


def scene_ink(page: Page) -> int:
    """How many pixels of the scene have the colour of the text, as its axes' numbers should."""
    return page.evaluate(
        """() => {
        const canvas = document.querySelector(".film-stage canvas"), { width, height } = canvas;
        const [r, g, b] = getComputedStyle(canvas.parentElement).color.match(/[\\d.]+/g).map(Number);
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        let found = 0;
        for (let i = 0; i < data.length; i += 4)
            if (data[i + 3] > 200 && Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) +
                Math.abs(data[i + 2] - b) < 12) found++;
        return found;
    }"""
    )


@pytest.mark.proof
def test_the_scene_follows_the_theme_at_once(fresh: Notebook) -> None:
    """Black text on a black page would be left over until the next frame."""
    page = fresh.page
    fresh.theme("Dark")
    try:
        settled(fresh, FILM)
        assert scene_ink(page) > 100
    finally:
        fresh.theme("Light")


@pytest.mark.proof
def test_narrow_window_cuts_nothing_off(fresh: Notebook) -> None:
    page = fresh.page
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        page.wait_for_timeout(700)
        assert cut_off(page) == []
        charts = page.locator(".film-charts")
        charts.scroll_into_view_if_needed()
        box = charts.bounding_box()
        assert box is not None and box["height"] == pytest.approx(600, abs=2)  # one below the other
        middle = 40 + (box["width"] - 54) / 2
        page.mouse.click(box["x"] + middle, box["y"] + 75)
        assert place_on(page) == 15
    finally:
        page.set_viewport_size({"width": 1280, "height": 1500})


# ---------------------------------------------------------------- without a kernel


def test_exported_page_plays_without_a_kernel(
    fresh: Notebook, lab: Lab, chrome: Browser, tmp_path: Path
) -> None:
    """As File > Save and Export Notebook As > HTML_offline makes it of the notebook that has been run."""
    told = {place: fresh.ask(f"numbers(player._shown, {place})") for place in (0, 14, START, FRAMES - 1)}
    fresh.command("docmanager:save")
    address = f"{lab.url}/nbconvert/HTML_offline/film.ipynb?token={lab.token}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        (tmp_path / "film.html").write_bytes(answer.read())
    watched = watched_page(chrome)
    page = watched.page
    page.goto((tmp_path / "film.html").as_uri(), wait_until="domcontentloaded")
    page.wait_for_selector(".film input[type=range]")
    assert place_on(page) == START and same_facts(page, START, "", told[START])
    for key, place in (("ArrowLeft", 14), ("Home", 0)):
        steps_slider(page).press(key)
        assert place_on(page) == place and same_facts(page, place, "", told[place])
    page.locator(".film select").select_option("fast")
    button(page, "▶ Play").click()
    page.wait_for_function("() => document.querySelector('.film input[type=range]').value === '30'")
    page.wait_for_function("() => document.querySelector('.film-bar button').textContent === '▶ Play'")
    assert same_facts(page, FRAMES - 1, "", told[FRAMES - 1])
    button(page, "Reset").click()
    assert place_on(page) == START
    for name in ("step D", "step G", "10 × D", "50 × G, D asleep", "undo"):
        assert page.locator(".film button", has_text=name).is_hidden()  # nobody would answer
    assert scene_ink(page) > 100
    assert watched.console == [] and watched.outside == []
    page.context.close()


def test_html_loads_nothing(chrome: Browser) -> None:
    player = FilmPlayer(made_up(4))
    watched = watched_page(chrome)
    asked: list[str] = []
    watched.page.on("request", lambda request: asked.append(request.url))
    watched.page.set_content(f"<!doctype html><body>{player.live_html()}</body>")
    watched.page.wait_for_selector(".film canvas.film-charts")
    assert json.loads(steps_slider(watched.page).get_attribute("max") or "") == 3
    assert [url[:80] for url in asked if not url.startswith("data:")] == []
    assert watched.console == []
    watched.page.context.close()
