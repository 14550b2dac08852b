"""JSON Lines: one object an image or frame."""

from __future__ import annotations

from typing import Any

from sia.formats.writer import GrowingWriter, Record
from sia.io.results import JsonList, StandardOutput, describe_rows, json_line, person_rows


class JsonlWriter(GrowingWriter):
    """A line an image or frame; the first one also has ``about``, which says how to read all of them."""

    SUFFIX = ".jsonl"
    STREAMS = CLASSES = True
    _begun = False

    def start(self, first: Record) -> JsonList | StandardOutput:
        """An empty file."""
        return self.lines()

    def entries(self, record: Record) -> list[bytes]:
        """One line."""
        row: dict[str, Any] = {} if self._begun else {"about": describe_rows(self.about.skeleton)}
        self._begun = True
        people, source = person_rows(record.people, self.about.skeleton), record.people.source
        if record.people.ids is not None:
            found = record.interpolated or [False] * len(people)
            ids = record.people.ids.tolist()
            people = [{"id": i or None, "interpolated": b, **p} for i, b, p in zip(ids, found, people, strict=True)]
        if source is not None and source.frame is not None and source.time is not None:
            row |= {"frame": source.frame, "time": round(source.time, 6)}
        else:
            height, width = record.size
            row |= {"image_id": record.image_id, "file_name": record.name, "width": width, "height": height}
        return [json_line({**row, "people": people})]
