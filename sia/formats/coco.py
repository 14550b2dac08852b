"""COCO's keypoint results (https://cocodataset.org/#format-results): a list, which evaluation tools read."""

from __future__ import annotations

from sia.formats.writer import GrowingWriter, Record
from sia.io.results import JsonList, coco_rows, json_line


class CocoResults(GrowingWriter):
    """One row a person. A list has no place for schema and coordinate frame: run.json beside it has them."""

    SUFFIX = ".json"
    CLASSES = True

    def start(self, first: Record) -> JsonList:
        """An empty list."""
        return JsonList(self.path)

    def entries(self, record: Record) -> list[bytes]:
        """The rows."""
        return list(map(json_line, coco_rows(record.people, self.about.skeleton, record.image_id, self.about.category)))
