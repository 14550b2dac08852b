"""`sia demo` in a real Chromium: an image, a slider, a video; nothing is asked of any other machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sia.cli import main
from sia.io.bundled_weights import FOLDER
from tests.inference_helpers import save_video

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", None, "")

SERVER = f"""
import sys
def hook(event, args):
    host = args[0] if event == "socket.getaddrinfo" else args[1][0] if event == "socket.connect" else None
    if event.startswith("socket.") and isinstance(host, str) and host not in {LOCAL!r}:
        print("ASKED", host, file=sys.stderr, flush=True)
sys.addaudithook(hook)
from sia.cli import main
sys.exit(main(["demo", "--device", "cpu", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory):
    """Address of the page, and what the server has said so far."""
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("demo") / "log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        command = [sys.executable, "-c", SERVER, "--port", str(port)]
        server = subprocess.Popen(command, cwd=log.parent, stdout=stream, stderr=stream, env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(2000):
            try:
                urllib.request.urlopen(address, timeout=5).read()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        yield address, log
    finally:
        server.terminate()
        server.wait(20)


def test_it_has_no_telemetry_and_asks_nobody(demo) -> None:
    address, log = demo
    config = json.loads(urllib.request.urlopen(f"{address}/config", timeout=20).read())
    assert config["analytics_enabled"] is False
    assert config["title"] == "SIA Pose"
    assert "ASKED" not in log.read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_person_tries_it(demo, tmp_path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = demo
    save_video(tmp_path / "walk.mp4", frames=2)
    asked = []
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address, wait_until="domcontentloaded")
        page.locator("input[type=file]").first.set_input_files(FOLDER / "check_images.jpg")
        few = download(page)
        slider = page.get_by_label("number input for Score of people from")
        slider.fill("0.2")
        slider.press("Enter")
        many = few
        for _ in range(100):
            many = download(page)
            if len(many["people"]) > len(few["people"]):
                break
            time.sleep(0.2)
        page.get_by_role("tab", name="Video").click()
        page.locator("input[type=file]").last.set_input_files(tmp_path / "walk.mp4")
        page.locator("video").wait_for()  # it has arrived
        page.get_by_role("button", name="Find people").click()
        rows = page.locator("a[download='walk.jsonl']")
        rows.wait_for()
        lines = urllib.request.urlopen(rows.get_attribute("href"), timeout=20).read().splitlines()
        assert [json.loads(line)["frame"] for line in lines] == [0, 1]
        page.locator("video").nth(1).wait_for()
        browser.close()
    assert few["weights"] == "sia_pose_simple-n16" and few["path"] == "check_images.jpg"
    assert (few["width"], few["height"]) == (1536, 1024)
    assert 0 < len(few["people"]) < len(many["people"])
    assert min(person["score"] for person in few["people"]) >= 0.6 > min(person["score"] for person in many["people"])
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert "ASKED" not in log.read_text()


def download(page) -> dict:
    """What the button gives, once it gives something."""
    with page.expect_download() as info:
        page.locator("a:has-text('Download JSON'), button:has-text('Download JSON'):not([disabled])").first.click()
    return json.loads(Path(info.value.path()).read_text())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--weight_path", "nothing.pt"], "nothing.pt: no such file"),
        (["--weight_path", "n61"], "The name n61 is unknown"),
    ],
)
def test_what_can_not_work_is_one_line(capsys, flags, message) -> None:
    assert main(["demo", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_a_port_that_is_taken_is_one_line(capsys) -> None:
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["demo", "--device", "cpu", "--port", str(taken.getsockname()[1])]) == 1
    assert "Name another --port" in capsys.readouterr().err
