"""The output folder of inference on images: annotated images, results and run.json."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from sia.drawing.annotator import Image
from sia.formats.door import Results
from sia.io.images import write_image
from sia.io.output_file import write_json
from sia.io.results import Row

LONGEST_JPEG = 65_500
"""Pixels a side; larger images become PNG."""
LONGEST_NAME = 180
"""Bytes of a file's stem, so that all that is added to it stays below the 255 that a file's name may have."""
REFRESH = 10.0
"""Seconds between two writes of run.json."""


@dataclass
class Tally:
    """What has been done so far, as run.json tells it."""

    images: list[Row] = field(default_factory=list)
    unreadable: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class ImageOutput:
    """Writes results as they come: what was done stays, however the run ends.

    Args:
        folder: exists and is empty; nothing is written before the first image.
        results: all formats of people.
    """

    def __init__(self, folder: Path, results: Results) -> None:
        self.folder, self.results = folder, results
        self.tally = Tally()
        self.sidecar_path = folder / "run.json"
        self._names = set[str]()
        self._written = 0.0

    def write(self, file: Path, image: Image) -> Path:
        """Writes an annotated image under a name of its own; the image is of no use afterwards.

        Raises:
            OutputError: it can't be written.
        """
        path = self.folder / self._name_for(file, max(image.shape[:2]) <= LONGEST_JPEG)
        write_image(path, image, spend=True)
        return path

    def close(self, header: Row, complete: bool) -> None:
        """The last version of all files; run.json begins with ``header``.

        Raises:
            OutputError: one can't be written; the last version of run.json that could be stays.
        """
        self.results.close()
        self.describe(header, complete)

    def is_due(self) -> bool:
        """Whether run.json should be brought up to date."""
        return bool(self.tally.images) and time.monotonic() - self._written > REFRESH

    def describe(self, header: Row, complete: bool = False) -> None:
        """Writes run.json.

        Raises:
            OutputError: it can't be written; the last version that could be stays.
        """
        write_json(self.sidecar_path, {**header, "complete": complete, **vars(self.tally)}, indent=1)
        self._written = time.monotonic()

    def _name_for(self, file: Path, jpeg: bool) -> str:
        """The image's own name, as .png or .jpg, told apart where two of different folders or formats are the same."""
        suffix = ".jpg" if jpeg and file.suffix.lower() != ".png" else ".png"
        stem = file.stem
        if len(stem.encode(errors="surrogateescape")) > LONGEST_NAME:
            stem = stem.encode(errors="replace")[:LONGEST_NAME].decode(errors="ignore")
        name, copy = f"{stem}{suffix}", 1
        while name.lower() in self._names:
            copy += 1
            name = f"{stem}-{copy}{suffix}"
        self._names.add(name.lower())
        return name
