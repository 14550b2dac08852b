"""Left and right in names of keypoints: which trade places in a mirror image, and whether that can be known at all."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

LEFT, RIGHT = "left", "right"

_LEFT_WORDS = (
    "left lft lt l gauche links linke linker linkes izquierda izquierdo izq sinistra sinistro esquerda esquerdo 左"
)
_RIGHT_WORDS = (
    "right rgt rt r droite droit rechts rechte rechter rechtes derecha derecho der destra destro direita direito 右"
)
_SIDE_OF = {**dict.fromkeys(_LEFT_WORDS.split(), LEFT), **dict.fromkeys(_RIGHT_WORDS.split(), RIGHT)}
_OPPOSITE = {LEFT: RIGHT, RIGHT: LEFT}

_CENTRAL_WORDS = (
    "nose neck head chin mouth jaw lip lips tongue throat forehead face beak snout muzzle spine back chest thorax "
    "torso trunk body belly abdomen sternum navel waist pelvis hip hips tail withers center centre central mid middle "
    "root top bottom upper lower"
)
_CENTRAL = frozenset(_CENTRAL_WORDS.split())
"""Words of points on the middle line: names with one of these may resemble each other and still have no side."""
_ALIKE = 0.7
"""Names without a side that resemble each other so much are probably the two sides of one thing."""


class Sides(NamedTuple):
    """What names say about a mirror image.

    Attributes:
        pairs: indices of names that trade places, the left one first.
        doubt: why the names don't say it, as the end of a sentence; empty where they do.
    """

    pairs: tuple[tuple[int, int], ...]
    doubt: str


def read_sides(names: Sequence[str]) -> Sides:
    """Pairs each name of a left side with its twin of the right one; names without a side lie on the middle line.

    Nothing is paired in doubt: one side without its twin, no side in any of several names, names without a side that
    resemble each other (``paw_1`` and ``paw_2``), or two names for one place. A single name without a side is sure.
    """
    words = _with_initials([side_words(name) for name in names])
    places: dict[tuple[str, ...], int] = {}
    for i, key in enumerate(words):
        if _is_sided(key) and places.setdefault(key, i) != i:
            return Sides((), f"{names[places[key]]} and {names[i]} name one place")
    twins = {i: places.get(_mirrored(words[i])) for i in places.values()}
    alone = [names[i] for i, twin in twins.items() if twin is None or twin == i]
    if alone:
        return Sides((), f"{alone[0]} has no counterpart on the other side")
    middle = [i for i in range(len(names)) if i not in twins]
    if not twins and len(names) > 1:
        return Sides((), "no name says left or right")
    for a, b in combinations(middle, 2):
        if _resemble(names[a], words[a], names[b], words[b]):
            return Sides((), f"{names[a]} and {names[b]} may be two sides of one thing")
    return Sides(tuple((i, j) for i, j in twins.items() if j is not None and LEFT in words[i] and _first(words[i])), "")


def side_words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case, with `LEFT` and `RIGHT` for every word of a side.

    Words end at what is no letter, between letters and digits, and where capitals begin: ``eye.L``, ``LeftEye`` and
    ``lefteye1`` have the side of ``l_eye``.
    """
    text = unicodedata.normalize("NFC", name)
    text = re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", " ", text)
    found: list[str] = []
    for word in re.findall(r"[^\W\d_]+|\d+", re.sub(r"([左右])", r" \1 ", text.lower())):
        found += [word] if word in _SIDE_OF else _split_side(word)
    return tuple(_SIDE_OF.get(word, word) for word in found)


def _split_side(word: str) -> list[str]:
    """``lefteye`` and ``eyeleft`` as two words; not ``upright``, ``bright`` and ``cleft``."""
    for side in (LEFT, RIGHT):
        if word.startswith(side) and len(word) > len(side) + 1:
            return [side, word.removeprefix(side)]
        if word.endswith(side) and len(word) > len(side) + 2:
            return [word.removesuffix(side), side]
    return [word]


def _with_initials(names: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """``lknee`` and ``rknee`` as two words each, where both are there."""
    known = set(names)

    def split(words: tuple[str, ...]) -> tuple[str, ...]:
        first, rest = (words[0][0], words[0][1:]) if words else ("", "")
        twin = {"l": "r", "r": "l"}.get(first, "")
        both = len(rest) > 1 and not _is_sided(words) and (twin + rest, *words[1:]) in known
        return (_SIDE_OF[first], rest, *words[1:]) if both else words

    return [split(words) for words in names]


def _is_sided(words: tuple[str, ...]) -> bool:
    return any(word in _OPPOSITE for word in words)


def _mirrored(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_OPPOSITE.get(word, word) for word in words)


def _first(words: tuple[str, ...]) -> bool:
    """Whether the first side in a name is the left one, so that of ``left_eye_right_corner`` and its twin one leads."""
    return next(word for word in words if word in _OPPOSITE) == LEFT


def _resemble(name: str, words: tuple[str, ...], other: str, others: tuple[str, ...]) -> bool:
    if not _CENTRAL.isdisjoint(words) or not _CENTRAL.isdisjoint(others):
        return False
    if len(name) == len(other) == 1:
        return True
    shared = {word for word in words if len(word) > 1 and not word.isdigit()} & set(others)
    return bool(shared) or difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio() >= _ALIKE
