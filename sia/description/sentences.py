"""Sentences from templates: always there, always the same, made of nothing but facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sia.description.fact import FLOOR, Fact, Sentence

_RELATIONS = {"above": "above", "left_of": "left of", "close": "close to"}
_SHOWN: dict[str, Callable[[Fact], bool]] = {
    "above": lambda fact: fact.subject.endswith("wrist") and (fact.object == "face" or "shoulder" in fact.object),
    "close": lambda fact: True,
    "hidden": lambda fact: True,
    "symmetric": lambda fact: True,
}
"""What the text takes from the many relations there are: what is unusual."""


def describe(facts: Sequence[Fact], person: int) -> list[Sentence]:
    """A few sentences about one person; facts below `FLOOR` are left out."""
    sure = [fact for fact in facts if fact.confidence >= FLOOR]
    lines = [*_opening(sure, person), *_bends(sure)]
    lines += [say(fact) for fact in sure if fact.kind in _SHOWN and _SHOWN[fact.kind](fact)]
    return lines


def say(fact: Fact) -> Sentence:
    """One fact as a sentence."""
    text = {
        "angle": lambda: f"The {fact.subject} is at {fact.value} degrees.",
        "bend": lambda: f"The {fact.subject} is {fact.value}.",
        "direction": lambda: f"The {fact.subject} points {fact.value} in the image.",
        "seen": lambda: f"{_keypoints(fact)} in view.",
        "posture": lambda: f"The person is {fact.value}.",
        "facing": lambda: f"The person is {_facing(fact)}.",
    }.get(fact.kind, lambda: _relation(fact))()
    return Sentence(text, (fact.id,))


def _keypoints(fact: Fact, whose: str = "") -> str:
    """How many, with the verb: none, one or several."""
    if fact.value == 1:
        return f"1 keypoint{whose} is"
    return f"{fact.value} keypoints{whose} are" if fact.value else f"No keypoint{whose} is"


def _facing(fact: Fact) -> str:
    return "seen sideways" if fact.value == "sideways" else f"facing {fact.value}"


def _relation(fact: Fact) -> str:
    if fact.object:
        return f"The {fact.subject} is {_RELATIONS[fact.kind]} the {fact.object}."
    return f"The {fact.subject} are {fact.value}."


def _opening(facts: Sequence[Fact], person: int) -> list[Sentence]:
    """Posture and facing in one sentence; how much is seen where there is neither."""
    chosen = [fact for kind in ("posture", "facing") for fact in facts if fact.kind == kind]
    if not chosen:
        return [
            Sentence(f"{_keypoints(fact, f' of person {person}')} in view.", (fact.id,))
            for fact in facts
            if fact.kind == "seen"
        ]
    words = [_facing(fact) if fact.kind == "facing" else str(fact.value) for fact in chosen]
    return [Sentence(f"Person {person} is {', '.join(words)}.", tuple(fact.id for fact in chosen))]


def _bends(facts: Sequence[Fact]) -> list[Sentence]:
    """Elbows and knees: bent or straight, at which angle."""
    angles = {fact.subject: fact for fact in facts if fact.kind == "angle"}
    bends = {fact.subject: fact for fact in facts if fact.kind == "bend"}
    lines = []
    for subject, angle in angles.items():
        if subject in bends:
            bend = bends[subject]
            text = f"The {subject} is {bend.value} at {angle.value} degrees."
            lines.append(Sentence(text, (bend.id, angle.id)))
    return lines
