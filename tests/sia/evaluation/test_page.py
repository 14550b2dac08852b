"""report.html in a real Chromium, opened as a file: it shows, filters and sorts, loads nothing, and runs no names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from sia.cli import main
from sia.drawing.html_page import html_page
from tests.sia.evaluation.made_up import labels, results, save, spoil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BAD_NAMES = ["<img src=x onerror=alert(1)>.png", "\"><script>alert(2)</script>.png",
             "</script><svg onload=alert(3)>.png", "a'b&amp;${alert(4)}`.png"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten images, four of them with names that want to be markup; 2 people each, misses and inversions."""
    folder = tmp_path_factory.mktemp("page")
    content = labels(10, BAD_NAMES + [f"plain-{i}.png" for i in range(6)])
    for row in content["images"]:
        image = folder / "images" / row["file_name"]
        image.parent.mkdir(parents=True, exist_ok=True)
        _, encoded = cv2.imencode(".png", np.full((400, 800, 3), (40, 160, 90), np.uint8))
        image.write_bytes(encoded.tobytes())
    rows = results(content)
    made = spoil(rows[:8], "inversion", 0.2) + spoil(rows[8:14], "miss", 0.1) + rows[14:19]  # and one is missed
    save(folder, val=content, results=made)
    flags = ["--ann_file", str(folder / "val.json"), "--coco_root", str(folder / "images")]
    out = ["--output_dir", str(folder / "out")]
    assert main(["evaluate", "--results", str(folder / "results.json"), *flags, *out]) == 0
    return folder


@pytest.fixture
def page(browser, folder):
    """The page, with everything noted that must not happen."""
    page = browser.new_page()
    page.noted = []
    page.on("dialog", lambda dialog: (page.noted.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: page.noted.append(str(error)))
    page.on("console", lambda message: page.noted.append(message.text))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "out" / "report.html").as_uri())
    page.wait_for_function("document.querySelectorAll('figure').length > 0")
    yield page
    assert page.noted == []
    assert [url for url in asked if not url.startswith("data:image/jpeg")] == [
        (folder / "out" / "report.html").as_uri()
    ]
    page.close()


def figures(page):
    return page.locator("figure figcaption").all_inner_texts()


def test_it_shows_everybody_and_runs_no_file_name(page, folder):
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert page.locator("h1").inner_text() == "results.json"
    assert page.locator(".tile b").first.inner_text() == f"{100 * metrics['AP']:.1f}"
    cards = figures(page)
    assert len(cards) == 20  # 19 found, 1 missed
    for name in BAD_NAMES:
        assert sum(name in card for card in cards) == 2
    assert page.locator("figure image").count() == 20 and page.locator("main img, figure img").count() == 0
    assert page.evaluate(
        "[...document.querySelectorAll('figure svg')].every(svg => svg.getBoundingClientRect().height > 50)"
    )
    assert page.locator("svg.chart path.curve").count() == 9
    assert page.locator("#keypoints tr").count() == 17


def test_it_filters_by_kind_keypoint_and_name(page, folder):
    page.select_option("#kind", "inversion")
    inverted = figures(page)
    assert 0 < len(inverted) < 9 and all("inversion" in card for card in inverted)
    joint = page.evaluate("report.cases.find(c => c.kinds && c.kinds.includes(2)).kinds.indexOf(2)")
    page.select_option("#keypoint", str(joint))
    both = page.evaluate(f"report.cases.filter(c => c.kinds && c.kinds[{joint}] === 2).length")
    assert len(figures(page)) == both > 0
    page.select_option("#kind", "missed")
    assert figures(page) == []  # a missed person has no predicted keypoint
    page.select_option("#keypoint", "")
    assert len(figures(page)) == 1
    page.select_option("#kind", "")
    page.fill("#name", "<IMG SRC=X")
    assert len(figures(page)) == 2
    page.fill("#name", "")
    assert page.locator("#shown").inner_text().startswith("20 of 20 examples")


def test_it_sorts_and_hides(page, folder):
    page.select_option("#sort", "highest score")
    scores = [float(found[1]) for card in figures(page) if (found := re.search(r"score ([0-9.]+)", card))]
    assert len(scores) == 19 and scores == sorted(scores, reverse=True)
    page.select_option("#sort", "lowest OKS")
    oks = [float(found[1]) for card in figures(page) if (found := re.search(r"OKS ([0-9.]+)", card))]
    assert oks == sorted(oks) and oks[0] < 0.95 < oks[-1]
    drawn = page.locator("figure .drawn").count(), page.locator("figure .truth").count()
    assert drawn[0] > 0 and drawn[1] > 0
    page.uncheck("#labels")
    assert (page.locator("figure .drawn").count(), page.locator("figure .truth").count()) == (drawn[0], 0)
    page.uncheck("#predictions")
    assert page.locator("figure line").count() == 0


def test_a_script_that_slips_in_is_refused(browser, tmp_path):
    """Were a name ever written as markup, the page's policy would still refuse to run it."""
    text = html_page(
        "a", "<p id=p>before</p><script>at('p').textContent = report.word;</script>", {"word": "</script>"}
    )
    hurt = text.replace(
        "</html>", "<script>document.title = 'bad'</script><img src=x onerror=\"document.title='bad'\">"
    )
    (tmp_path / "page.html").write_text(hurt)
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("#p").inner_text() == "</script>"
    page.wait_for_timeout(100)
    assert page.title() == "a"
    page.close()


def test_without_images_poses_are_shown_all_the_same(folder, tmp_path):
    flags = ["--results", str(folder / "results.json"), "--ann_file", str(folder / "val.json")]
    assert main(["evaluate", *flags, "--samples", "3", "--output_dir", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    data = json.loads(re.findall(r"const report = (.*);\n", text)[0])
    assert [case["src"] for case in data["cases"]] == [None] * 3
    assert text.count("<script>") == text.count("</script>") == 2 and "://" not in text.replace(
        "http://www.w3.org/2000/svg", ""
    )


def test_images_that_are_gone_are_one_line(folder, tmp_path, capsys):
    flags = ["--results", str(folder / "results.json"), "--ann_file", str(folder / "val.json")]
    assert main(["evaluate", *flags, "--coco_root", str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "10 of 10 images" in error
    assert not (tmp_path / "out").exists()
    assert Path(folder / "out" / "metrics.json").is_file()
