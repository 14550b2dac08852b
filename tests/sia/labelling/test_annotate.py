"""`sia annotate`, and what comes back from the labelling tools: not one point is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.converters import import_cvat, import_label_studio, import_labelme
from sia.cli import main
from sia.labelling import annotation
from tests.inference_helpers import save_weights


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("in/deep/a.png", "in/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(name)
    Path("list.txt").write_text("in/deep/a.png\n\nin/b.png\nin/b.png\n")
    weights = str(save_weights(tmp_path / "best.pt"))
    return ["--images", "list.txt", "--weight_path", weights, "--device", "cpu", "--conf_thresh", "0"]


def labels(flags: list[str], form: str) -> Path:
    assert main(["annotate", *flags, "--format", form, "--output_dir", form]) == 0
    return Path(form)


def points(content: dict[str, list[dict[str, Any]]]) -> dict[str, np.ndarray]:
    """(N, 17, 3) of each image, by its name."""
    names = {image["id"]: image["file_name"] for image in content["images"]}
    rows = {name: [row["keypoints"] for row in content["annotations"] if names[row["image_id"]] == name]
            for name in names.values()}  # fmt: skip
    return {name: np.array(values).reshape(-1, 17, 3) for name, values in rows.items()}


def test_round_trips(flags: list[str]) -> None:
    content = json.loads((labels(flags, "coco") / "labels-annotations.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["deep/a.png", "b.png"]
    wanted = points(content)
    v = np.concatenate([*wanted.values()])[..., 2]
    assert {*v.ravel()} <= {0, 1, 2} and (v == 1).any()
    confidences = np.array([row["keypoint_confidences"] for row in content["annotations"]])
    assert (((confidences >= 0.3) == (v == 2)) | (v == 0)).all()
    tasks = json.loads((labels(flags, "labelstudio") / "labels-labelstudio.json").read_text())
    for task in tasks:  # as an export is after somebody has accepted what was predicted
        task["annotations"] = [{"result": task["predictions"][0]["result"], "was_cancelled": False}]
    Path("export.json").write_text(json.dumps(tasks))
    writers = {
        "cvat": import_cvat(labels(flags, "cvat") / "labels-cvat.xml"),
        "labelstudio": import_label_studio(Path("export.json")),
        "labelme": import_labelme(labels(flags, "labelme") / "labels-labelme", Path("in")),
    }
    for name, writer in writers.items():
        found = points(writer.content())
        assert found.keys() == wanted.keys()
        for image in wanted:
            np.testing.assert_allclose(found[image], wanted[image], atol=0.01, err_msg=f"{name} {image}")


def test_what_was_done_before_a_stop_is_kept(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read = annotation.read_batches

    def stopped(*arguments: Any) -> Iterator[Any]:
        yield next(iter(read(arguments[0], 1)))
        raise KeyboardInterrupt

    monkeypatch.setattr(annotation, "read_batches", stopped)
    assert main(["annotate", *flags, "--format", "coco", "--output_dir", "coco"]) == 130
    assert len(json.loads(Path("coco/labels-annotations.json").read_text())["images"]) == 1


def test_names_that_are_no_text(flags: list[str]) -> None:
    Path("in/b.png").rename(os.fsdecode(b"in/caf\xe9.png"))
    assert main(["suggest", *["--images", "in", "--n", "2", "--output_dir", "sg"], *flags[2:6]]) == 0
    assert b"caf\xe9.png" in Path("sg/suggested.txt").read_bytes()
    for form in ("labelstudio", "coco"):
        words = ["--images", "sg/suggested.txt", *flags[2:], "--format", form, "--output_dir", form]
        assert main(["annotate", *words]) == 0


def test_bad_input(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("none.txt").write_text("\n")
    for changed, message in (
        (["--images", "none.txt"], "lists no image"),
        (["--teacher", "vitpose"], "KIND:PATH"),
        (["--teacher", "vitpos:x"], "vitpos is unknown"),
        (["--teacher", "vitpose:nowhere"], "nowhere"),
    ):
        assert main(["annotate", *flags, "--format", "cvat", *changed]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and message in error
