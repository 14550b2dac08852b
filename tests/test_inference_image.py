"""Through the real script's main, in this process."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.synthetic.dataset import write_dataset
from inference_image_pose import main
from sia.drawing.annotator import PoseAnnotator
from sia.errors import DataError
from sia.io.image_folder import find_images
from sia.io.images import read_image
from sia.people import People
from sia.registry import ROI_SCORE_THRESH
from sia.runtimes.predictor import Predictor
from tests.inference_helpers import files_up_to, name_quarters, quarters
from tests.serving import serving
from tests.sia.description.chat import Chat, sentences

pytestmark = pytest.mark.usefixtures("own_folder")


def save_image(path: Path, height: int = 40, width: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(quarters(height, width)).save(path)
    return path


def run(weights: Path, path: object, *flags: str) -> int:
    return main(["--image_path", str(path), "--weight_path", str(weights), "--device", "cpu", *flags])


def test_the_weights_that_come_along_find_drawn_people(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", train=1, val=8, size=128, seed=5, close=True)
    assert main(["--image_path", str(tmp_path / "data" / "images" / "val"), "--device", "cpu"]) == 0
    rows = json.loads((tmp_path / "runs" / "inference-image-1" / "results.json").read_text())
    assert len({row["image_id"] for row in rows}) >= 3


def test_help_names_the_default_of_second_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """The flags are read without the model, so they name its number once more."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"(default: {ROI_SCORE_THRESH}, or what an export" in " ".join(capsys.readouterr().out.split())


def test_fewer_second_looks_are_noted(tmp_path: Path, weights: Path) -> None:
    flags = ["--roi_score_thresh", "0.3", "--roi_size", "32", "--output_dir", "out"]
    assert run(weights, save_image(tmp_path / "a.png"), *flags) == 0
    model = json.loads((tmp_path / "out" / "run.json").read_text())["model"]
    assert "RoI refinement from 0.3" in model and "crops 32," in model


def test_a_flip_test_and_the_precision_are_noted(tmp_path: Path, weights: Path) -> None:
    assert run(weights, save_image(tmp_path / "a.png"), "--tta", "--precision", "fp32", "--output_dir", "out") == 0
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert "float32, flip test" in about["model"]
    assert about["flags"]["tta"] is True and about["flags"]["precision"] == "fp32"


def test_one_image(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(weights, save_image(tmp_path / "shot-12.png"), "--conf_thresh", "0") == 0
    folder = tmp_path / "runs" / "inference-image-1"
    assert {path.name for path in folder.iterdir()} == {"shot-12.png", "results.json", "run.json"}
    rows, about = (json.loads((folder / name).read_text()) for name in ("results.json", "run.json"))
    assert rows
    assert all(row["image_id"] == 12 and len(row["keypoints"]) == 51 for row in rows)
    assert about["images"][0] | {"file_name": ""} == {
        "id": 12, "file_name": "", "width": 60, "height": 40, "people": len(rows), "annotated": "shot-12.png"
    }  # fmt: skip
    assert about["complete"]
    assert about["format"] == "sia_pose_results/1"
    said = capsys.readouterr().out
    assert f"{len(rows)} people" in said
    assert " ms" in said
    assert "on cpu (" in said
    for name in ("shot-12.png", "results.json", "run.json"):
        assert str(folder / name) in said
    assert read_image(folder / "shot-12.png").shape == (40, 60, 3)


def test_a_second_run_overwrites_nothing(tmp_path: Path, weights: Path) -> None:
    shot = save_image(tmp_path / "a.png")
    for _ in range(2):
        assert run(weights, shot) == 0
        assert run(weights, shot, "--output_dir", "mine") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "mine", "mine-2", "runs"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"inference-image-1", "inference-image-2"}


def test_another_input_size(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for size in ("64", "128x96"):
        flags = ("--conf_thresh", "0", "--imgsz", size, "--output_dir", size)
        assert run(weights, save_image(tmp_path / "a.png"), *flags) == 0
        found.append(json.loads((tmp_path / size / "results.json").read_text())[0]["keypoints"])
    assert found[0] != found[1]
    assert "input 96x128" in capsys.readouterr().out
    assert "input 96x128" in json.loads((tmp_path / "128x96" / "run.json").read_text())["model"]


def test_a_threshold_that_nobody_reaches(tmp_path: Path, weights: Path) -> None:
    save_image(tmp_path / "a.png")
    assert run(weights, tmp_path / "a.png", "--conf_thresh", "1") == 0
    folder = tmp_path / "runs" / "inference-image-1"
    assert json.loads((folder / "results.json").read_text()) == []
    assert name_quarters(read_image(folder / "a.png")) == "RGBW"


def test_a_folder_in_batches_and_a_glob(tmp_path: Path, weights: Path) -> None:
    for name in ("in/10.jpg", "in/9.png", "in/2.webp", "in/below/9.jpg", "in/notes.txt"):
        save_image(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("")
    assert run(weights, tmp_path / "in", "--batch_size", "2", "--output_dir", "a") == 0
    images = json.loads((tmp_path / "a" / "run.json").read_text())["images"]
    assert [image["id"] for image in images] == [2, 9, 10]
    assert [image["annotated"] for image in images] == ["2.jpg", "9.png", "10.jpg"]
    assert run(weights, tmp_path / "in" / "**" / "9.*", "--output_dir", "b") == 0
    images = json.loads((tmp_path / "b" / "run.json").read_text())["images"]
    assert [image["id"] for image in images] == [1, 2]  # both are called 9
    assert len({image["annotated"] for image in images}) == 2


def test_names_that_meet_are_told_apart(tmp_path: Path, weights: Path) -> None:
    for name in ("in/a/x.jpg", "in/b/x.jpg", "in/b/x.webp"):
        save_image(tmp_path / name)
    assert run(weights, tmp_path / "in/*/*", "--output_dir", "out") == 0
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == {"x.jpg", "x-2.jpg", "x-3.jpg"}


def test_a_bad_image_among_good_ones(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = save_image(tmp_path / "in/1.jpg", 200, 200).read_bytes()
    (tmp_path / "in/2.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/3.jpg").write_bytes(b"")
    save_image(tmp_path / "in/4.jpg")
    assert run(weights, tmp_path / "in", "--output_dir", "out", "--batch_size", "2") == 1
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [image["id"] for image in about["images"]] == [1, 4]
    assert [Path(bad["file"]).name for bad in about["unreadable"]] == ["2.jpg", "3.jpg"]
    error = capsys.readouterr().err
    assert "2.jpg" in error
    assert "3.jpg" in error


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_one_bad_image_is_an_error(
    tmp_path: Path, weights: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert run(weights, tmp_path / "a.png") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: Can't read the image")
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("inference-image-1"))


@pytest.mark.parametrize(
    ("path", "message"),
    [("nothing.jpg", "no such file"), ("empty", "has no images"), ("empty/*.jpg", "No image matches")],
)
def test_nothing_to_do(
    tmp_path: Path, weights: Path, path: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(weights, path) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_weights_that_are_missing_or_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "a.png")
    (tmp_path / "text.pt").write_text("hello")
    for name in ("none.pt", "text.pt"):
        assert run(Path(name), tmp_path / "a.png") == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert name in error
        assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_output_that_can_not_be_made(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "a.png")
    assert run(weights, tmp_path / "a.png", "--output_dir", str(tmp_path / "a.png")) == 1
    assert "is a file" in capsys.readouterr().err


def test_a_full_disk(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (99, 99, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with files_up_to(5000):
        assert run(weights, tmp_path / "a.png", "--output_dir", "out") == 1
    assert "Can't write out/a.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_stopping_keeps_the_results_so_far(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        save_image(tmp_path / f"in/{number}.png")
    predict = Predictor.predict

    def interrupted(self: Predictor, images: list[np.ndarray]) -> list:
        os.kill(os.getpid(), signal.SIGINT)
        return predict(self, images)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    assert run(weights, tmp_path / "in", "--batch_size", "2", "--output_dir", "out") == 130
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert not about["complete"]
    assert [image["id"] for image in about["images"]] == [0, 1]
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == []


def test_results_of_annotated_images_can_be_evaluated(tmp_path: Path, weights: Path) -> None:
    from scripts import evaluate

    write_dataset(tmp_path / "data", train=1, val=3, size=64, seed=5, close=True)
    content = json.loads((tmp_path / "data" / "val.json").read_text())
    for image in content["images"]:
        image["id"] += 1000
    for row in content["annotations"]:
        row["image_id"] += 1000
    (tmp_path / "val.json").write_text(json.dumps(content))
    folder = tmp_path / "data" / "images" / "val"
    save_image(folder / "stranger.png")
    flags = ("--conf_thresh", "0", "--ann_file", "val.json", "--output_dir", "out")
    assert run(weights, folder, *flags) == 0
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert sorted(image["id"] for image in about["images"]) == sorted(image["id"] for image in content["images"])
    assert "stranger.png left out" in about["warnings"][0]
    assert evaluate.main(["--results", "out/results.json", "--ann_file", "val.json", "--output_dir", "scores"]) == 0


class Surprise(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "status"), [(BrokenPipeError(), 1), (OSError(errno.ENOSPC, "No space left"), 1), (Surprise(), None)]
)
def test_whatever_ends_a_run_keeps_what_was_done(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int | None
) -> None:
    for number in range(3):
        save_image(tmp_path / f"in/{number}.png")
    predict = Predictor.predict
    done: list[int] = []

    def failing(self: Predictor, images: list[np.ndarray]) -> list:
        done.append(len(images))
        if len(done) == 3:
            raise error
        return predict(self, images)

    monkeypatch.setattr(Predictor, "predict", failing)
    flags = ("--conf_thresh", "0", "--output_dir", "out")
    if status is None:
        with pytest.raises(Surprise):
            run(weights, tmp_path / "in", *flags)
    else:
        assert run(weights, tmp_path / "in", *flags) == status
    about, rows = (json.loads((tmp_path / "out" / name).read_text()) for name in ("run.json", "results.json"))
    assert not about["complete"]
    assert [image["id"] for image in about["images"]] == [0, 1]
    assert {row["image_id"] for row in rows} == {0, 1}


def test_results_are_valid_while_they_grow(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed leaves them as they are at that moment."""
    for number in range(3):
        save_image(tmp_path / f"in/{number}.png")
    predict = Predictor.predict
    seen: list[int] = []

    def looking(self: Predictor, images: list[np.ndarray]) -> list:
        path = tmp_path / "out" / "results.json"
        seen.append(len({row["image_id"] for row in json.loads(path.read_text())}) if path.exists() else 0)
        return predict(self, images)

    monkeypatch.setattr(Predictor, "predict", looking)
    assert run(weights, tmp_path / "in", "--conf_thresh", "0", "--output_dir", "out") == 0
    assert seen == [0, 1, 2]


def test_an_image_that_can_not_be_written_costs_itself(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        save_image(tmp_path / f"in/{number}.png")
    draw = PoseAnnotator.draw

    def failing(self: PoseAnnotator, image: np.ndarray, people: People, **options: bool) -> np.ndarray:
        if image.shape[0] == 41:
            raise RuntimeError("something odd")
        return draw(self, image, people, **options)

    save_image(tmp_path / "in/1.png", 41, 60)
    monkeypatch.setattr(PoseAnnotator, "draw", failing)
    assert run(weights, tmp_path / "in", "--output_dir", "out") == 1
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["complete"] and [image["id"] for image in about["images"]] == [0, 2]
    assert "1.png: RuntimeError: something odd" in about["unreadable"][0]["error"]
    assert "1.png" in capsys.readouterr().err


def test_odd_names_thin_images_and_heic_in_one_folder(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("²x.png", "x" * 250 + ".png", os.fsdecode(b"\xff.jpg"), "٣.bmp"):
        save_image(tmp_path / "in" / name)
    Image.new("RGB", (1, 400)).save(tmp_path / "in" / "thin.png")
    Image.new("RGB", (66_000, 1)).save(tmp_path / "in" / "wide.bmp")
    (tmp_path / "in" / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert run(weights, tmp_path / "in", "--output_dir", "out") == 1
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert len(about["images"]) == 6 and about["complete"]
    assert [Path(bad["file"]).name for bad in about["unreadable"]] == ["b.heic"]
    assert "\\udcff.jpg" in {image["annotated"] for image in about["images"]}
    assert (tmp_path / "out" / "wide.png").is_file()


def test_time_is_told_honestly(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        save_image(tmp_path / f"in/{number}.png")
    assert run(weights, tmp_path / "in", "--batch_size", "2", "--output_dir", "out") == 0
    said = capsys.readouterr().out
    assert "ms (2 at once, with warm-up)" in said.splitlines()[1]
    assert "ms (2 at once)" in said.splitlines()[3]
    assert "Median of an image: model " in said
    times = json.loads((tmp_path / "out" / "run.json").read_text())["milliseconds"]
    assert set(times) == {"model", "reading", "writing", "first_batch"} and min(times.values()) > 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--conf", "0.5"], ["--conf_thresh", "2"], ["--conf_thresh", "x"], ["--batch_size", "0"], ["--imgsz", "8"],
        ["--imgsz", "big"], ["--roi_score_thresh", "1.5"],
    ],
)  # fmt: skip
def test_flags_are_checked_and_never_abbreviated(tmp_path: Path, weights: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(weights, save_image(tmp_path / "a.png"), *flags)
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("orientation", "seen"),
    [(1, "RGBW"), (2, "GRWB"), (3, "WBGR"), (4, "BWRG"), (5, "RBGW"), (6, "BRWG"), (7, "WGBR"), (8, "GWRB")],
)
def test_exif_orientation(tmp_path: Path, orientation: int, seen: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters(40, 60)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    assert name_quarters(image) == seen


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "F"])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    gray = np.full((8, 9), 40_000, np.uint16)
    made = Image.fromarray(gray) if mode == "I;16" else Image.new("RGB", (9, 8), (128, 128, 128)).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F", "I;16") else "a.png")
    made.save(path)
    image = read_image(path)
    assert image.shape == (8, 9, 3)
    assert image.dtype == np.uint8
    if mode not in ("1", "P"):
        assert 100 < image.mean() < 170


def test_a_image_that_may_be_an_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_image(tmp_path / "a.png")
    monkeypatch.setenv("SIA_MAX_PIXELS", "2399")
    with pytest.raises(DataError, match=r"more than 2,399 pixels.*--max_pixels"):
        read_image(path)


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a[1].png")
    assert find_images(str(path)) == [path]


def test_describe_writes_facts_and_text(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "in" / "a.png")
    save_image(tmp_path / "in" / "b.jpg")
    flags = ("--conf_thresh", "0", "--kpt_thresh", "0", "--output_dir")
    assert run(weights, tmp_path / "in", *flags, "out", "--describe") == 0
    told = json.loads((tmp_path / "out" / "facts.json").read_text())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [save_image["image_id"] for save_image in told] == [1, 2]
    assert sum(len(save_image["people"]) for save_image in told) == len(results) > 0
    assert {path.name for path in (tmp_path / "out" / "text").iterdir()} == {"a.png.txt", "b.jpg.txt"}
    assert told[0]["people"][0]["words"]["text"] in (tmp_path / "out" / "text" / "a.png.txt").read_text()
    assert "facts.json" in capsys.readouterr().out
    assert run(weights, tmp_path / "in", *flags, "plain") == 0
    assert (tmp_path / "plain" / "results.json").read_bytes() == (tmp_path / "out" / "results.json").read_bytes()


def test_describe_with_a_model_on_a_server(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_image(tmp_path / "a.png")
    with serving(Chat()) as chat:
        chat.answers.append(sentences(("17 keypoints are in view.", ["p1.seen.person"])))
        chat.answers.append(401)
        flags = ("--conf_thresh", "0", "--kpt_thresh", "0", "--output_dir", "out", "--describe")
        assert run(weights, path, *flags, "-LLM", "tiny", "-LLM_URL", chat.address, "-LLM_PEOPLE", "2") == 0
    words = json.loads((tmp_path / "out" / "run.json").read_text())["words"]
    assert (words["llm_asked"], words["llm_kept"], words["llm_failed"]) == (2, 1, 1)
    people = json.loads((tmp_path / "out" / "facts.json").read_text())[0]["people"]
    assert people[0]["words"]["source"] == "model"
    assert {person["words"]["source"] for person in people[1:]} <= {"templates"}
    assert "SIA_LLM_KEY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-LLM", "x"), "-LLM is for --describe"),
        (("--describe", "-LLM_URL", "http://127.0.0.1:9"), "needs -LLM"),
        (("--describe", "-LLM", "x", "-LLM_URL", "ftp://x"), "must be an http"),
        (("--describe", "-LLM", "x", "-LLM_URL", "http://me:secret@x/v1"), "SIA_LLM_KEY"),
    ],
)
def test_flags_of_words_that_can_not_work(
    tmp_path: Path, weights: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(weights, save_image(tmp_path / "a.png"), *flags) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
