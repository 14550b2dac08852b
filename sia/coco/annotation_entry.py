"""One row of an annotation file while it is read: what is noted about it, and values that are put right on the way."""

from __future__ import annotations

from typing import Any

from sia.coco.annotation_file import AnnotationFile, Issue
from sia.coco.annotation_values import read_flag, read_whole


class Entry:
    """One row of a section while it is read; one that is changed becomes a copy."""

    def __init__(self, file: AnnotationFile, section: str, index: int) -> None:
        self.file, self.rows, self.index = file, file.content[section], index
        self.image = index if section == "images" else None
        self.row = index if section == "annotations" else None

    def __getitem__(self, key: str) -> Any:
        return self.rows[self.index].get(key)

    def put(self, **values: Any) -> None:
        """Changes the row."""
        self.rows[self.index] = {**self.rows[self.index], **values}

    def fault(self, check: str, message: str) -> None:
        """Notes what nobody can take."""
        self.file.faults.append(Issue(check, message, self.image, self.row))

    def take(self, check: str, message: str, **values: Any) -> None:
        """Notes what is taken for right, and puts it there."""
        self.file.taken.append(Issue(check, message, self.image, self.row))
        if values:
            self.put(**values)

    def whole(self, key: str) -> int | None:
        """An integer, which the row then has as such; None where it is none."""
        given = self[key]
        value = read_whole(given)
        if value is not None and type(given) is not int:
            self.take("written-otherwise", f"has {key} {given!r:.40}: taken as {value}.", **{key: value})
        return value

    def flag(self, key: str, remedy: str) -> bool:
        """A flag; one that is neither is a fault."""
        given = self[key]
        value = read_flag(given)
        if value is None:
            self.fault("flag", f"has {key} {given!r:.40}. {remedy}")
        elif isinstance(given, str):
            self.take("written-otherwise", f"has {key} {given!r:.40}: taken as {int(value)}.", **{key: int(value)})
        return bool(value)
