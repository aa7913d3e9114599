"""The page as people meet it: in Chromium, by mouse and by keys, on a phone and on paper."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, needs_chromium, open_browser
from report_samples import HOSTILE, with_map

from embed_index.pipeline.report.page import render_report

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    text = HOSTILE + " Chunk {} speaks of pumps."
    file.write_text(render_report(with_map(500, text=text)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, page: Path) -> Browser:
    """With the page open and nothing amiss so far."""
    chromium.trouble.clear()
    chromium.requests.clear()
    chromium.prefer("light")
    chromium.open(page)
    return chromium


def place_of(browser: Browser, index: int) -> tuple[float, float]:
    """Where a chunk is in the window, the map scrolled into view."""
    browser.js("document.querySelector('canvas').scrollIntoView({block: 'center'})")
    browser.settle()
    box = "document.querySelector('canvas').getBoundingClientRect()"
    x, y = browser.js(
        f"(() => {{ const box = {box}; const [x, y] = chunkMap.place({index});"
        " return [box.x + x, box.y + y]; })()"
    )
    return x, y


def test_nothing_is_fetched_and_nothing_complains(browser: Browser, page: Path) -> None:
    browser.prefer("dark")
    browser.settle()

    assert browser.trouble == []
    assert set(browser.requests) <= {page.as_uri(), "data:,"}


def test_pointing_at_a_chunk_shows_its_text_as_text(browser: Browser) -> None:
    x, y = place_of(browser, 7)
    browser.point(x, y)

    chosen = browser.js("chunkMap.chosen")
    tip = browser.js("document.querySelector('.tip').innerText")
    assert browser.js("document.querySelector('.tip').hidden") is False
    assert f"Chunk {chosen} speaks of pumps." in tip
    assert "<script>alert(1)</script></script>" in tip
    assert f"document-{chosen}" in tip
    assert "chunk 1 of 2" in tip
    assert browser.js("document.querySelectorAll('.tip script, .tip img').length") == 0
    assert browser.trouble == []


def test_the_map_is_reached_and_read_by_keys(browser: Browser) -> None:
    for _ in range(60):
        browser.press("Tab")
        if browser.js("document.activeElement.tagName") == "CANVAS":
            break
    assert browser.js("document.activeElement.tagName") == "CANVAS"
    first = browser.js("chunkMap.chosen")
    browser.press("ArrowRight")
    second = browser.js("chunkMap.chosen")

    assert first != second
    assert browser.js(f"chunkMap.place({second})[0] > chunkMap.place({first})[0]")
    said = browser.js("document.querySelector('.said').innerText")
    assert f"Chunk {second} speaks of pumps." in said
    assert browser.js("document.querySelector('.said').getAttribute('aria-live')") == "polite"


def test_a_group_alone_and_what_is_searched_for_stand_out(browser: Browser) -> None:
    browser.js("document.querySelector('[data-group=\"1\"]').click()")
    shown = browser.js("chunkMap.data.x.filter((_, index) => chunkMap.isShown(index)).length")
    assert shown == browser.js("chunkMap.data.group.filter(group => group === 1).length") > 100

    browser.js(
        "(() => { const box = document.querySelector('.find input'); box.value = 'CHUNK 4';"
        " box.dispatchEvent(new Event('input')); })()"
    )
    assert browser.js("document.querySelector('.found').textContent") == "111 found"
    assert browser.js("document.querySelector('[data-group] span').innerText") == "pump"
    last = browser.js("[...document.querySelectorAll('[data-group] span')].at(-1).textContent")
    assert last.startswith("<script>alert(1)</script>")


def test_a_bar_of_a_chart_says_its_figures(browser: Browser) -> None:
    browser.js("document.querySelector('#history').scrollIntoView({block: 'center'})")
    browser.settle()
    x, y = browser.js(
        "(() => { const marks = document.querySelectorAll('#history .wide-only"
        " [role=graphics-symbol][aria-label*=new]'); const box ="
        " marks[marks.length - 1].getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    browser.point(x, y)

    hint = browser.js("document.querySelector('.hint').innerText")
    assert re.search(r"2026, \d\d:00 .*: 300 new", hint), hint


@pytest.mark.parametrize("width", [320, 390, 768, 1200, 1800])
def test_nothing_sticks_out_at_any_width(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)

    wide = browser.js("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0
    small = browser.js("getComputedStyle(document.querySelector('.narrow-only')).display")
    assert (small == "block") == (width < 544)


def test_colours_follow_the_reader_and_paper_is_light(browser: Browser, tmp_path: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = browser.js(background)
    browser.prefer("dark")
    dark = browser.js(background)
    browser.print(tmp_path / "report.pdf")

    assert light != dark
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
    assert browser.trouble == []
