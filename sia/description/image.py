"""All people of one image in words, and how they are written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.description.body import Body
from sia.description.chat_server import ChatServer
from sia.description.facts import measure
from sia.description.language_model import LanguageModel
from sia.description.sentences import describe
from sia.description.writer import DescriptionWriter
from sia.io.output_file import write_json, write_text
from sia.people import People
from sia.skeletons.skeleton import Skeleton

Row = dict[str, Any]


def make_model(llm: str | None, url: str | None, seed: int = 0, device: str = "auto") -> LanguageModel | None:
    """The language model that the flags ask for, which `check_llm` has let pass; None for templates alone.

    Args:
        llm: -LLM.
        url: -LLM_URL.
        seed: for a server.
        device: where a local model runs, as in ``--device``.

    Raises:
        ConfigError: the key can't be sent, or the device can't be used.
        LanguageModelError: a local model that can't be loaded.
    """
    if llm is None:
        return None
    if url is not None:
        return ChatServer(url, llm, seed)
    from sia.description.local_model import LocalModel  # the only thing here that needs torch
    from sia.runtimes.device import choose_device

    return LocalModel(llm, choose_device(device).torch)


def describe_image(
    writer: DescriptionWriter,
    skeleton: Skeleton,
    people: People,
    threshold: float,
    variances: NDArray[np.float64] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Facts and words of each person, in the order given: those of templates first, of all; then the model's.

    Args:
        writer: makes the words.
        skeleton: what the keypoints mean.
        people: of one image; all of them are described.
        threshold: keypoints of a lower confidence are not spoken of.
        variances: (N, K) expected squared errors in pixels, where they are known.
        tell: is given each text as soon as it is there.

    Returns:
        A row a person: ``person`` (from 1 on), ``heading``, ``score``, ``bbox``, ``facts``, ``words``.
    """
    errors = np.full(people.confidences.shape, np.nan) if variances is None else variances
    parts = (part.astype(np.float64) for part in (people.boxes, people.keypoints, people.confidences))
    measured = [
        measure(Body(skeleton, box, points, confidences, error, threshold), number)
        for number, (box, points, confidences, error) in enumerate(zip(*parts, errors, strict=True), 1)
    ]
    headings = [heading(skeleton, people, row, threshold) for row in range(len(people))]
    for head, facts, number in zip(headings, measured, count(1)):
        tell(f"{head}: {' '.join(sentence.text for sentence in describe(facts, number))}")
    rows = []
    for number, (head, facts, unsure) in enumerate(
        zip(headings, measured, writer.doubt.reasons(people), strict=True), 1
    ):
        person, words = people[number - 1], writer.describe(facts, number, unsure)
        if words.model:
            tell(f"{skeleton.category} {number}, {words.author}: {words.text}")
        x1, y1, x2, y2 = person.box.tolist()
        row: Row = {"person": number, "heading": head, "score": round(person.score, 4)}
        row["bbox"] = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
        rows.append({**row, "facts": [asdict(fact) for fact in facts], "words": words.to_dict()})
    return rows


def heading(skeleton: Skeleton, people: People, row: int, threshold: float) -> str:
    """Who is meant: ``15/17 keypoints visible, person 1, left of the image, confidence 0.93``."""
    person = people[row]
    place = ""
    if people.source is not None:
        thirds = (3 * (person.box[:2] + person.box[2:]) / 2 / people.source.size[::-1]).clip(0, 2).astype(int)
        across, down = ("left", "centre", "right")[thirds[0]], ("upper ", "", "lower ")[thirds[1]]
        place = f"{down}{across} of the image, "
    number = int(skeleton.class_ids(people.confidences[row : row + 1])[0])
    own = person.confidences[skeleton.blocks[number]]
    visible = f"{int((own >= threshold).sum())}/{len(own)} keypoints visible"
    return f"{visible}, {skeleton.class_names[number]} {row + 1}, {place}confidence {person.score:.2f}"


def write_words(folder: Path, images: Sequence[Row]) -> list[Path]:
    """facts.json for all images, and text/NAME.txt for each.

    Args:
        folder: exists.
        images: rows with ``name`` (of the text file), ``people`` (of `describe_image`) and whatever else.

    Raises:
        OutputError: a file can't be written.
    """
    facts, texts = folder / "facts.json", folder / "text"
    texts.mkdir(exist_ok=True)
    write_json(facts, list(images), indent=1)
    for image in images:
        paragraphs = [f"{row['heading']} ({row['words']['author']})\n{row['words']['text']}" for row in image["people"]]
        write_text(texts / f"{image['name']}.txt", "\n\n".join(paragraphs or ["Nobody."]) + "\n")
    return [facts, texts]
