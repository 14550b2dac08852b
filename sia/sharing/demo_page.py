"""The page of `sia demo`: gradio's widgets around `sia.load`, and around `sia predict` for videos."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio

from sia.commands.predict import KEYPOINT, SCORE
from sia.errors import SiaError
from sia.estimator import load
from sia.io.bundled_weights import FOLDER, bundled_models
from sia.io.output_file import write_text

EXAMPLE = FOLDER / "check_images.jpg"
BUTTONS: Any = ["download", "fullscreen"]
"""Of results; gradio's own list has one that sends them to a web site."""


def build_page(weights: str, device: str, folder: str) -> gradio.Blocks:
    """The page; the first model is loaded now, so that the first image is fast.

    Args:
        weights: what it begins with.
        device: where models run.
        folder: for results; removed when the page ends.

    Raises:
        SiaError: they can't be loaded.
    """
    get = lru_cache(2)(lambda name: load(name, device=device))
    get(weights)
    names = list(dict.fromkeys([weights, *bundled_models()]))

    def find(path: str | None, name: str, score: float, confidence: float) -> tuple[Any, Any, Any]:
        if path is None:
            return None, None, gradio.DownloadButton(interactive=False)
        try:
            people = get(name)(path, conf=score)
            image = people.plot(kpt_thresh=confidence)
        except SiaError as error:
            raise gradio.Error(str(error)) from error
        found = {**json.loads(people.to_json()), "path": Path(path).name, "weights": name}
        file = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(path).stem}.json"
        write_text(file, json.dumps(found, indent=1))
        return image, found, gradio.DownloadButton(value=str(file), interactive=True)

    def follow(path: str | None, name: str, score: float, confidence: float) -> tuple[Any, Any]:
        return (None, None) if path is None else follow_people(
            path, Path(tempfile.mkdtemp(dir=folder)),
            {"--weight_path": name, "--device": device, "--conf_thresh": score, "--kpt_thresh": confidence},
        )  # fmt: skip

    page = gradio.Blocks(title="SIA Pose", analytics_enabled=False, delete_cache=(600, 3600))
    with page:
        gradio.Markdown("# SIA Pose\nFinds people and their keypoints. Images stay where `sia demo` runs.")
        with gradio.Row():
            name = gradio.Dropdown(names, value=weights, label="Model")
            score = gradio.Slider(0, 1, SCORE, step=0.01, label="Score of people from")
            confidence = gradio.Slider(0, 1, KEYPOINT, step=0.01, label="Confidence of keypoints from")
        settings = [name, score, confidence]
        with gradio.Tab("Image or camera"):
            with gradio.Row():
                image = gradio.Image(type="filepath", sources=["upload", "webcam", "clipboard"], label="Image")
                drawn = gradio.Image(label="People", format="jpeg", interactive=False, buttons=BUTTONS)
            gradio.Examples([[str(EXAMPLE)]], [image], label="Example: synthetic people")
            download = gradio.DownloadButton("Download JSON", interactive=False)
            result = gradio.JSON(label="Result: pixels of the image, x to the right, y down", max_height=400)
            changes = [image.change, name.change, score.release, confidence.release]
            gradio.on(changes, find, [image, *settings], [drawn, result, download], api_name="find")
        with gradio.Tab("Video"):
            with gradio.Row():
                video = gradio.Video(sources=["upload", "webcam"], label="Video")
                drawn_video = gradio.Video(label="People, with ids", interactive=False, buttons=BUTTONS[:1])
            rows = gradio.File(label="A line of JSON for each frame")
            button = gradio.Button("Find people", variant="primary")
            button.click(follow, [video, *settings], [drawn_video, rows], api_name="follow")
    return page


def follow_people(path: str, folder: Path, flags: dict[str, Any]) -> tuple[str, str]:
    """`sia predict --track` in a process of its own, which may catch signals as gradio's threads may not.

    Returns:
        The drawn video, and the rows.

    Raises:
        gradio.Error: it says why there are none.
    """
    words = [str(word) for pair in flags.items() for word in pair]
    command = [sys.executable, "-m", "sia", "predict", path, "--track", "--output_dir", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"It ended with status {done.returncode}."]
        raise gradio.Error(lines[-1].removeprefix("error: "))
    return str(next(folder.glob("*.mp4"))), str(next(folder.glob("*.jsonl")))
