"""Apache Parquet with a row a person (https://parquet.apache.org), written by PyArrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sia.formats.table import record_columns
from sia.formats.writer import About, Record, ResultWriter
from sia.io.optional import need
from sia.io.output_file import writing

ROWS = 50_000
"""People held in memory before they are written as a row group."""


class ParquetWriter(ResultWriter):
    """Columns as `sia.formats.table` names them; the schema's metadata say how to read them."""

    SUFFIX = ".parquet"
    CLASSES = True

    def __init__(self, path: Path, about: About) -> None:
        super().__init__(path, about)
        self._arrow = need("pyarrow", "--save parquet")
        self._parquet = need("pyarrow.parquet", "--save parquet")
        self._part = path.with_name(f".{path.name}.part")
        self._writer: Any = None
        self._held: list[dict[str, Any]] = []
        self._rows = 0

    def add(self, record: Record) -> None:
        """Adds an image or frame."""
        self._held.append(record_columns(record))
        self._rows += len(record.people)
        if self._rows >= ROWS:
            self._flush()

    def close(self) -> None:
        """Writes what is left, and gives the file its name."""
        if self._held:
            self._flush()
        if self._writer is not None:
            with writing(self.path):
                self._writer.close()
                self._part.replace(self.path)

    def _flush(self) -> None:
        joined = {name: np.concatenate([columns[name] for columns in self._held]) for name in self._held[0]}
        texts = [name for name in ("file_name", "category") if name in joined]
        joined |= {name: self._arrow.array(joined[name], "string") for name in texts}
        table = self._arrow.table(joined).replace_schema_metadata(self.about.short())
        with writing(self.path):
            if self._writer is None:
                self._writer = self._parquet.ParquetWriter(self._part, table.schema)
            self._writer.write_table(table)
        self._held, self._rows = [], 0
