"""A COCO annotation file of what was found, to be corrected and trained on."""

from __future__ import annotations

from typing import Any

from sia.formats.writer import Record, ResultWriter, labelled
from sia.io.output_file import write_json
from sia.io.results import category_ids, rounded
from sia.skeletons.oks import AREA_OF_BOX


class CocoAnnotations(ResultWriter):
    """``images``, ``annotations`` and ``categories``; v is that of `labelled`; a training counts each
    keypoint by its ``keypoint_confidences`` until they are taken away.

    It is held in memory until `close`.
    """

    SUFFIX = "-annotations.json"
    CLASSES = True
    _images: list[dict[str, Any]]
    _people: list[dict[str, Any]]

    def add(self, record: Record) -> None:
        """Adds an image or frame."""
        if not hasattr(self, "_images"):
            self._images, self._people = [], []
        height, width = record.size
        self._images.append({"id": record.image_id, "file_name": record.name, "width": width, "height": height})
        people, seen = labelled(record.people, self.about.kpt_thresh)
        skeleton, ids = self.about.skeleton, [*category_ids(self.about.skeleton, self.about.category).values()]
        blocks = skeleton.class_ids(people.confidences).tolist()
        for person, flags, block in zip(people, seen.tolist(), blocks, strict=True):
            x1, y1, x2, y2 = person.box.tolist()
            own = skeleton.blocks[block]
            v, placed = flags[own], zip(person.keypoints[own], flags[own], strict=True)
            points = [(x, y, flag) if flag else (0, 0, 0) for (x, y), flag in placed]
            self._people.append({
                "id": len(self._people) + 1, "image_id": record.image_id, "category_id": ids[block],
                "iscrowd": 0, "bbox": rounded((x1, y1, x2 - x1, y2 - y1)), "area": AREA_OF_BOX * (x2 - x1) * (y2 - y1),
                "keypoints": rounded(value for point in points for value in point),
                "num_keypoints": sum(flag > 0 for flag in v), "score": round(person.score, 6),
                "keypoint_confidences": rounded(person.confidences[own]),
            })  # fmt: skip

    def close(self) -> None:
        """Writes the file."""
        if not hasattr(self, "_images"):
            return
        info = {"description": "found by a model, not labelled by people", **self.about.short()}
        skeleton = self.about.skeleton
        ids = category_ids(skeleton, self.about.category).values()
        categories = [part.to_category(number) for part, number in zip(skeleton.parts, ids, strict=True)]
        content = {"info": info, "images": self._images, "annotations": self._people, "categories": categories}
        write_json(self.path, content)
