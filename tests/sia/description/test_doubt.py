from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sia.description.doubt import Doubt
from sia.description.image import describe_image, write_words
from sia.description.writer import DescriptionWriter
from sia.people import People, Source
from sia.runtimes.views import agreement, look_twice
from sia.skeletons.skeleton import COCO_PERSON, Category, Skeleton
from tests.sia.description.chat import sentences
from tests.sia.description.people import RAISED

WIDTH = 200


def two_people(shift: float = 0.0) -> People:
    """Scores 0.9 and 0.65; the first one's points are moved."""
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 120, (2, 17, 2)).astype(np.float32)
    points[0, :, 0] += shift
    boxes = np.concatenate([points.min(1), points.max(1)], 1)
    return People(boxes, np.array([0.9, 0.65], np.float32), points, np.ones((2, 17), np.float32))


def test_a_low_score_is_a_doubt() -> None:
    assert Doubt().reasons(two_people()) == [None, "score 0.65 below 0.7"]
    assert Doubt(below=0).reasons(two_people()) == [None, None]
    assert all(Doubt(below=1).reasons(two_people()))


def test_two_looks_that_differ_are_a_doubt() -> None:
    moved = replace(two_people(), agreement=agreement(two_people(), two_people(40), COCO_PERSON))
    first, second = Doubt(below=0.6).reasons(moved)
    assert first is not None
    assert first.startswith("two looks agree by 0.")
    assert second is None
    assert moved.above(0.7).agreement.tolist() == moved.agreement[:1].tolist()
    assert agreement(two_people(), two_people()[:0], COCO_PERSON).tolist() == [0, 0]


def test_keypoints_of_other_categories_agree_with_nothing() -> None:
    """They lie in the middle of the box in both looks; here the own ones are in opposite corners."""
    names = ("x.a", "x.b", "y.a", "y.b", "y.c", "y.d")
    skeleton = Skeleton(names, (), (), (0.05,) * 6, categories=(Category("x", 1, 2), Category("y", 2, 4)))
    middle = [[50.0, 50.0]] * 4
    looks = [
        People(
            np.array([[0, 0, 100, 100]], np.float32), np.array([0.9], np.float32),
            np.array([[[place, place], [place, place], *middle]], np.float32),
            np.array([[0.9, 0.8, 0.1, 0.1, 0.1, 0.1]], np.float32),
        )
        for place in (0.0, 100.0)
    ]  # fmt: skip
    assert agreement(looks[0], looks[1], skeleton)[0] < 1e-3
    assert agreement(looks[0], looks[0], skeleton)[0] == pytest.approx(1)


def test_the_mirror_image_is_compared_point_by_point() -> None:
    """A finder that sees the same people in both images agrees; one that swaps left and right doesn't."""
    people = two_people()
    order = np.array(COCO_PERSON.flip_order)

    def finder(swaps: bool):
        def find(images: list[np.ndarray]) -> list[People]:
            (image,) = images
            if image[0, 0, 0]:  # the image as it is
                return [people]
            points = people.keypoints if swaps else people.keypoints[:, order]
            points = points * [-1, 1] + [WIDTH, 0]
            boxes = np.concatenate([points.min(1), points.max(1)], 1)
            return [People(boxes, people.scores, points, people.confidences)]

        return look_twice(find, COCO_PERSON)

    image = np.zeros((150, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = 255
    (seen,) = finder(swaps=False)([image])
    assert seen.agreement == pytest.approx(1)
    (seen,) = finder(swaps=True)([image])
    assert seen.agreement.max() < 0.7


class Model:
    """Answers with a true sentence, and remembers whom it was asked about."""

    name = "true"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, messages) -> str:
        self.asked.append(messages[-1]["content"].splitlines()[0])
        return sentences(("Person 2 is standing.", ["p2.posture.person"]))


def test_the_model_is_asked_about_people_in_doubt_and_templates_come_first(tmp_path: Path) -> None:
    points = np.array([RAISED[name] for name in COCO_PERSON.names], np.float32)
    both = points + np.array([[[0, 0]], [[60, 0]]], np.float32)
    boxes = np.concatenate([both.min(1), both.max(1)], 1)
    source = Source(COCO_PERSON, (int(boxes.max()) + 1, 3 * int(boxes.max())))
    people = People(boxes, np.array([0.9, 0.65], np.float32), both, np.ones((2, 17), np.float32), source=source)
    told: list[str] = []
    model = Model()
    writer = DescriptionWriter(model, tmp_path / "answers", 50)
    first, second = describe_image(writer, COCO_PERSON, people, 0.3, tell=told.append)
    assert model.asked == ["Facts about person 2:"]
    assert [line.split(",")[1] for line in told[:2]] == [" person 1", " person 2"]
    assert told[0].startswith("17/17 keypoints visible, person 1, ")
    assert "confidence 0.90: Person 1 is standing" in told[0]
    assert told[2:] == ["person 2, language model, as score 0.65 below 0.7: Person 2 is standing."]
    assert (first["words"]["author"], first["words"]["unsure"]) == ("templates", None)
    assert (second["words"]["source"], second["words"]["unsure"]) == ("model", "score 0.65 below 0.7")
    assert (writer.tally.asked, writer.tally.sure) == (1, 1)
    write_words(tmp_path, [{"name": "a.png", "people": [first, second]}])
    text = (tmp_path / "text" / "a.png.txt").read_text().splitlines()
    assert text[0].endswith("confidence 0.90 (templates)")
    assert text[3].endswith("confidence 0.65 (language model, as score 0.65 below 0.7)")


@pytest.mark.parametrize(
    ("centre", "place"),
    [((10, 10), "upper left"), ((150, 75), "centre"), ((290, 75), "right"), ((150, 140), "lower centre")],
)
def test_places(centre: tuple[float, float], place: str) -> None:
    from sia.description.image import heading

    x, y = centre
    box = np.array([[x - 5, y - 5, x + 5, y + 5]], np.float32)
    source = Source(COCO_PERSON, (150, 300))
    confidences = np.linspace(0, 1, 17, dtype=np.float32)[None]
    people = People(box, np.array([0.934], np.float32), np.zeros((1, 17, 2), np.float32), confidences, source=source)
    wanted = f"9/17 keypoints visible, person 1, {place} of the image, confidence 0.93"
    assert heading(COCO_PERSON, people, 0, 0.5) == wanted
