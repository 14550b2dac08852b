"""Images and people move together: markers are painted, warped, found again and compared with the warped points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.augmentation.geometry import warp_labels, warp_points
from datasets.augmentation.transforms import (
    Augmentation,
    colour_matrix,
    jitter_colour,
    place,
    random_placement,
    training_sample,
    validation_sample,
)
from datasets.labels import Labels
from datasets.unlabelled import strong_view
from sia.io.images import read_image
from sia.runtimes.letterbox import (
    FILL,
    Letterbox,
    affine,
    fit_letterbox,
    letterbox_image,
    letterbox_matrix,
    scale_of,
    warp_image,
)
from sia.skeletons.skeleton import Skeleton
from utils.config.declaration import AUGMENTATIONS

SKELETON = Skeleton.from_category({"name": "person", "keypoints": ["nose", "left_hand", "right_hand"]})
FLIP = SKELETON.flip_order
MARKERS = np.array([[[150.25, 90.5, 2], [60.5, 140.0, 1], [230.0, 61.75, 2]]], np.float32)
BOX = [40.0, 45.0, 250.0, 160.0]
HEIGHT, WIDTH = 201, 303
TOLERANCE = 0.1
"""Pixels between a warped point and the marker found in the warped image."""

examples = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(64, 400), st.integers(64, 400))


def labels_of(boxes: list[list[float]], keypoints: np.ndarray | None = None, ignored: object = ()) -> Labels:
    """Labels whose areas are those of the boxes."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    joints = np.zeros((len(array), 3, 3), np.float32) if keypoints is None else keypoints
    areas = (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])
    return Labels(array, joints, areas, np.array(ignored, np.float32).reshape(-1, 4))


