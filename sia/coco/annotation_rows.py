"""What all readers of rows of an annotation file share: their remarks, and values that are put right on the way."""

from __future__ import annotations

from sia.coco.annotation_file import AnnotationFile, Remark, Row
from sia.coco.annotation_values import flag as read_flag
from sia.coco.annotation_values import whole as read_whole


class RowReader:
    """Reads rows of a file that it fills; rows that are changed are copies.

    Args:
        file: gets the remarks.
    """

    def __init__(self, file: AnnotationFile) -> None:
        self.file = file

    def fault(self, check: str, message: str, *, image: int | None = None, row: int | None = None) -> None:
        """Notes what nobody can take."""
        self.file.faults.append(Remark(check, message, image, row))

    def take(self, check: str, message: str, *, image: int | None = None, row: int | None = None) -> None:
        """Notes what is taken for right."""
        self.file.taken.append(Remark(check, message, image, row))

    def whole(self, rows: list[Row], index: int, key: str, **place: int) -> int | None:
        """An integer of a row, which then has it as such; None where it is none."""
        given = rows[index].get(key)
        value = read_whole(given)
        if value is not None and type(given) is not int:
            self.take("written-otherwise", f"has {key} {given!r:.40}: taken as {value}.", **place)
            rows[index] = {**rows[index], key: value}
        return value

    def flag(self, rows: list[Row], index: int, key: str, remedy: str, place: dict[str, int]) -> bool:
        """A flag of a row; one that is neither is a fault."""
        given = rows[index].get(key)
        value = read_flag(given)
        if value is None:
            self.fault("flag", f"has {key} {given!r:.40}. {remedy}", **place)
        elif isinstance(given, str):
            self.take("written-otherwise", f"has {key} {given!r:.40}: taken as {int(value)}.", **place)
            rows[index] = {**rows[index], key: int(value)}
        return bool(value)
