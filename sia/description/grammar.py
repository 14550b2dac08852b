"""The English that can be checked: a closed vocabulary, read into mentions, numbers, labels, relations, directions.

Whatever is not in the vocabulary can't be checked against a fact, and so can't be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

SIDED = {
    "eye": "eye", "ear": "ear", "shoulder": "shoulder", "elbow": "elbow", "wrist": "wrist", "hand": "wrist",
    "hip": "hip", "knee": "knee", "ankle": "ankle", "foot": "ankle", "forearm": "forearm", "thigh": "thigh",
    "upper arm": "upper arm", "lower leg": "lower leg", "arm": "arm", "leg": "leg",
}  # fmt: skip
"""Parts that are left or right, and what facts call them."""
_MIDDLE = {"face": "face", "head": "face", "nose": "face", "person": "person"}
_PLURALS = {**{f"{part}s": part for part in SIDED if part not in ("foot",)}, "feet": "foot"}
_LABELS: dict[str, tuple[str, str]] = {
    "straight": ("bend", "straight"), "bent": ("bend", "bent"), "symmetric": ("symmetric", "symmetric"),
    "symmetrical": ("symmetric", "symmetric"), "level": ("level", "level"), "not found": ("hidden", "not found"),
    "sideways": ("facing", "sideways"), "seen sideways": ("facing", "sideways"), "standing": ("posture", "standing"),
    "stands": ("posture", "standing"), "sitting": ("posture", "sitting"), "sits": ("posture", "sitting"),
    "crouching": ("posture", "crouching"), "crouches": ("posture", "crouching"), "lying": ("posture", "lying"),
    "lies": ("posture", "lying"), "bending": ("posture", "bending"), "bending over": ("posture", "bending"),
    "facing the camera": ("facing", "towards the camera"), "facing away": ("facing", "away from the camera"),
    "facing towards the camera": ("facing", "towards the camera"),
    "facing away from the camera": ("facing", "away from the camera"),
}  # fmt: skip
_RELATIONS: dict[str, tuple[str, bool]] = {
    "above": ("above", False), "higher than": ("above", False), "below": ("above", True), "lower than": ("above", True),
    "left of": ("left_of", False), "to the left of": ("left_of", False), "right of": ("left_of", True),
    "to the right of": ("left_of", True), "close to": ("close", False), "near": ("close", False),
    "next to": ("close", False),
}  # fmt: skip
"""Kind of the fact, and whether subject and object trade places."""
_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_NUMBERS = {"no": 0, **{word: number for number, word in enumerate(_WORDS)}}
_FILLERS = (
    "the", "a", "an", "is", "are", "and", "while", "with", "at", "in", "of", "to", "by", "also", "both", "angle",
    "degrees", "degree", "image", "projected", "keypoints", "keypoint", "view", "its", "their", ",", ".", ";", ":",
    "(", ")", "-",
)  # fmt: skip
_WAYS = {"up": "up", "upwards": "up", "upward": "up", "down": "down", "downwards": "down", "downward": "down"}


def _any_of(phrases: Iterable[str]) -> str:
    """A pattern for whole phrases, the longest first."""
    return f"(?:{'|'.join(map(re.escape, sorted(phrases, key=len, reverse=True)))})(?!\\S)"


_PART = _any_of([*SIDED, *_PLURALS, *_MIDDLE])
_WAY = rf"{_any_of([*_WAYS, 'and', 'to', 'the'])}|(?:left|right)(?!\S|\ {_PART})"
_PIECE = re.compile(
    rf"""(?P<phrase>{_any_of([*_LABELS, *_RELATIONS])})
    | (?P<points>point|points|pointing)(?P<ways>(?:\ (?:{_WAY}))*)(?!\S)
    | (?:(?P<sides>left\ and\ right|right\ and\ left|left|right)\ )?(?P<part>{_PART})
      (?:(?<=person)\ (?P<person>\d+)(?!\S))?
    | (?P<number>{_any_of(_NUMBERS)}|-?\d+(?:\.\d+)?)(?=(?:(?:\ -)?\ (?P<unit>degree|keypoint)s?(?!\S))?)
    | (?P<filler>{_any_of(_FILLERS)})""",
    re.VERBOSE,
)


class Unreadable(Exception):
    """The sentence has something that can't be checked; the text says what."""


class Item(NamedTuple):
    """A piece of a sentence that says something.

    Attributes:
        fact: kind of fact that it claims; empty for a mention of a part or a person.
        names: of a mention: the parts, such as ``left wrist``; a plural without sides also has its own name first.
        value: of a label, a direction or a number; of a mention, the number of a person.
        inverse: whether a relation's subject and object trade places.
        unit: of a number: ``degrees``, ``keypoints`` or nothing.
    """

    fact: str = ""
    names: tuple[str, ...] = ()
    value: str | float | None = None
    inverse: bool = False
    unit: str = ""


def read(text: str) -> list[Item]:
    """The items of a sentence, in order.

    Raises:
        Unreadable: a word or a character outside the vocabulary, or a side without a part.
    """
    lowered = text.lower().replace("°", " degrees").replace("’", "'").replace("–", "-")
    if not lowered.isascii():
        raise Unreadable("it has characters that can't be checked")
    rest = " ".join(re.findall(r"(?<![\w.])-\d+(?:\.\d+)?|\d+(?:\.\d+)?|[a-z]+|[^\sa-z\d]", lowered))
    items = []
    while rest:
        piece = _PIECE.match(rest)
        if piece is None:
            word = rest.split()[0]
            is_side = word in ("left", "right")
            raise Unreadable(f"'{word}' has no part of the body beside it" if is_side else f"'{word}' is in no fact")
        if piece["filler"] is None:
            items.append(_item(piece))
        rest = rest[piece.end() :].lstrip()
    return items


def _item(piece: re.Match[str]) -> Item:
    if phrase := piece["phrase"]:
        if phrase in _RELATIONS:
            fact, inverse = _RELATIONS[phrase]
            return Item(fact, inverse=inverse)
        fact, value = _LABELS[phrase]
        return Item(fact, value=value)
    if piece["points"]:
        ways = [_WAYS.get(way, way) for way in piece["ways"].split() if way not in ("and", "to", "the")]
        if not ways:
            raise Unreadable(f"'{piece['points']}' has no direction")
        return Item("direction", value=" and ".join(ways))
    if piece["part"]:
        return _mention(piece["sides"], piece["part"], piece["person"])
    number, unit = piece["number"], f"{piece['unit']}s" if piece["unit"] else ""
    return Item("seen" if unit == "keypoints" else "angle", value=float(_NUMBERS.get(number, number)), unit=unit)


def _mention(sides: str | None, part: str, person: str | None) -> Item:
    """``left wrist``, ``left and right wrist``, ``wrists``, ``face``, ``person 2``."""
    name = SIDED.get(_PLURALS.get(part, part))
    if sides:
        if name is None:
            raise Unreadable(f"'{part}' has no side")
        both = ("left", "right") if "and" in sides else (sides,)
        return Item(names=tuple(f"{side} {name}" for side in both))
    if name is None:
        return Item(names=(_MIDDLE[part],), value=None if person is None else float(person))
    if part not in _PLURALS:
        raise Unreadable(f"it doesn't say which {part}")
    return Item(names=(f"{name}s", f"left {name}", f"right {name}"))
