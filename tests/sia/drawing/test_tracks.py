from __future__ import annotations

import numpy as np

from sia.drawing.annotator import with_caption
from sia.drawing.tracks import TrackAnnotator, colour_of
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON


def person(x: float, confidence: float = 0.9) -> People:
    box = np.array([[x, 20, x + 30, 80]], np.float32)
    points = np.random.default_rng(0).uniform(0, 1, (1, 17, 2)) * [30, 60] + [x, 20]
    return People(box, np.array([0.8], np.float32), points.astype(np.float32), np.full((1, 17), confidence, np.float32))


def blank() -> np.ndarray:
    return np.full((120, 200, 3), 90, np.uint8)


def test_ids_keep_their_colours_and_differ() -> None:
    colours = [colour_of(number) for number in range(1, 9)]
    assert colours == [colour_of(number) for number in range(1, 9)]
    apart = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) > 20
    assert colour_of(0) not in colours


def test_a_trail_follows_a_person_and_fades() -> None:
    annotator = TrackAnnotator(COCO_PERSON, 0.3, seconds=1.0)
    for step in range(10):
        drawn = annotator.draw(blank(), person(10 + 15 * step), [4], [False], step / 20)
    way = drawn[78:83, 30:130]  # where only the trail is
    assert (way != 90).any()
    nobody = person(0).above(1.0)
    assert (annotator.draw(blank(), nobody, [], [], 0.6) != 90).any()
    assert (annotator.draw(blank(), nobody, [], [], 9.0) == 90).all()


def test_people_without_an_id_leave_no_trail() -> None:
    annotator = TrackAnnotator(COCO_PERSON, 0.3)
    for step in range(5):
        annotator.draw(blank(), person(10 + 15 * step), [0], [False], step / 20)
    assert (annotator.draw(blank(), person(0).above(1.0), [], [], 0.3) == 90).all()


def test_less_confidence_is_darker_and_bridged_is_said() -> None:
    forced, doubtful = (
        TrackAnnotator(COCO_PERSON, 0.3).draw(blank(), person(50, c), [1], [False], 0.0) for c in (1.0, 0.4)
    )
    assert forced.astype(int).sum() > doubtful.astype(int).sum()
    interpolated = TrackAnnotator(COCO_PERSON, 0.3).draw(blank(), person(50, 1.0), [1], [True], 0.0)
    assert (interpolated != forced).any()


def test_captions_stand_below_the_image_and_are_cut() -> None:
    short, long = with_caption(blank(), ["Person 1 is standing."]), with_caption(blank(), ["word " * 900], most=5)
    assert (short[:120, :200] == 90).all()
    assert short.shape[1] == long.shape[1] == 320
    assert (short[120:] < 128).any()
    assert long.shape[0] < 120 + 7 * 17
