"""Images are written whole, show what is there, and put labels and predictions in the same place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from sia.batch import PoseBatch
from sia.errors import DataError, OutputError
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from utils.plots import _draw, plot_results, read_columns, training_batch_image, validation_image

TRIANGLE = Skeleton(("a", "b", "c"), ((0, 1),), (), (0.05, 0.1, 0.07), category="triangle")
HEADER = "epoch,step,seconds,loss,loss_box,lr_head,lr_backbone,AP,AP50,APM\n"


def batch_of(images=1, people=1, size=(100, 200), regions=0):
    """Grey images of 200 x 100 with one box from (40, 20) to (120, 80); scale 2 and pads 10, 4 to original pixels."""
    keypoints = torch.tensor([[50.0, 30.0, 2], [110.0, 70.0, 1], [0.0, 0.0, 0]]).expand(images, people, 3, 3)
    return PoseBatch(
        images=torch.full((images, 3, *size), 90, dtype=torch.uint8),
        boxes=torch.tensor([40.0, 20, 120, 80]).expand(images, people, 4),
        keypoints=keypoints,
        areas=torch.full((images, people), 4000.0),
        people=torch.ones(images, people, dtype=torch.bool),
        ignored=torch.tensor([150.0, 10, 190, 50]).expand(images, regions, 4),
        image_ids=torch.arange(images),
        letterboxes=torch.tensor([2.0, 10.0, 4.0]).expand(images, 3),
        sizes=torch.tensor([50, 90]).expand(images, 2),
        files=[f"bild-ä-{i}.jpg" for i in range(images)],
    )


def people_of(count=1):
    """The person of `batch_of` in original pixels."""
    boxes = np.tile(np.float32([15, 8, 55, 38]), (count, 1))
    points = np.tile(np.float32([[20, 13], [50, 33], [0, 0]]), (count, 1, 1))
    return People(boxes, np.full(count, 0.9, np.float32), points, np.tile(np.float32([1, 1, 0]), (count, 1)))


def size_of(path):
    return cv2.imread(str(path)).shape[:2]


@pytest.mark.parametrize(
    "rows",
    [
        "",
        "1,10,1.5,9.1,3.2,1e-3,1e-4,,,\n",
        "1,10,1.5,9.1,3.2,1e-3,1e-4,,,\n2,20,3.0,nan,2.2,1e-3,1e-4,0.31,0.6,-1\n3,30,4,8,,1e-3,,x,,\n",
    ],
)
def test_results_with_gaps(tmp_path, rows):
    (tmp_path / "results.csv").write_text(HEADER + rows)
    plot_results(tmp_path / "results.csv", tmp_path / "results.png")
    assert min(size_of(tmp_path / "results.png")) > 200
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["results.csv", "results.png"]


@pytest.mark.parametrize("epochs", [[2.0], [1.0, 2.0], [1.0, 2.0, 3.0]])
def test_ticks_are_whole_epochs(epochs):
    axes = Figure().add_subplot()
    _draw(axes, "AP", {"AP": (np.array(epochs), np.linspace(20, 30, len(epochs)))})
    ticks = axes.get_xticks()
    assert len(ticks) and (ticks == ticks.round()).all()


def test_columns_of_other_files(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("epoch, loss \n1,0.5\n2\n")
    columns = read_columns(file)
    assert columns["loss"][0] == 0.5 and np.isnan(columns["loss"][1])
    plot_results(file, tmp_path / "results.png")
    file.write_text("")
    plot_results(file, tmp_path / "results.png")


def test_unreadable_results(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        plot_results(tmp_path / "none.csv", tmp_path / "results.png")


def test_a_place_that_can_not_be_written(tmp_path):
    (tmp_path / "results.csv").write_text(HEADER)
    with pytest.raises(OutputError):
        plot_results(tmp_path / "results.csv", tmp_path / "none" / "results.png")
    with pytest.raises(OutputError):
        training_batch_image(batch_of(), TRIANGLE, tmp_path / "none" / "batch.png")


@pytest.mark.parametrize(("images", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (20, 4, 4)])
def test_training_image_is_a_grid_of_at_most_sixteen(tmp_path, images, columns, rows):
    training_batch_image(batch_of(images), TRIANGLE, tmp_path / "batch.png")
    assert size_of(tmp_path / "batch.png") == (rows * 228 + 6, columns * 406 + 6)


def drawn_tile(path, column=0):
    """The image of one tile without its caption: 400 x 200, twice the input."""
    left = 6 + column * 406
    return cv2.imread(str(path))[28:228, left : left + 400].astype(int)


def changed(tile, x, y):
    """Whether anything is drawn at this point of the input."""
    return bool((np.abs(tile[2 * y, 2 * x] - 90) > 40).any())


def test_labels_are_where_they_belong(tmp_path):
    training_batch_image(batch_of(regions=1), TRIANGLE, tmp_path / "batch.png")
    tile = drawn_tile(tmp_path / "batch.png")
    assert all(changed(tile, x, y) for x, y in [(40, 50), (120, 50), (80, 20), (80, 80)]), "box"
    assert all(changed(tile, x, y) for x, y in [(50, 30), (110, 70), (80, 50)]), "joints and limb"
    assert not any(changed(tile, x, y) for x, y in [(20, 50), (60, 70), (2, 2)]), "nothing elsewhere"
    region = tile[40:80, 310:370]
    assert (np.abs(region - 90) > 40).any(axis=2).mean() > 0.1, "stripes"


def test_a_person_without_keypoints_has_a_box_of_another_colour(tmp_path):
    batch = batch_of()
    batch.keypoints = torch.zeros(1, 1, 3, 3)
    training_batch_image(batch, TRIANGLE, tmp_path / "batch.png")
    blue, green, red = drawn_tile(tmp_path / "batch.png")[100, 80]
    assert red > green > blue + 50


def test_predictions_lie_on_labels(tmp_path):
    validation_image(batch_of(images=2), {"predictions": [people_of(), people_of(0)]}, TRIANGLE, tmp_path / "val.png")
    assert size_of(tmp_path / "val.png") == (2 * 228 + 6, 2 * 406 + 6)
    labels, found = (drawn_tile(tmp_path / "val.png", column) for column in range(2))
    assert changed(found, 110, 70)
    for x, y in [(50, 30), (80, 50)]:  # the occluded joint looks different on purpose
        np.testing.assert_array_equal(*(tile[2 * y, 2 * x - 3 : 2 * x + 3] for tile in (labels, found)))


def test_predictions_below_the_threshold_are_left_out(tmp_path):
    validation_image(batch_of(), {"predictions": [people_of()]}, TRIANGLE, tmp_path / "val.png", conf_thresh=0.95)
    assert (drawn_tile(tmp_path / "val.png", 1) == 90).all()


def test_nobody_at_all(tmp_path):
    batch = batch_of(people=0)
    batch.keypoints = torch.zeros(1, 0, 17, 3)
    training_batch_image(batch, COCO_PERSON, tmp_path / "batch.jpg")
    empty = np.zeros((0, 4), np.float32)
    nobody = People(empty, empty[:, 0], np.zeros((0, 17, 2), np.float32), np.zeros((0, 17), np.float32))
    validation_image(batch, {"predictions": [nobody]}, COCO_PERSON, tmp_path / "val.jpg")
    assert size_of(tmp_path / "val.jpg") == (234, 818)
