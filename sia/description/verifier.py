"""Checks a sentence against the facts it cites: every number, side, relation, label and direction has to be in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from sia.description.fact import FLOOR, Fact, Sentence
from sia.description.grammar import Item, Unreadable, read

_OF_GROUPS = ("symmetric", "level", "hidden")
"""Kinds of facts about both sides together."""
_OF_PERSONS = ("posture", "facing", "seen")
_RELATIONS = ("above", "left_of", "close")


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
    mentions = [at for at, item in enumerate(items) if not item.fact]
    used: set[int | None] = set()
    for at, item in enumerate(items):
        before = max((i for i in mentions if i < at), default=None)
        after = min((i for i in mentions if i > at), default=None)
        if not item.fact:
            if item.value not in (None, person):
                yield f"it is about person {item.value:g}, not {person}"
        elif item.fact in _RELATIONS:
            used |= {before, after}
            if before is None or after is None:
                yield f"'{item.fact}' lacks one of the parts it compares"
            else:
                yield from _wrong_relations(item, items[before], items[after], cited)
        elif item.fact in _OF_PERSONS:
            yield from _wrong_attributes(item, ("person",), cited)
        else:  # about the part before it, else the one after
            about = after if before is None else before
            used.add(about)
            yield from _wrong_attributes(item, () if about is None else _names(items[about], item.fact), cited)
    if len(mentions) == len(items):
        yield "it says nothing that can be checked"
    yield from (
        f"it says nothing of the {items[at].names[0]} that can be checked"
        for at in mentions
        if at not in used and items[at].names != ("person",)
    )


def _wrong_attributes(item: Item, names: Sequence[str], cited: Sequence[Fact]) -> Iterator[str]:
    """What the cited facts say otherwise, or not at all, of a label, a number or a direction of these parts."""
    shown = f"{item.value:g}" if isinstance(item.value, float) else item.value
    if not names:
        yield f"'{shown}' is about nothing"
    if item.fact == "angle" and not item.unit:
        yield f"{shown} has no unit"
    for name in names:
        fact = next((fact for fact in cited if (fact.kind, fact.subject) == (item.fact, name)), None)
        if fact is None:
            yield f"no cited fact says that the {name} is '{shown}'"
        elif fact.value != item.value:
            yield f"the {name} is '{fact.value}', not '{shown}'"


def _wrong_relations(item: Item, before: Item, after: Item, cited: Sequence[Fact]) -> Iterator[str]:
    """Side by side where both name both sides, else each with each."""
    first, second = _names(before, item.fact), _names(after, item.fact)
    pairs = (
        zip(sorted(first), sorted(second), strict=True) if len(first) == len(second) == 2 else product(first, second)
    )
    said = {(fact.subject, fact.object) for fact in cited if fact.kind == item.fact}
    if item.fact == "close":
        said |= {(other, subject) for subject, other in said}
    for pair in pairs:
        subject, other = reversed(pair) if item.inverse else pair
        if (subject, other) not in said:
            yield f"no cited fact says that the {subject} is {item.fact.replace('_', ' ')} the {other}"


def _names(mention: Item, kind: str) -> tuple[str, ...]:
    """The parts that a mention stands for: a plural is a group for some facts, and both sides for others."""
    if len(mention.names) < 3:
        return mention.names
    return mention.names[:1] if kind in _OF_GROUPS else mention.names[1:]
