"""Whatever holds an image gives the same people; whatever doesn't is one clear error."""

from __future__ import annotations

import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

import sia
from sia.errors import ConfigError
from sia.io import remote
from sia.io.bundled_weights import POSE_COCO, find_weights
from sia.io.images import read_image
from sia.people import People
from tests.conftest import ROOT
from tests.inference_helpers import quarters, save_video
from tests.live_server import ClipServer, Http, age
from tests.serving import serving


@pytest.fixture(scope="module")
def model(weights: Path) -> sia.PoseEstimator:
    return sia.load(weights, device="cpu")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Lies on its side, as phones write it."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(quarters(40, 60)).save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def assert_same(found: People, expected: People, tolerance: float = 0.0) -> None:
    assert len(found) == len(expected) > 0
    for name in ("boxes", "scores", "keypoints", "confidences"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=tolerance)


def test_a_flip_test_moves_keypoints(weights: Path, model: sia.PoseEstimator, photo: Path) -> None:
    mirrored = sia.load(weights, device="cpu", tta=True)
    first, second = (each(photo, conf=0) for each in (model, mirrored))
    assert not np.allclose(first[0].keypoints, second[0].keypoints, atol=0.1)
    assert "flip test" in repr(mirrored) and "flip test" not in repr(model)


class Images(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/photo.jpg" else 404)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


def test_every_kind_of_image_gives_the_same_numbers(model: sia.PoseEstimator, photo: Path) -> None:
    expected, array = model(photo, conf=0), read_image(photo)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for image in (str(photo), PIL.Image.open(photo), array, tensor, tensor / 255, array[::-1][::-1]):
        assert_same(model(image, conf=0), expected)
    several = model([photo, array, tensor], conf=0, batch_size=2)
    for people in (*several, *model(np.stack([array] * 2), conf=0), *model(tensor[None], conf=0)):
        assert_same(people, expected, 1e-3)
    assert model([]) == [] and len(model(photo, conf=1)) == 0


def test_people_know_their_image_and_hold_none_of_a_file(model: sia.PoseEstimator, photo: Path) -> None:
    people, array = model(photo, conf=0), read_image(photo)
    assert people.path == str(photo) and people.source is not None and people.source.pixels is None
    np.testing.assert_array_equal(people.image, array)
    held = model(array, conf=0)
    assert held.path is None and held.image is array and held.skeleton == model.skeleton
    drawn = held.plot(kpt_thresh=0)
    assert drawn.shape == array.shape and (drawn != array).any()
    np.testing.assert_array_equal(held.image, read_image(photo))  # nothing was drawn on it
    assert read_image(held.save(photo.with_name("out.png"), kpt_thresh=0)).tolist() == drawn.tolist()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "of type NoneType"),
        (b"\xff\xd8", "of type bytes"),
        (np.zeros((4, 4)), r"\(4, 4\) float64"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels"),
        (torch.zeros(4, 4), r"must be \(3, H, W\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "torch.int64"),
        (torch.full((3, 4, 4), 2.0), "from 0 to 1"),
        (torch.full((3, 4, 4), torch.nan), "from 0 to 1"),
        ([["a.jpg"]], "of type list"),
        ("none.jpg", "none.jpg: no such file"),
        ("walk.mp4", "is a video"),
        (".", "it is a folder"),
        (PIL.Image.open(io.BytesIO((ROOT / "weights/check_images.jpg").read_bytes()[:20_000])), "Can't read the image"),
    ],
)
def test_what_is_no_image_is_one_error(model: sia.PoseEstimator, image: object, message: str) -> None:
    with pytest.raises(sia.DataError, match=message) as caught:
        model(image)
    assert "\n" not in str(caught.value)


def test_an_address(model: sia.PoseEstimator, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Images)) as server:
        address = f"http://127.0.0.1:{server.server_port}/photo.jpg"
        Images.content = photo.read_bytes()
        people = model(address, conf=0)
        assert_same(people, model(photo, conf=0))
        assert people.path == address and people.image.shape == (60, 40, 3)
        with pytest.raises(sia.DataError, match=r"Can't download .*/none\.jpg: Not Found"):
            model(address.replace("photo", "none"))
        monkeypatch.setattr(remote, "LARGEST", 100)
        with pytest.raises(sia.DataError, match="has more than 0 MiB"):
            model(address)
        Images.content = b"<html>"
        with pytest.raises(sia.DataError, match=r"Can't read the image http://\S+photo.jpg: it is not an image"):
            model(address)
    with pytest.raises(sia.DataError, match="Can't download"):
        model(address)


