"""What is in an annotation file: how often each joint is labelled, how many people an image, how large they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sia.coco.annotation_file import AnnotationFile, Issue
from sia.skeletons.sides import LEFT, RIGHT, side_words
from sia.skeletons.skeleton import COCO_PERSON, INFERRED, Skeleton

HEIGHTS = (16, 32, 64, 128, 256, 512, 1024)
"""Pixels; borders of the histogram of the people's longer sides."""
MOST_PEOPLE = 10
"""Images with more people share the last bar."""


@dataclass(frozen=True)
class JointRate:
    """How one joint is labelled, counted in people with keypoints that are no crowd."""

    name: str
    unlabelled: int
    hidden: int
    seen: int


@dataclass(frozen=True)
class Statistics:
    """Counts of one file.

    Attributes:
        images: entries of ``images``.
        people: annotations of the categories with keypoints that are no crowd.
        posed: those with a labelled joint.
        crowds: crowd regions.
        joints: one row for each keypoint.
        people_per_image: images by number of people; the last bar is "10+".
        longer_sides: people by the longer side of their box in pixels.
    """

    images: int
    people: int
    posed: int
    crowds: int
    joints: tuple[JointRate, ...]
    people_per_image: dict[str, int]
    longer_sides: dict[str, int]


def measure(data: AnnotationFile) -> Statistics:
    """Counts what could be understood."""
    people, images = [person for person in data.people if not person.crowd], len(data.content["images"])
    posed = [person for person in people if person.labelled.any()]
    rates = list[JointRate]()
    for block, keypoints in enumerate(data.skeleton.blocks if data.skeleton else ()):
        values = np.array([person.joints[:, 2] for person in posed if person.block == block])
        rates += [
            JointRate(name, *(int((values[:, k] == v).sum()) if len(values) else 0 for v in (0, 1, 2)))
            for k, name in enumerate(data.skeleton.names[keypoints] if data.skeleton else ())
        ]
    owners = Counter(person.image for person in people)
    counts = Counter(min(owners[image], MOST_PEOPLE) for image in range(images))
    sides, _ = np.histogram([float(person.box[2:].max()) for person in people], (0, *HEIGHTS, np.inf))
    labels = [f"< {HEIGHTS[0]}", *(f"{a} - {b}" for a, b in pairwise(HEIGHTS)), f"> {HEIGHTS[-1]}"]
    return Statistics(
        images=images,
        people=len(people),
        posed=len(posed),
        crowds=len(data.people) - len(people),
        joints=tuple(rates),
        people_per_image={f"{n}{'+' * (n == MOST_PEOPLE)}": counts[n] for n in range(MOST_PEOPLE + 1)},
        longer_sides=dict(zip(labels, map(int, sides), strict=True)),
    )


def check_statistics(data: AnnotationFile, statistics: Statistics) -> Iterator[Issue]:
    """Findings about the file as a whole."""
    if data.skeleton is None:
        return
    for part, skeleton in zip(data.parts, data.skeleton.parts, strict=True):
        yield from _check_skeleton(part, skeleton)
    names = data.skeleton.names
    never = [k for k, joint in enumerate(statistics.joints) if joint.hidden + joint.seen == 0]
    for k in never if statistics.posed else []:
        yield Issue("never-labelled", f"{names[k]} is labelled in none of {statistics.posed} people.", joints=(k,))
    if statistics.posed and sum(joint.hidden for joint in statistics.joints) == 0:
        yield Issue("never-hidden", f"None of {statistics.posed} people has a joint with v = 1.")


def _check_skeleton(data: AnnotationFile, skeleton: Skeleton) -> Iterator[Issue]:
    """The order of COCO's names, and what isn't declared."""
    names, coco = skeleton.names, COCO_PERSON.names
    if set(names) != set(coco):
        yield Issue("own-skeleton", f"{len(names)} keypoints of its own: {', '.join(names)}.")
    elif names != coco:
        first = next(i for i in range(len(coco)) if names[i] != coco[i])
        yield Issue("skeleton-order", f"Keypoint {first + 1} is '{names[first]}', but COCO's is '{coco[first]}'.")
    if not skeleton.mirrors:
        yield Issue("flips-unknown", f"Mirror images are {skeleton.describe_flips()}.")
    elif skeleton.flips == INFERRED and set(names) != set(coco):
        yield Issue("flips-inferred", f"The {skeleton.describe_flips()}.")
    if text := skeleton.describe_sigmas(data.category()):
        yield Issue("sigmas-inferred", f"The {text}.")
    paired = {i for pair in skeleton.flip_pairs for i in pair}
    alone = [k for k in range(len(names)) if k not in paired and {LEFT, RIGHT} & set(side_words(names[k]))]
    for k in alone if skeleton.mirrors else []:
        yield Issue("flip-pair", f"{names[k]} has no counterpart on the other side.", joints=(k,))
