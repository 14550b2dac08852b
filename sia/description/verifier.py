"""Checks a sentence against the facts it cites: every number, side, relation, label and direction has to be in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sia.description.fact import FLOOR, Fact, Sentence
from sia.description.grammar import Item, Unreadable, read

_OF_GROUPS = ("symmetric", "level", "hidden")
"""Kinds of facts about both sides together."""


def problem_of(sentence: Sentence, facts: Sequence[Fact], person: int) -> str:
    """Why the sentence must not be said; empty where all of it is in the cited facts.

    Args:
        sentence: what somebody wrote.
        facts: of this person.
        person: number in the image.
    """
    known = {fact.id: fact for fact in facts}
    unknown = [name for name in sentence.fact_ids if name not in known]
    if unknown:
        return f"there is no fact {unknown[0]}"
    cited = [known[name] for name in sentence.fact_ids]
    if not cited:
        return "it cites no fact"
    doubtful = [fact.id for fact in cited if fact.confidence < FLOOR]
    if doubtful:
        return f"fact {doubtful[0]} is too doubtful to be said"
    try:
        items = read(sentence.text)
    except Unreadable as error:
        return str(error)
    return next(_problems(items, cited, person), "")


def _problems(items: list[Item], cited: Sequence[Fact], person: int) -> Iterator[str]:
    used: set[int] = set()
    for at, item in enumerate(items):
        if item.kind == "mention":
            if item.value is not None and item.value != person:
                yield f"it is about person {item.value:g}, not {person}"
            continue
        around = _neighbours(items, at)
        if item.kind == "relation":
            problem = _check_relation(item, *around, items, cited)
        else:
            problem = _check_attribute(item, _subject(item, *around, items), cited)
        if problem:
            yield problem
        used.update(_used(item, around, items))
    if not any(item.kind != "mention" for item in items):
        yield "it says nothing that can be checked"
    idle = [i for i, item in enumerate(items) if item.kind == "mention" and i not in used and item.names != ("person",)]
    if idle:
        yield f"it says nothing of the {items[idle[0]].names[0]} that can be checked"


def _neighbours(items: list[Item], at: int) -> tuple[int | None, int | None]:
    """Indices of the nearest mention before and after."""
    before = next((i for i in range(at - 1, -1, -1) if items[i].kind == "mention"), None)
    after = next((i for i in range(at + 1, len(items)) if items[i].kind == "mention"), None)
    return before, after


def _subject(item: Item, before: int | None, after: int | None, items: list[Item]) -> Item | None:
    """What a label, a number or a direction is about: the mention before it, else the one after."""
    if item.word == "keypoints" or item.fact in ("posture", "facing"):
        return Item("mention", ("person",))
    index = before if before is not None else after
    return None if index is None else items[index]


def _used(item: Item, around: tuple[int | None, int | None], items: list[Item]) -> set[int]:
    """Mentions that this item says something of."""
    before, after = around
    if item.kind == "relation":
        return {index for index in around if index is not None}
    if item.word == "keypoints" or item.fact in ("posture", "facing"):
        return set()
    chosen = before if before is not None else after
    return set() if chosen is None else {chosen}


def _check_attribute(item: Item, subject: Item | None, cited: Sequence[Fact]) -> str:
    if subject is None:
        return f"'{_shown(item)}' is about nothing"
    kind = {"degrees": "angle", "keypoints": "seen", "": "angle"}[item.word] if item.kind == "number" else item.fact
    if item.kind == "number" and not item.word:
        return f"{item.value:g} has no unit"
    for name in _names(subject, kind):
        fact = next((fact for fact in cited if fact.kind == kind and fact.subject == name), None)
        if fact is None:
            return f"no cited fact says that the {name} is '{_shown(item)}'"
        if fact.value != (item.value if item.kind == "number" else item.word):
            return f"the {name} is '{fact.value}', not '{_shown(item)}'"
    return ""


def _names(subject: Item, kind: str) -> tuple[str, ...]:
    """The parts that a mention stands for: a plural is a group for some facts, and both sides for others."""
    if len(subject.names) < 3:
        return subject.names
    return subject.names[:1] if kind in _OF_GROUPS else subject.names[1:]


def _check_relation(item: Item, before: int | None, after: int | None, items: list[Item], cited: Sequence[Fact]) -> str:
    if before is None or after is None:
        return f"'{item.fact}' lacks one of the parts it compares"
    for first, second in _pairs(_names(items[before], item.fact), _names(items[after], item.fact)):
        subject, other = (second, first) if item.inverse else (first, second)
        if not any(_relates(fact, item.fact, subject, other) for fact in cited):
            return f"no cited fact says that the {subject} is {item.fact.replace('_', ' ')} the {other}"
    return ""


def _pairs(first: tuple[str, ...], second: tuple[str, ...]) -> list[tuple[str, str]]:
    """Side by side where both name both sides, else each with each."""
    if len(first) == len(second) == 2:
        return list(zip(sorted(first), sorted(second), strict=True))
    return [(a, b) for a in first for b in second]


def _relates(fact: Fact, kind: str, subject: str, other: str) -> bool:
    if fact.kind != kind:
        return False
    same = (fact.subject, fact.object) == (subject, other)
    return same or (kind == "close" and (fact.object, fact.subject) == (subject, other))


def _shown(item: Item) -> str:
    return f"{item.value:g}" if item.value is not None else item.word
