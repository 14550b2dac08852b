"""What benchmarks/tracking.py hands to the evaluator, which leaves out all classes but 1."""

from __future__ import annotations

from benchmarks.tracking import mot_text


def test_truth_and_tracks_are_pedestrians_and_frames_count_from_1() -> None:
    text = mot_text(iter([(0, 7, (1.0, 2.5, 30.0, 40.0)), (12, 8, (0.0, 0.0, 5.0, 6.0))]))
    assert text == "1,7,1.00,2.50,30.00,40.00,1,1,1\n13,8,0.00,0.00,5.00,6.00,1,1,1\n"
