"""All people of one image in words, and how they are written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.description.body import Body
from sia.description.chat_server import ChatServer
from sia.description.facts import measure
from sia.description.language_model import LanguageModel
from sia.description.llm_flags import check_llm
from sia.description.writer import DescriptionWriter
from sia.io.output_file import write_json, write_text
from sia.people import People
from sia.skeletons.skeleton import Skeleton

Row = dict[str, Any]


def make_model(llm: str | None, url: str | None, seed: int = 0, device: str = "cpu") -> LanguageModel | None:
    """The language model that the flags ask for; None for templates alone.

    Raises:
        ConfigError: flags that don't go together, or not an address.
        LanguageModelError: a local model that can't be loaded.
    """
    check_llm(llm, url)
    if llm is None:
        return None
    if url is not None:
        return ChatServer(url, llm, seed)
    from sia.description.local_model import LocalModel  # the only thing here that needs torch

    return LocalModel(llm, device)


def describe_image(
    writer: DescriptionWriter,
    skeleton: Skeleton,
    people: People,
    threshold: float,
    variances: NDArray[np.float64] | None = None,
) -> list[Row]:
    """Facts and words of each person, in the order given.

    Args:
        writer: makes the words.
        skeleton: what the keypoints mean.
        people: of one image; all of them are described.
        threshold: keypoints of a lower confidence are not spoken of.
        variances: (N, K) expected squared errors in pixels, where they are known.

    Returns:
        A row a person: ``person`` (from 1 on), ``score``, ``bbox``, ``facts``, ``words``.
    """
    errors = np.full(people.confidences.shape, np.nan) if variances is None else variances
    parts = (part.astype(np.float64) for part in (people.boxes, people.keypoints, people.confidences))
    rows = []
    for number, (box, points, confidences, error) in enumerate(zip(*parts, errors, strict=True), 1):
        facts = measure(Body(skeleton, box, points, confidences, error, threshold), number)
        row: Row = {"person": number, "score": round(float(people.scores[number - 1]), 4)}
        row["bbox"] = [round(float(value), 2) for value in (*box[:2], *(box[2:] - box[:2]))]
        row["facts"] = [fact.to_dict() for fact in facts]
        rows.append({**row, "words": writer.describe(facts, number).to_dict()})
    return rows


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
        paragraphs = [row["words"]["text"] for row in image["people"]]
        write_text(texts / f"{image['name']}.txt", "\n\n".join(paragraphs or ["Nobody."]) + "\n")
    return [facts, texts]
