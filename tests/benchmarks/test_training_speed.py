"""The table of training speeds."""

from __future__ import annotations

from benchmarks.peers.contestants import Entry
from benchmarks.peers.training_speed import Measured, table


def test_medians_beside_the_first_of_the_same_size() -> None:
    first, second = Entry("yolo11n", "yolo11n"), Entry("sia_pose_simple:BS=8", "sia_pose_simple", ("BS=8",))
    measured = [
        Measured(first, 192, [10.0, 30.0, 20.0]), Measured(second, 192, [30.0]),
        Measured(first, 640, [2.0]), Measured(second, 640, [5.0]),
    ]  # fmt: skip
    assert table(measured).splitlines()[2:] == [
        "| 192 | yolo11n | 20.0 | 1.00 |",
        "| 192 | sia_pose_simple:BS=8 | 30.0 | 1.50 |",
        "| 640 | yolo11n | 2.0 | 1.00 |",
        "| 640 | sia_pose_simple:BS=8 | 5.0 | 2.50 |",
    ]