def test_a_password_is_nowhere_in_what_is_found(model: sia.PoseEstimator, tmp_path: Path) -> None:
    with serving(ClipServer(Http)) as server:
        frame = next(model.stream(server.address.replace("http://", "http://admin:secret99@"), conf=0.01))
    sia.save_results([frame], tmp_path / "labels", format="yolo")
    names = [path.name for path in (tmp_path / "labels").rglob("*")]
    assert "stream_000000.txt" in names and "secret99" not in f"{names} {frame!r} {frame.path} {frame.to_json()}"
    assert "127.0.0.1" in (frame.path or "")
    with pytest.raises(sia.DataError, match="Can't") as caught:
        next(model.stream("rtsp://admin:secret99@127.0.0.1:9/cam"))
    assert "secret99" not in str(caught.value)


def test_images_of_one_name_in_two_folders_stay_apart(
    model: sia.PoseEstimator, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "shots" / folder / "1.jpg" for folder in "ab"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(photo.read_bytes())
    sia.save_results(model.stream(str(tmp_path / "shots" / "*" / "*.jpg")), tmp_path / "a.json", "coco-annotations")
    sia.save_results(model(files), tmp_path / "yolo", "yolo")
    rows = json.loads((tmp_path / "a.json").read_text())["images"]
    assert [row["file_name"] for row in rows] == ["a/1.jpg", "b/1.jpg"]
    assert (tmp_path / "yolo" / "labels" / "b" / "1.txt").is_file()
    monkeypatch.chdir(files[0].parent)
    sia.save_results(model("1.jpg"), tmp_path / "one.jsonl")
    assert '"file_name": "1.jpg"' in (tmp_path / "one.jsonl").read_text()


def test_a_small_image_does_not_let_huge_ones_into_its_batch(
    model: sia.PoseEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sia.estimator.BATCH_PIXELS", 64 * 64)
    sizes: list[list[int]] = []

    def predict(images: list[np.ndarray]) -> list[People]:
        sizes.append([image.shape[0] for image in images])
        return [model(image, conf=0) for image in images] if not sizes else [people] * len(images)

    people = model(np.zeros((8, 8, 3), np.uint8), conf=0)
    monkeypatch.setattr(model, "predictor", SimpleNamespace(predict=predict, skeleton=model.skeleton))
    images = [np.zeros((side, side, 3), np.uint8) for side in (8, 64, 64, 8, 8, 8, 8)]
    assert len(model(images, conf=0, batch_size=3)) == 7
    assert sizes == [[8, 64], [64], [8, 8, 8], [8]]


def test_a_broken_file_is_left_out_of_a_folder(
    model: sia.PoseEstimator, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo.parent / "broken.jpg").write_bytes(b"no image")
    (people,) = model.stream(photo.parent, conf=0)
    assert people.path == str(photo)
    assert "broken.jpg" in capsys.readouterr().err
    with pytest.raises(sia.DataError, match=r"broken\.jpg"):
        list(model.stream(photo.parent / "broken.jpg"))


def test_the_home_folder(model: sia.PoseEstimator, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photo.parent))
    monkeypatch.setenv("USERPROFILE", str(photo.parent))
    assert_same(model("~/photo.jpg", conf=0), model(photo, conf=0))


def test_tensors_of_torchvision(model: sia.PoseEstimator) -> None:
    image = tv_tensors.Image(torch.from_numpy(quarters(40, 60)).permute(2, 0, 1))
    assert_same(model(image, conf=0), model(quarters(40, 60), conf=0))


def test_unknown_words_are_one_line(weights: Path, model: sia.PoseEstimator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision 'float16' is none of fp32, bf16, fp16"):
        sia.load(weights, device="cpu", precision="float16")
    with pytest.raises(ConfigError, match="reader 'opencv' is none of av, decord"):
        next(model.stream(save_video(tmp_path / "walk.mp4", frames=2), reader="opencv"))
    with pytest.raises(ConfigError, match="decord reads files only"):
        next(model.stream("rtsp://127.0.0.1:9/cam", reader="decord"))
    with pytest.raises(sia.OutputError, match=r"out\.xyz: images can't be written as '\.xyz'\. Name a \.jpg"):
        model(quarters(40, 60)).save(tmp_path / "out.xyz")


@pytest.mark.parametrize("track", [True, False])
def test_a_video_is_streamed(model: sia.PoseEstimator, tmp_path: Path, track: bool) -> None:
    times = [0, 30, 100, 120]
    path = save_video(tmp_path / "walk.mp4", frames=4, times=times)
    frames = list(model.stream(path, conf=0.01, batch_size=3, track=track))
    assert [people.frame for people in frames] == [0, 1, 2, 3]
    assert [round(1000 * (people.time or 0)) for people in frames] == times
    assert all(people.path == str(path) and people.image.shape == (64, 96, 3) for people in frames)
    assert all((people.ids is not None) == track for people in frames)
    if track:
        shared = set(frames[0].ids.tolist()) & set(frames[-1].ids.tolist())
        assert len(frames[0]) and shared and frames[0].plot().shape == (64, 96, 3)


def test_folders_globs_and_anything_with_images_are_streamed(model: sia.PoseEstimator, photo: Path) -> None:
    for source in (photo.parent, str(photo.parent / "*.jpg"), photo, iter([photo])):
        (people,) = model.stream(source, conf=0)
        assert people.path == str(photo) and people.ids is None and people.frame is None
    for source, message in ((None, "of type NoneType"), (photo.parent / "none", "none")):
        with pytest.raises(sia.DataError, match=message):
            list(model.stream(source))
    with pytest.raises(sia.DataError, match="no such file"):
        list(model.stream("none.mp4"))


def test_what_is_live_is_streamed_one_by_one(model: sia.PoseEstimator) -> None:
    with serving(ClipServer(Http)) as server:
        frames = list(islice(model.stream(server.address, conf=0.01), 8))
    assert [people.frame for people in frames] == list(range(8)) and frames[-1].ids is not None
    assert 0.1 < (frames[-1].time or 0) < 5 and frames[0].path == server.address
    assert age(frames[-1].image, monotonic()) < 10
    with pytest.raises(sia.DataError, match="Camera 98 can't be opened"):
        next(model.stream(98))


def test_stdin_and_watched_folders(
    model: sia.PoseEstimator, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model(photo, conf=0)
    remote.stdin_file.cache_clear()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(photo.read_bytes()), isatty=lambda: False))
    (people,) = model.stream("-", conf=0)
    assert_same(people, expected)
    assert people.path == "-" and people.image.shape == (60, 40, 3)
    watched = model.stream(tmp_path, conf=0, watch=True)
    assert_same(next(watched), expected)
    photo.rename(tmp_path / "later.jpg")
    assert next(watched).path == str(tmp_path / "later.jpg")


@pytest.mark.parametrize("size", [0, 31, -3, 5000, (256, 5000)])
def test_a_size_that_can_not_be_is_refused(weights: Path, size: int | tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="must be from 32 to 4096 pixels a side"):
        sia.load(weights, device="cpu", imgsz=size)


def test_names_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_weights() == find_weights("n16") == POSE_COCO / "sia_pose_simple-n16.safetensors"
    assert find_weights("sia_pose-n32") == POSE_COCO / "sia_pose-n32.safetensors"
    assert find_weights("runs/best") == Path("runs/best")
    (tmp_path / "n16").touch()
    assert find_weights("n16") == Path("n16")


def test_the_place_of_the_first_edition_is_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old = Path("weights/sia_pose-n32.pt")
    assert find_weights(old) == POSE_COCO / "sia_pose-n32.safetensors"
    assert capsys.readouterr().err.startswith(f"WARNING: {old} is now {POSE_COCO}")
    for other in ("weights/best.pt", "runs/sia_pose-n32.pt"):
        assert find_weights(other) == Path(other)
    old.parent.mkdir()
    old.touch()
    assert find_weights(old) == old
    with pytest.raises(sia.WeightsError, match=r"sia_pose-n61 is unknown\. Did you mean sia_pose-n16"):
        sia.load("sia_pose-n61")
