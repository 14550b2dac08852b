"""Fingerprints of images and names of videos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datasets.validation.images import SIMILAR, fingerprint, video_name, video_names


@pytest.mark.parametrize(
    ("file_name", "video"),
    [
        ("walk_0012.jpg", "walk"),
        ("clips/kitchen/0012.jpg", "clips/kitchen"),
        ("clips\\kitchen\\0012.jpg", "clips/kitchen"),
        ("cam2-000123.png", "cam2"),
        ("000000000139.jpg", None),
        ("train2017/000000000139.jpg", None),
        ("images/val/IMG_1234.jpg", None),
        ("im00010.jpg", None),
        ("COCO_val2014_000000000042.jpg", None),
        ("beach.jpg", None),
        ("photos/IMG_1234.jpg", None),
        ("dataset/raw/img_0001.jpg", None),
    ],
)
def test_video_name(file_name, video):
    assert video_name(file_name) == video


@pytest.mark.parametrize(
    ("images", "others", "video"), [(20, 0, "gym"), (21, 0, None), (30, 30, "gym"), (31, 29, None)]
)
def test_a_name_that_most_images_share_is_no_video(images, others, video):
    files = [f"gym/{number:04d}.jpg" for number in range(images)] + [f"{number:012d}.jpg" for number in range(others)]
    assert video_names(files) == [video] * images + [None] * others


def test_fingerprints_of_different_images_differ():
    rng = np.random.default_rng(0)
    prints = [fingerprint(cv2.blur(rng.integers(0, 255, (120, 160, 3), np.uint8), (9, 9))) for _ in range(2)]
    assert int(np.bitwise_count(prints[0] ^ prints[1]).sum()) > 1.5 * SIMILAR
