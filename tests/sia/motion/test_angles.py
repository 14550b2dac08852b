from __future__ import annotations

import numpy as np
import pytest

from sia.errors import ConfigError
from sia.motion.angles import find_angles, included_angle, measure_angles
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON, Skeleton


def person(**places: tuple[float, float]) -> People:
    points, confidences = np.zeros((1, 17, 2), np.float32), np.zeros((1, 17), np.float32)
    for name, place in places.items():
        points[0, COCO_PERSON.names.index(name)] = place
        confidences[0, COCO_PERSON.names.index(name)] = 0.9
    return People(np.array([[0, 0, 50, 99]], np.float32), np.ones(1, np.float32), points, confidences)


def test_angles_are_in_degrees_and_missing_ones_are_no_number() -> None:
    bent = person(left_hip=(10, 10), left_knee=(10, 50), left_ankle=(50, 50), right_hip=(0, 0), right_knee=(0, 40))
    angles = find_angles(COCO_PERSON, "knee")
    assert list(angles) == ["left_knee", "right_knee"]
    left, right = measure_angles(bent, angles, 0.3)[0]
    assert left == pytest.approx(90)
    assert np.isnan(right)  # without an ankle
    assert np.isnan(measure_angles(bent, angles, 0.95)).all()
    straight = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    assert included_angle(*straight) == pytest.approx(180)
    assert np.isnan(included_angle(straight[0], straight[0], straight[1]))


def test_angles_by_three_keypoints_of_any_skeleton() -> None:
    names = ("tail-root", "hock", "hoof", "nose")
    horse = Skeleton(names, (), (), (0.1,) * 4, "horse")
    assert find_angles(horse, "tail-root-hock-hoof") == {"tail-root-hock-hoof": (0, 1, 2)}
    both = find_angles(COCO_PERSON, "hip-knee-ankle, left_elbow")
    assert list(both) == ["left_hip-knee-ankle", "right_hip-knee-ankle", "left_elbow"]
    assert both["left_hip-knee-ankle"] == find_angles(COCO_PERSON, "left_knee")["left_knee"]
    assert len(find_angles(COCO_PERSON, "all")) == 8


@pytest.mark.parametrize(("wanted", "message"), [("left_kne", "mean left_knee"), ("hip-knee-foot", "FIRST-JOINT")])
def test_an_unknown_angle(wanted: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_angles(COCO_PERSON, wanted)
    with pytest.raises(ConfigError, match="Angle all is unknown"):
        find_angles(Skeleton(("a", "b"), (), (), (0.1, 0.1)), "all")
