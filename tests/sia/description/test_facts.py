"""Facts of people drawn by hand, and of synthetic ones whose posture is known."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.synthetic.scene.placement import place_actors
from sia.description.body import Body
from sia.description.fact import Fact
from sia.description.facts import measure
from sia.description.posture import facing, posture
from sia.description.sentences import describe, say
from sia.description.verifier import problem_of
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.sia.description.people import BEHIND, LYING, RAISED, SITTING, STANDING, arrays, body


def facts_of(pose: dict, **changes) -> dict[str, Fact]:
    return {fact.id: fact for fact in measure(body(pose, **changes), 1)}


def test_angles_and_relations_of_a_raised_arm() -> None:
    facts = facts_of(RAISED)
    assert facts["p1.angle.left_elbow"].value == 90
    assert facts["p1.angle.left_elbow"].joints == ("left_shoulder", "left_elbow", "left_wrist")
    assert facts["p1.bend.left_elbow"].value == "bent"
    assert facts["p1.bend.right_elbow"].value == "straight"
    assert facts["p1.direction.left_forearm"].value == "up"
    assert facts["p1.direction.left_upper_arm"].value == "right"  # of the image, as the person faces it
    assert "p1.above.left_wrist.left_shoulder" in facts
    assert "p1.above.right_shoulder.right_wrist" in facts
    assert facts["p1.above.left_wrist.left_shoulder"].value == 0.5  # 40 of 80 pixels
    assert "p1.left_of.right_wrist.left_wrist" in facts
    assert "p1.symmetric.arms" not in facts
    assert "p1.symmetric.legs" in facts
    assert facts["p1.level.shoulders"].value == "level"


@pytest.mark.parametrize(
    ("pose", "label"), [(STANDING, "standing"), (SITTING, "sitting"), (LYING, "lying"), (BEHIND, "standing")]
)
def test_postures(pose: dict, label: str) -> None:
    assert posture(body(pose)).label == label


def test_facing() -> None:
    assert facing(body(STANDING)).label == "towards the camera"
    assert facing(body(BEHIND)).label == "away from the camera"
    thin = {name: (100 + (x - 100) * 0.05, y) for name, (x, y) in STANDING.items()}
    assert facing(body(thin)).label == "sideways"
    between = {name: (100 + (x - 100) * 0.37, y) for name, (x, y) in STANDING.items()}
    assert facing(body(between)) is None


def test_a_contact() -> None:
    facts = facts_of({**STANDING, "right_wrist": (97, 46)})
    assert "p1.close.right_wrist.face" in facts
    assert "p1.close.left_wrist.face" not in facts


def test_keypoints_that_are_not_seen_are_not_spoken_of() -> None:
    legs = ("left_knee", "right_knee", "left_ankle", "right_ankle")
    facts = facts_of(STANDING, unseen=legs)
    assert facts["p1.hidden.legs"].value == "not found"
    assert facts["p1.seen.person"].value == 13
    assert "p1.posture.person" not in facts
    spoken = [fact for fact in facts.values() if fact.kind != "hidden"]
    assert not any(joint in fact.joints for fact in spoken for joint in legs)


def test_nothing_seen_says_nothing_but_that() -> None:
    assert list(facts_of(STANDING, unseen=COCO_PERSON.names[1:])) == [
        "p1.seen.person", "p1.hidden.legs", "p1.hidden.arms"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (0, "No keypoint of person 1 is in view."),
        (1, "1 keypoint of person 1 is in view."),
        (2, "2 keypoints of person 1 are in view."),
    ],
)
def test_how_many_keypoints_are_in_view_reads_properly(seen: int, text: str) -> None:
    box, points, _ = arrays(STANDING)
    confidences = np.where(np.arange(17) < seen, 0.95, 0.0)
    facts = measure(Body(COCO_PERSON, box, points, confidences, np.full(17, np.nan), 0.3), 1)
    sentence = describe(facts, 1)[0]
    assert sentence.text == text
    assert not problem_of(sentence, facts, 1)
    count = say(next(fact for fact in facts if fact.kind == "seen"))
    assert not problem_of(count, facts, 1)


def test_confidence_falls_with_the_expected_error_and_is_a_probability() -> None:
    forced, doubtful = facts_of(RAISED, error=2.0), facts_of(RAISED, error=15.0)
    for name in forced.keys() & doubtful.keys():
        assert 0.5 <= doubtful[name].confidence <= forced[name].confidence <= 1
    assert "p1.angle.left_elbow" in forced
    assert "p1.angle.left_elbow" not in facts_of(RAISED, error=60.0)
    rng, right = np.random.default_rng(0), []
    for _ in range(300):  # the relation as it is measured, with errors as they are said to be
        noisy = {name: tuple(np.array(at) + rng.normal(0, 15, 2)) for name, at in STANDING.items()}
        facts = [fact for fact in facts_of(noisy, error=15.0).values() if fact.kind == "left_of"]
        right += [fact.confidence - ("right" in fact.subject) for fact in facts if "wrist" in fact.subject]
    assert abs(np.mean(right)) < 0.05


def test_a_limb_towards_the_camera_has_no_angle() -> None:
    assert "p1.angle.left_elbow" not in facts_of({**STANDING, "left_wrist": (136, 113)})


def test_another_skeleton_has_the_facts_it_has_names_for() -> None:
    arm = Skeleton(("left_shoulder", "left_elbow", "left_wrist"), ((0, 1), (1, 2)), (), (0.08,) * 3)
    points = np.array([[0.0, 0], [50, 0], [50, 50]])
    arm_body = Body(arm, np.array([0.0, 0, 50, 50]), points, np.full(3, 0.99), np.full((3,), 1.0), 0.3)
    facts = {fact.id: fact.value for fact in measure(arm_body, 2)}
    assert facts["p2.angle.left_elbow"] == 90
    assert not any("leg" in name or "posture" in name for name in facts)


def test_every_fact_can_be_said_and_every_template_is_true() -> None:
    for seed in range(12):
        _, actors = scene = place_actors(np.random.default_rng((5, seed)), 256, 256)
        for actor in actors:
            if actor.is_person:
                points = scene[0].project(actor.figure.keypoints)[0]
                box = np.concatenate([points.min(0), points.max(0)])
                person = Body(COCO_PERSON, box, points, np.full(17, 0.9), np.full(17, np.nan), 0.3)
                facts = measure(person, 3)
                lines = [*describe(facts, 3), *(say(fact) for fact in facts if fact.confidence >= 0.6)]
                assert lines
                assert [problem_of(line, facts, 3) for line in lines] == [""] * len(lines)


def test_postures_of_synthetic_people() -> None:
    known = {"stand": "standing", "walk": "standing", "sit": "sitting", "lie": "lying", "bend_over": "bending"}
    answers = []
    for seed in range(40):
        camera, actors = place_actors(np.random.default_rng((6, seed)), 256, 256)
        for actor in actors:
            if actor.is_person and actor.action in known:
                points, depth = camera.project(actor.figure.keypoints)
                box = np.concatenate([points.min(0), points.max(0)])
                person = Body(COCO_PERSON, box, points, np.full(17, 0.9), np.full(17, np.nan), 0.3)
                answer = posture(person) if depth.min() > 0.5 else None
                answers += [answer.label == known[actor.action]] if answer else []
    assert len(answers) > 40
    assert np.mean(answers) > 0.9