def blob(centre: np.ndarray, height: int = HEIGHT, width: int = WIDTH, sigma: float = 5.0) -> np.ndarray:
    """A soft spot of height 1 at a continuous point."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))


def marked_image() -> np.ndarray:
    """Each joint is a spot in a colour channel of its own, on the grey that also fills the border."""
    spots = np.stack([blob(point) for point in MARKERS[0, :, :2]], axis=-1)
    return (FILL + 120 * spots).round().astype(np.uint8)


def centroid(channel: np.ndarray) -> np.ndarray:
    """Continuous x, y of the spot in one channel."""
    weights = (channel.astype(np.float64) - FILL).clip(min=3) - 3
    y, x = np.mgrid[: channel.shape[0], : channel.shape[1]] + 0.5
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


class Images:
    """A data set of one marked image, decoded from a file as in training."""

    skeleton = SKELETON

    def __init__(self, file: Path, count: int = 1) -> None:
        self.file, self.count = file, count

    def __len__(self) -> int:
        return self.count

    def size(self, index: int) -> tuple[int, int]:
        return HEIGHT, WIDTH

    def read_image(self, index: int, shrink: int = 1) -> np.ndarray:
        return read_image(self.file, shrink)

    def annotation(self, index: int) -> Labels:
        return labels_of([BOX], MARKERS, [[10, 20, 70, 50]])


@pytest.fixture(scope="module", params=["a.png", "a.jpg"])
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    file = tmp_path_factory.mktemp("marked") / request.param
    options = {} if file.suffix == ".png" else {"quality": 100, "subsampling": 0}
    Image.fromarray(marked_image()).save(file, **options)
    yield Images(file)


def check_markers(image: np.ndarray, labels: Labels, mirrored: bool, margin: float, tolerance: float) -> int:
    """Compares every labelled joint that is far enough from the border with its spot; returns how many."""
    height, width = image.shape[:2]
    checked = 0
    for joint, (x, y, v) in enumerate(labels.keypoints[0] if len(labels) else ()):
        channel = FLIP[joint] if mirrored else joint
        if v > 0 and margin < x < width - margin and margin < y < height - margin:
            np.testing.assert_allclose(centroid(image[..., channel]), (x, y), atol=tolerance)
            assert v == MARKERS[0, channel, 2]
            checked += 1
    return checked


def determinant(matrix: np.ndarray) -> float:
    return float(np.linalg.det(matrix[:2, :2]))


@examples
@given(seed=seeds, size=sizes, low=st.floats(0.2, 1.0), rotation=st.floats(0, 180))
def test_points_stay_on_the_image(
    images: Images, seed: int, size: tuple[int, int], low: float, rotation: float
) -> None:
    augmentation = Augmentation(scale=(low, 2.0), rotation=rotation, shift=0.2)
    rng = np.random.default_rng(seed)
    matrix = random_placement((HEIGHT, WIDTH), size, size, augmentation, rng, zoom=1.0)
    assume(scale_of(matrix) >= 0.12)  # a smaller spot can't be located so well, however exact the warp is
    sample = place(images, 0, matrix, size)
    assert sample.image.shape == (*size, 3)
    check_markers(sample.image, sample.labels, determinant(matrix) < 0, 20 * scale_of(matrix) + 3, TOLERANCE)


@pytest.mark.parametrize("scale", [0.13, 0.2, 0.25, 0.26, 0.34, 0.5, 0.51, 0.99, 1.0, 1.7])
@pytest.mark.parametrize("mirror", [1, -1])
def test_every_reduction_is_exact(images: Images, scale: float, mirror: int) -> None:
    """Shrunken decoding, block averages and the warp agree; all three joints are checked."""
    size = (int(HEIGHT * scale) + 1, int(WIDTH * scale) + 1)
    matrix = affine([[mirror * scale, 0], [0, scale]], (0 if mirror > 0 else WIDTH * scale, 0))
    sample = place(images, 0, matrix, size)
    assert check_markers(sample.image, sample.labels, mirror < 0, 0, TOLERANCE) == 3


def test_a_mirror_image_is_exact_and_swaps_left_and_right() -> None:
    image, labels = marked_image(), labels_of([BOX], MARKERS, [[10, 20, 70, 50]])
    mirror = affine([[-1, 0], [0, 1]], (WIDTH, 0))
    flipped = warp_labels(labels, mirror, (HEIGHT, WIDTH), FLIP)
    np.testing.assert_array_equal(warp_image(image, mirror, (HEIGHT, WIDTH)), image[:, ::-1])
    np.testing.assert_allclose(flipped.boxes, [[WIDTH - 250, 45, WIDTH - 40, 160]])
    np.testing.assert_allclose(flipped.keypoints[0, 1], [WIDTH - 230, 61.75, 2])
    np.testing.assert_allclose(flipped.keypoints[0, 2], [WIDTH - 60.5, 140, 1])
    np.testing.assert_allclose(flipped.ignored, [[WIDTH - 70, 20, WIDTH - 10, 50]])


random_labels = st.builds(
    lambda seed, people, crowds: random_people(np.random.default_rng(seed), people, crowds),
    seeds,
    st.integers(0, 5),
    st.integers(0, 3),
)


def random_people(rng: np.random.Generator, people: int, crowds: int) -> Labels:
    """Boxes of all sizes with joints in and around them."""
    low = rng.uniform(0, (WIDTH - 12, HEIGHT - 12), (people, 2))
    high = low + rng.uniform(4, np.array([WIDTH, HEIGHT]) - low)
    boxes = np.concatenate([low, np.minimum(high, (WIDTH, HEIGHT))], axis=1)
    xy = low[:, None] + rng.uniform(-0.05, 1.05, (people, 3, 2)) * (high - low)[:, None]
    v = rng.integers(0, 3, (people, 3, 1)) * ((xy >= 0) & (xy <= (WIDTH, HEIGHT))).all(-1, keepdims=True)
    keypoints = np.concatenate([xy, v], axis=-1) * (v > 0)
    corner = rng.uniform(0, (WIDTH - 30, HEIGHT - 30), (crowds, 2))
    ignored = np.concatenate([corner, corner + 30], axis=1)
    return labels_of(boxes.tolist(), keypoints.astype(np.float32), ignored)


def assert_same(first: Labels, second: Labels, atol: float = 1e-3) -> None:
    for name in ("boxes", "keypoints", "areas", "ignored"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=atol, rtol=1e-4, err_msg=name)


@examples
@given(labels=random_labels)
def test_flip_of_flip_is_the_identity(labels: Labels) -> None:
    mirror = affine([[-1, 0], [0, 1]], (WIDTH, 0))
    once = warp_labels(labels, mirror, (HEIGHT, WIDTH), FLIP)
    assert_same(warp_labels(once, mirror, (HEIGHT, WIDTH), FLIP), labels)


@examples
@given(labels=random_labels)
def test_the_identity_changes_nothing(labels: Labels) -> None:
    assert_same(warp_labels(labels, np.eye(3), (HEIGHT, WIDTH), FLIP), labels, atol=1e-4)


@examples
@given(labels=random_labels, seed=seeds, size=sizes, rotation=st.floats(0, 180))
def test_no_joint_outside_is_labelled_and_joints_stay_on_their_boxes(
    labels: Labels, seed: int, size: tuple[int, int], rotation: float
) -> None:
    rng = np.random.default_rng(seed)
    augmentation = Augmentation(scale=(0.3, 2.0), rotation=rotation, shift=0.5)
    matrix = random_placement((HEIGHT, WIDTH), size, size, augmentation, rng, zoom=1.0)
    moved = warp_labels(labels, matrix, size, FLIP)
    xy, v = moved.keypoints[..., :2], moved.keypoints[..., 2]
    limits = np.array([size[1], size[0]])
    assert ((xy >= 0) & (xy <= limits)).all() and not xy[v == 0].any()
    assert ((moved.boxes >= 0) & (moved.boxes <= np.tile(limits, 2))).all()
    assert (moved.boxes[:, 2:] - moved.boxes[:, :2] >= 2).all()
    assert (moved.areas > 0).all()
    assert (moved.ignored[:, 2:] > moved.ignored[:, :2]).all()
    single = [warp_labels(only(labels, i), matrix, size, FLIP) for i in range(len(labels))]
    for before, after in zip((only(labels, i) for i in range(len(labels))), single, strict=True):
        check_one_person(before, after, matrix, size)


def only(labels: Labels, index: int) -> Labels:
    one = slice(index, index + 1)
    return Labels(labels.boxes[one], labels.keypoints[one], labels.areas[one], labels.ignored[:0])


def check_one_person(before: Labels, after: Labels, matrix: np.ndarray, size: tuple[int, int]) -> None:
    """Joints that were inside the box are inside the new one; a person is taught, ignored or out of the image."""
    assert len(after) + len(after.ignored) <= 1
    joints = before.keypoints[0]
    low, high = before.boxes[0, :2], before.boxes[0, 2:]
    order = FLIP if determinant(matrix) < 0 else range(3)
    for new, old in enumerate(order):
        moved = warp_points(joints[old, :2], matrix)
        visible = joints[old, 2] > 0 and (moved >= 0).all() and (moved <= (size[1], size[0])).all()
        if len(after):
            assert after.keypoints[0, new, 2] == (joints[old, 2] if visible else 0)
        if visible and (joints[old, :2] >= low).all() and (joints[old, :2] <= high).all():
            box = (after.boxes if len(after) else after.ignored)[:1]
            if len(box):
                assert (moved >= box[0, :2] - 0.01).all() and (moved <= box[0, 2:] + 0.01).all()


@examples
@given(seed=seeds, rotation=st.floats(0, 180))
def test_areas_scale_and_rotated_boxes_hold_the_person(seed: int, rotation: float) -> None:
    rng = np.random.default_rng(seed)
    augmentation = Augmentation(scale=(0.4, 2.0), rotation=rotation, shift=0)
    matrix = random_placement((HEIGHT, WIDTH), (3000, 3000), (HEIGHT, WIDTH), augmentation, rng, zoom=1.0)
    labels = labels_of([[100, 80, 160, 180]])
    moved = warp_labels(labels, matrix, (3000, 3000), FLIP)
    np.testing.assert_allclose(moved.areas, labels.areas * scale_of(matrix) ** 2, rtol=1e-4)
    angles = np.linspace(0, 2 * np.pi, 721)
    ellipse = np.stack([130 + 30 * np.cos(angles), 130 + 50 * np.sin(angles)], axis=-1)
    points = warp_points(ellipse, matrix)
    np.testing.assert_allclose(moved.boxes[0], [*points.min(axis=0), *points.max(axis=0)], atol=0.05)


def test_an_area_shrinks_with_the_part_that_is_left() -> None:
    moved = warp_labels(labels_of([[0, 0, 100, 100]]), affine(np.eye(2) * 2, (-100, 0)), (200, 200), FLIP)
    np.testing.assert_allclose(moved.boxes, [[0, 0, 100, 200]])
    np.testing.assert_allclose(moved.areas, [20_000])


@pytest.mark.parametrize(
    ("box", "shift"),
    [([0, 0, 100, 100], -95), ([50, 50, 51.5, 90], 0)],
    ids=["5 % is left", "narrower than 2 px"],
)
def test_what_is_left_of_a_lost_person_is_ignored_not_background(box: list[float], shift: float) -> None:
    moved = warp_labels(labels_of([box]), affine(np.eye(2), (shift, 0)), (200, 200), FLIP)
    expected = np.add(box, [shift, 0, shift, 0])
    assert len(moved) == 0
    np.testing.assert_allclose(moved.ignored, [expected.clip(min=0)])


def test_a_person_wholly_outside_leaves_nothing() -> None:
    moved = warp_labels(labels_of([[0, 0, 50, 50]]), affine(np.eye(2), (-60, 0)), (200, 200), FLIP)
    assert len(moved) == len(moved.ignored) == 0


def test_an_ignored_area_never_loses_a_corner() -> None:
    quarter = np.deg2rad(45)
    turn = affine([[np.cos(quarter), -np.sin(quarter)], [np.sin(quarter), np.cos(quarter)]], (100, 0))
    moved = warp_labels(labels_of([], ignored=[[10, 10, 30, 30]]), turn, (200, 200), FLIP)
    corners = warp_points(np.array([[10, 10], [30, 10], [30, 30], [10, 30]], np.float32), turn)
    np.testing.assert_allclose(moved.ignored, [[*corners.min(axis=0), *corners.max(axis=0)]], rtol=1e-5)


@examples
@given(source=sizes, target=sizes, x=st.floats(0, 1), y=st.floats(0, 1))
def test_letterbox_fits_is_centred_and_can_be_undone(
    source: tuple[int, int], target: tuple[int, int], x: float, y: float
) -> None:
    letterbox = fit_letterbox(source, target)
    scale, pad_x, pad_y = letterbox
    point = np.array([x * source[1], y * source[0]])
    inside = warp_points(point, letterbox_matrix(letterbox))
    assert (inside >= 0).all() and (inside <= np.array([target[1], target[0]]) + 1e-3).all()
    np.testing.assert_allclose((inside - [pad_x, pad_y]) / scale, point, atol=1e-3)
    for axis, pad in ((0, pad_y), (1, pad_x)):
        assert pad == int(pad) and abs(target[axis] - source[axis] * scale - 2 * pad) < 2
    assert min(target[0] - source[0] * scale, target[1] - source[1] * scale) == pytest.approx(0, abs=1e-6)


def test_a_image_of_the_right_size_is_not_touched() -> None:
    image = marked_image()
    result, letterbox = letterbox_image(image, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(result, image)
    assert letterbox == Letterbox(1.0, 0.0, 0.0)


@pytest.mark.parametrize("size", [(256, 256), (640, 480), (96, 320), (100, 40)])
def test_validation_is_a_letterbox(images: Images, size: tuple[int, int]) -> None:
    sample, matrix = validation_sample(images, 0, size)
    again, letterbox = letterbox_image(images.read_image(0), size)
    np.testing.assert_array_equal(matrix, letterbox_matrix(letterbox))
    expected = MARKERS[0, :, :2] * letterbox.scale + (letterbox.pad_x, letterbox.pad_y)
    np.testing.assert_allclose(sample.labels.keypoints[0, :, :2], expected, rtol=1e-5)
    assert check_markers(sample.image, sample.labels, False, 0, TOLERANCE) == 3
    np.testing.assert_array_equal(sample.image, again)


def test_the_border_is_grey_and_nothing_is_squashed() -> None:
    image, letterbox = letterbox_image(np.zeros((100, 200, 3), np.uint8), (200, 200))
    assert letterbox == Letterbox(1.0, 0.0, 50.0)
    assert (image[:50] == FILL).all() and (image[150:] == FILL).all() and not image[50:150].any()


def test_strong_reduction_does_not_alias() -> None:
    """Stripes of one pixel become grey, not stripes."""
    stripes = np.zeros((300, 300, 3), np.uint8)
    stripes[:, ::2] = 255
    image, _ = letterbox_image(stripes, (50, 50))
    assert abs(image[5:-5, 5:-5].astype(int) - 127).max() < 10


@examples
@given(seed=seeds)
def test_mosaic_keeps_points_on_their_images(images: Images, seed: int) -> None:
    """Each labelled joint has its bright spot beneath it, in whichever tile it is."""
    many = Images(images.file, count=7)
    augmentation = Augmentation(mosaic=1.0, colour=0.0)
    sample, _ = training_sample(many, 3, (240, 320), augmentation, np.random.default_rng(seed))
    assert sample.sources[0] == 3 and len(sample.sources) == 4
    assert sample.image.shape == (240, 320, 3)
    for joints in sample.labels.keypoints:
        for x, y, v in joints:
            if v > 0 and 4 < x < 316 and 4 < y < 236:
                patch = sample.image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
                assert patch.max() > FILL + 60


def test_the_first_tile_of_a_mosaic_has_the_matrix(images: Images) -> None:
    augmentation = Augmentation(mosaic=1.0, colour=0.0, shift=0.0, rotation=0.0)
    sample, matrix = training_sample(images, 0, (240, 320), augmentation, np.random.default_rng(5))
    spots = warp_points(MARKERS[0, :, :2], matrix)
    order = FLIP if determinant(matrix) < 0 else [0, 1, 2]
    first = sample.labels.keypoints[0]
    labelled = first[:, 2] > 0
    assert labelled.any()
    np.testing.assert_allclose(first[labelled, :2], spots[order][labelled], rtol=1e-4)


@examples
@given(seed=seeds)
def test_samples_are_decided_by_the_generator(images: Images, seed: int) -> None:
    first, _ = training_sample(images, 0, (96, 128), Augmentation(), np.random.default_rng(seed))
    second, _ = training_sample(images, 0, (96, 128), Augmentation(), np.random.default_rng(seed))
    np.testing.assert_array_equal(first.image, second.image)
    assert_same(first.labels, second.labels, atol=0)


def test_colour_changes_colours_only_and_grey_stays_grey() -> None:
    image = marked_image()
    for seed in range(30):
        result = jitter_colour(image, np.random.default_rng(seed), 1.0)
        assert result.shape == image.shape and result.dtype == np.uint8
        matrix = colour_matrix(np.random.default_rng(seed), 1.0)
        grey = matrix @ [100, 100, 100, 1]
        np.testing.assert_allclose(grey, grey[0], atol=1e-6)
    np.testing.assert_array_equal(jitter_colour(image, np.random.default_rng(0), 0.0), image)


def test_the_last_phase_is_plain() -> None:
    plain = Augmentation(scale=(0.3, 2.0), mosaic=1.0).plain()
    assert plain.mosaic == plain.rotation == 0
    assert plain.scale == (0.8, 1.25)
    assert Augmentation(scale=(0.3, 0.5)).plain().scale == (0.5, 0.5)
    assert Augmentation(scale=(1.3, 1.6)).plain().scale == (1.3, 1.3)
    assert replace(Augmentation(), mosaic=0.0).plain() == Augmentation().plain()


def test_opencv_agrees_about_pixel_centres() -> None:
    """Doubling an image of two pixels puts their centres at a quarter and three quarters."""
    image = np.zeros((3, 2, 3), np.uint8)
    image[:, 1] = 200
    doubled = warp_image(image, affine(np.eye(2) * 2), (6, 4))
    resized = cv2.resize(image, (4, 6), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(doubled[2:4, 1:3], resized[2:4, 1:3], atol=1)


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (1, 1), (2, 3000), (3, 1200), (40, 900)])
def test_thin_images_are_letterboxed(size: tuple[int, int]) -> None:
    """Less than a pixel of the result may fall between two of them; from one on it is where it belongs.

    Borders are blended with what is around the image over half a pixel of the image.
    """
    image = np.full((*size, 3), 200, np.uint8)
    result, letterbox = letterbox_image(image, (64, 64))
    assert result.shape == (64, 64, 3) and result.min() >= FILL and result.max() <= 200
    lit = result[..., 0] > (FILL + 200) / 2
    expected = np.array(size) * letterbox.scale
    if min(expected) >= 1:
        extent = lit.any(axis=1).sum(), lit.any(axis=0).sum()
        np.testing.assert_allclose(extent, expected, atol=2)


@pytest.mark.parametrize(("flip_pairs", "some"), [(None, False), ([], True), ([["paw_2", "paw_3"]], True)])
def test_nothing_is_mirrored_where_nobody_knows_the_sides(
    images: Images, monkeypatch: pytest.MonkeyPatch, flip_pairs: list[list[str]] | None, some: bool
) -> None:
    """Whole samples, tiles of mosaics and the student's views alike."""
    category: dict[str, object] = {"keypoints": ["paw_1", "paw_2", "paw_3"]}
    skeleton = Skeleton.from_category(category if flip_pairs is None else {**category, "flip_pairs": flip_pairs})
    monkeypatch.setattr(images, "skeleton", skeleton, raising=False)
    signs = []
    for seed in range(12):
        for mosaic in (0.0, 1.0):
            rng = np.random.default_rng(seed)
            _, matrix = training_sample(images, 0, (64, 64), Augmentation(mosaic=mosaic), rng)
            signs.append(determinant(matrix))
        for path in AUGMENTATIONS:
            rng = np.random.default_rng(seed)
            signs.append(determinant(strong_view(marked_image(), path, (64, 64), skeleton, rng)[1]))
    assert any(sign < 0 for sign in signs) == some
