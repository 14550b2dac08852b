import cv2
import numpy as np
import pytest
import torch
from transformers.models.vitpose.image_processing_vitpose import box_to_center_and_scale, get_warp_matrix

from stages.ensemble.experts.crops import IMAGENET, CropStyle, cut, windows_of
from stages.ensemble.experts.heatmap import HeatmapPartner, decode_heatmaps
from stages.ensemble.experts.simcc import decode_simcc

BOX = np.array([[40.0, 30.0, 90.0, 170.0]])
SIZE = (256, 192)
JOINTS = list(range(17))


def heatmap(points: np.ndarray, height: int = 64, width: int = 48, sigma: float = 2.0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    squares = (x - points[..., None, None, 0]) ** 2 + (y - points[..., None, None, 1]) ** 2
    return np.exp(-squares / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize("box", [[40, 30, 90, 170], [10, 100, 300, 140]])
def test_window_and_matrix_are_those_of_transformers(box: list[float]) -> None:
    windows = windows_of(np.array([box], float), SIZE)
    corners = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    centre, scale = box_to_center_and_scale(corners, image_width=192, image_height=256)
    assert windows.extents[0] == pytest.approx(scale * 200, rel=1e-5)
    assert windows.corners[0] == pytest.approx(centre - scale * 100, rel=1e-4)
    matrix = get_warp_matrix(0, centre * 2, np.array([191, 255]), scale * 200)
    image = np.random.default_rng(0).integers(0, 255, (200, 320, 3), np.uint8)
    expected = cv2.warpAffine(image, matrix, (192, 256), flags=cv2.INTER_LINEAR)
    mean, deviation = (np.array(part) for part in IMAGENET)
    found = cut(image, windows, CropStyle(SIZE, True))[0].transpose(1, 2, 0) * deviation + mean
    assert np.abs(found - expected).mean() < 0.5  # float32 matrices differ by a thousandth of a pixel


def test_heat_maps_are_decoded_to_a_hundredth_of_a_cell() -> None:
    points = np.random.default_rng(0).uniform((6, 6), (41, 57), (3, 17, 2))
    places, peaks = decode_heatmaps(heatmap(points))
    assert np.abs(places * (47, 63) - points).max() < 0.02
    assert (peaks > 0.9).all()


def test_decoding_equals_that_of_transformers() -> None:
    theirs = pytest.importorskip("transformers.models.sapiens2.image_processing_sapiens2")  # newer than the lower bound
    rng = np.random.default_rng(1)
    maps = heatmap(rng.uniform((0, 0), (47, 63), (2, 17, 2))) + rng.uniform(0, 0.1, (2, 17, 64, 48)).astype(np.float32)
    coarse, scores = theirs.get_keypoint_predictions(torch.from_numpy(maps))
    fine = theirs.post_dark_unbiased_data_processing(coarse, torch.from_numpy(maps)).numpy()
    places, peaks = decode_heatmaps(maps)
    assert peaks == pytest.approx(scores.numpy())
    assert np.median(np.abs(places * (47, 63) - fine)) < 1e-3


def test_nothing_in_a_heat_map_is_no_nan() -> None:
    places, peaks = decode_heatmaps(np.zeros((1, 17, 64, 48), np.float32))
    assert np.isfinite(places).all() and not peaks.any()


def test_simcc_reads_the_best_bins_and_the_lower_score() -> None:
    along_x, along_y = np.zeros((1, 2, 384), np.float32), np.zeros((1, 2, 512), np.float32)
    along_x[0, 0, 96], along_y[0, 0, 256] = 0.9, 0.4
    places, scores = decode_simcc(along_x, along_y)
    assert places[0, 0] == pytest.approx((0.25, 0.5))
    assert scores[0] == pytest.approx((0.4, 0))


def test_a_dot_is_found_where_it_is_also_through_the_mirror() -> None:
    """The network marks what is bright: crop, mirror, decoding and the way back must agree to half a pixel."""
    image = np.zeros((200, 320, 3), np.uint8)
    cv2.circle(image, (61, 93), 3, (255, 255, 255), -1)

    def network(crops: torch.Tensor) -> torch.Tensor:
        bright = (crops.mean(1, keepdim=True) + 2.1).clamp(min=0) / 5
        shrunk = torch.nn.functional.interpolate(bright, (64, 48), mode="bilinear", align_corners=True, antialias=False)
        return shrunk.repeat(1, 17, 1, 1)

    expert = HeatmapPartner(network, CropStyle(SIZE, True), JOINTS, torch.device("cpu"), "a test")
    poses = expert.predict(image, BOX)
    assert poses.keypoints.shape == (1, 17, 2)
    assert np.abs(poses.keypoints - (61, 93)).max() < 1.0
    assert expert.predict(image, np.zeros((0, 4))).confidences.shape == (0, 17)


def test_left_and_right_come_back_from_the_mirror() -> None:
    """A network that always marks the left eye on the crop's left: straight and mirrored disagree by half each."""

    def network(crops: torch.Tensor) -> torch.Tensor:
        maps = torch.zeros(len(crops), 17, 64, 48)
        maps[:, 1, 32, 5], maps[:, 2, 32, 5] = 1.0, 0.5
        return maps

    expert = HeatmapPartner(network, CropStyle(SIZE, True), JOINTS, torch.device("cpu"), "a test")
    mean = expert._heatmaps(torch.zeros(1, 3, *SIZE))[0]
    assert mean[1, 32, 5] == 0.5 and mean[1, 32, 47 - 5] == 0.25
    assert mean[2, 32, 5] == 0.25 and mean[2, 32, 47 - 5] == 0.5
