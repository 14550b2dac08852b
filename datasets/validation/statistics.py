"""What is in an annotation file: how often each joint is labelled, how many people an image, how large they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from datasets.validation.annotations import Annotations
from datasets.validation.issue import Issue
from sia.skeletons.sides import LEFT, RIGHT, side_words
from sia.skeletons.skeleton import COCO_PERSON

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

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def measure(data: Annotations) -> Statistics:
    """Counts what could be understood."""
    people = [person for person in data.people if not person.crowd]
    values = np.array([person.joints[:, 2] for person in people if person.joints is not None and person.labelled.any()])
    names = data.skeleton.names if data.skeleton else ()
    rates = [
        JointRate(name, *(int((values[:, k] == v).sum()) if len(values) else 0 for v in (0, 1, 2)))
        for k, name in enumerate(names)
    ]
    owners = Counter(person.image for person in people)
    counts = Counter(min(owners[image], MOST_PEOPLE) for image in range(len(data.content["images"])))
    sides = [float(person.box[2:].max()) for person in people]
    return Statistics(
        images=len(data.content["images"]),
        people=len(people),
        posed=len(values),
        crowds=len(data.people) - len(people),
        joints=tuple(rates),
        people_per_image={f"{n}{'+' * (n == MOST_PEOPLE)}": counts[n] for n in range(MOST_PEOPLE + 1)},
        longer_sides=_histogram(sides),
    )


def _histogram(sides: list[float]) -> dict[str, int]:
    edges = (0, *HEIGHTS, np.inf)
    counts, _ = np.histogram(sides, edges)
    labels = [
        f"< {HEIGHTS[0]}",
        *(f"{a} - {b}" for a, b in pairwise(HEIGHTS)),
        f"> {HEIGHTS[-1]}",
    ]
    return dict(zip(labels, map(int, counts), strict=True))


def check_statistics(data: Annotations, statistics: Statistics) -> Iterator[Issue]:
    """Findings about the file as a whole."""
    if data.skeleton is None:
        return
    names = data.skeleton.names
    if set(names) != set(COCO_PERSON.names):
        yield Issue("own-skeleton", f"{len(names)} keypoints of its own: {', '.join(names)}.")
    never = [k for k, joint in enumerate(statistics.joints) if joint.hidden + joint.seen == 0]
    for k in never if statistics.posed else []:
        yield Issue("never-labelled", f"{names[k]} is labelled in none of {statistics.posed} people.", joints=(k,))
    if statistics.posed and sum(joint.hidden for joint in statistics.joints) == 0:
        yield Issue("never-hidden", f"None of {statistics.posed} people has a joint with v = 1.")
    paired = {i for pair in data.skeleton.flip_pairs for i in pair}
    alone = [k for k in range(len(names)) if k not in paired and {LEFT, RIGHT} & set(side_words(names[k]))]
    for k in alone if data.skeleton.mirrors else []:
        yield Issue("flip-pair", f"{names[k]} has no counterpart on the other side.", joints=(k,))
