"""CSV with a row a person (https://www.rfc-editor.org/rfc/rfc4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from sia.formats.table import record_columns
from sia.formats.writer import GrowingWriter, Record
from sia.io.results import JsonList, StandardOutput


class CsvWriter(GrowingWriter):
    """A row a person, columns as `sia.formats.table` names them; an image without people has no row.

    There is no place for schema and coordinate frame: run.json beside it has them.
    """

    SUFFIX = ".csv"
    STREAMS = CLASSES = True

    def start(self, first: Record) -> JsonList | StandardOutput:
        """The line with the names."""
        lines = self.lines()
        lines.append([_line(list(record_columns(first)))])
        return lines

    def entries(self, record: Record) -> list[bytes]:
        """The rows; pixels to a thousandth."""
        columns = [array.tolist() for array in record_columns(record).values()]
        return [_line([_short(value) for value in row]) for row in zip(*columns, strict=True)]


def _short(value: Any) -> Any:
    """Without what a category doesn't have."""
    if value != value:
        return ""
    return round(value, 6 if abs(value) < 1 else 3) if isinstance(value, float) else value


def _line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue().encode("utf-8", "backslashreplace")
