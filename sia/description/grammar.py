"""The English that can be checked: a closed vocabulary, read into mentions, numbers, labels, relations, directions.

Whatever is not in the vocabulary can't be checked against a fact, and so can't be said.
"""

from __future__ import annotations

import re
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
    "degrees", "degree", "image", "image", "projected", "keypoints", "keypoint", "view", "its", "their", ",", ".",
    ";", ":", "(", ")", "-",
)  # fmt: skip
_POINTS = frozenset(("points", "pointing", "point"))
_WAYS = {"up": "up", "upwards": "up", "upward": "up", "down": "down", "downwards": "down", "downward": "down"}
_LONGEST = 5


class Unreadable(Exception):
    """The sentence has something that can't be checked; the text says what."""


class Item(NamedTuple):
    """A piece of a sentence that says something.

    Attributes:
        kind: ``mention``, ``number``, ``label``, ``relation`` or ``direction``.
        names: of a mention: the parts, such as ``left wrist``; a plural without sides also has its own name first.
        value: of a number; or the number of a person that is mentioned.
        word: of a label or a direction, its value; of a number, what it counts: ``degrees``, ``keypoints`` or nothing.
        fact: kind of fact that a label or a relation claims.
        inverse: whether a relation's subject and object trade places.
    """

    kind: str
    names: tuple[str, ...] = ()
    value: float | None = None
    word: str = ""
    fact: str = ""
    inverse: bool = False


def read(text: str) -> list[Item]:
    """The items of a sentence, in order.

    Raises:
        Unreadable: a word or a character outside the vocabulary, or a side without a part.
    """
    lowered = text.lower().replace("°", " degrees").replace("’", "'").replace("–", "-")
    if not lowered.isascii():
        raise Unreadable("it has characters that can't be checked")
    tokens = re.findall(r"(?<![\w.])-\d+(?:\.\d+)?|\d+(?:\.\d+)?|[a-z]+|[^\sa-z\d]", lowered)
    items: list[Item] = []
    at = 0
    while at < len(tokens):
        item, used = _next(tokens, at)
        items += [item] if item is not None else []
        at += used
    return items


def _next(tokens: list[str], at: int) -> tuple[Item | None, int]:
    """The item that begins here, if any, and how many tokens it takes."""
    for length in range(min(_LONGEST, len(tokens) - at), 0, -1):
        phrase = " ".join(tokens[at : at + length])
        if phrase in _LABELS:
            kind, value = _LABELS[phrase]
            return Item("label", word=value, fact=kind), length
        if phrase in _RELATIONS:
            kind, inverse = _RELATIONS[phrase]
            return Item("relation", fact=kind, inverse=inverse), length
    word = tokens[at]
    if word in _POINTS:
        return _direction(tokens, at)
    mention = _mention(tokens, at)
    if mention is not None:
        return mention
    if word in _NUMBERS or re.fullmatch(r"-?\d+(\.\d+)?", word):
        number = float(_NUMBERS.get(word, word))
        after = next((token for token in tokens[at + 1 : at + 3] if token != "-"), "")
        unit = {"degree": "degrees", "keypoint": "keypoints"}.get(after, after)
        return Item("number", value=number, word=unit if unit in ("degrees", "keypoints") else ""), 1
    if word in _FILLERS:
        return None, 1
    raise Unreadable(f"'{word}' is in no fact")


def _mention(tokens: list[str], at: int) -> tuple[Item, int] | None:
    """``left wrist``, ``left and right wrist``, ``wrists``, ``face``, ``person 2``."""
    sides = _sides(tokens, at)
    part, length = _part(tokens, at + (2 * len(sides) - 1 if sides else 0))
    if sides and part is None:
        raise Unreadable(f"'{tokens[at]}' has no part of the body beside it")
    if part is None:
        return None
    used = length + (2 * len(sides) - 1 if sides else 0)
    single = _PLURALS.get(part, part)
    if sides:
        if single not in SIDED:
            raise Unreadable(f"'{part}' has no side")
        return Item("mention", tuple(f"{side} {SIDED[single]}" for side in sides)), used
    if part == "person":
        return _person(tokens, at)
    if part in _MIDDLE:
        return Item("mention", (_MIDDLE[part],)), used
    if part not in _PLURALS:
        raise Unreadable(f"it doesn't say which {part}")
    name = SIDED[single]
    return Item("mention", (f"{name}s", f"left {name}", f"right {name}")), used


def _sides(tokens: list[str], at: int) -> list[str]:
    if tokens[at] not in ("left", "right"):
        return []
    both = tokens[at : at + 3] in (["left", "and", "right"], ["right", "and", "left"])
    return ["left", "right"] if both else [tokens[at]]


def _part(tokens: list[str], at: int) -> tuple[str | None, int]:
    """A part of the body and the tokens that it takes."""
    pair = " ".join(tokens[at : at + 2])
    for phrase, length in ((pair, 2), (tokens[at] if at < len(tokens) else "", 1)):
        if phrase in SIDED or phrase in _PLURALS or phrase in _MIDDLE:
            return phrase, length
    return None, 0


def _person(tokens: list[str], at: int) -> tuple[Item, int]:
    number = tokens[at + 1] if at + 1 < len(tokens) and tokens[at + 1].isdecimal() else None
    return Item("mention", ("person",), float(number) if number else None), 2 if number else 1


def _direction(tokens: list[str], at: int) -> tuple[Item, int]:
    """``points down and to the left``, up to the first word that belongs to no direction."""
    ways: list[str] = []
    end = at + 1
    while end < len(tokens) and tokens[end] in (*_WAYS, "left", "right", "and", "to", "the"):
        if tokens[end] in ("left", "right") and _part(tokens, end + 1)[0] is not None:
            break  # the side of the next part of the body
        ways += [_WAYS.get(tokens[end], tokens[end])] if tokens[end] not in ("and", "to", "the") else []
        end += 1
    if not ways:
        raise Unreadable(f"'{tokens[at]}' has no direction")
    return Item("direction", word=" and ".join(ways), fact="direction"), end - at
