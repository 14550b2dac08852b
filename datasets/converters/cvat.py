"""CVAT's XML, "CVAT for images 1.1" (https://docs.cvat.ai/docs/other/xml_format/): skeletons, or points in groups."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from datasets.converters.coco_writer import CocoWriter, Joint, close_match, order_of_names
from sia.coco.annotation_values import Box
from sia.errors import DataError
from sia.io.input_file import check_input_file
from sia.skeletons.skeleton import COCO_PERSON, Skeleton


def import_cvat(file: Path, wanted: Skeleton | None = None) -> CocoWriter:
    """All images and people of an export.

    These are people: a ``<skeleton>``; ``<points>`` of one group whose labels are keypoints; ``<points>`` of the
    person's label with a point for each keypoint; a ``<box>`` of that label in no group. A box in the group of a person
    is that person's box; where an image has one person and one box in no group, they belong together. ``outside``
    points are not labelled, ``occluded`` ones are hidden (v = 1).

    Args:
        file: annotations.xml of the export.
        wanted: keypoints and category; without it they are taken from the file.

    Raises:
        DataError: what is wrong, at which image, and how to fix it.
    """
    root = parse_xml(file)
    if root.tag != "annotations":
        raise DataError(
            f"{file}: its outermost element is <{root.tag}>, not <annotations>. Give CVAT's annotations.xml."
        )
    if root.find("track") is not None:
        raise DataError(f"{file}: this is 'CVAT for video'. Export it as 'CVAT for images 1.1'.")
    writer = CocoWriter(file, wanted or _skeleton(file, root))
    for image in root.iter("image"):
        _Image(writer, image).read()
    return writer


def parse_xml(file: Path) -> Element:
    """The root element. Files with a DTD are refused: CVAT writes none, and entities can fill the memory.

    Raises:
        DataError: unreadable, cut off, not XML, or with a DTD.
    """

    def refuse(*_: object) -> NoReturn:
        raise DataError(f"{file}: it has a <!DOCTYPE>, which CVAT never writes and which can be an attack. Remove it.")

    check_input_file(file, "Check --input.")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(file.read_bytes(), True)
    except OSError as error:
        raise DataError(f"{file}: can't read it ({error.strerror}). Check --input.") from None
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{file}: it is cut off or not XML ({error}). Export it again.") from None
    return builder.close()


def _skeleton(file: Path, root: Element) -> Skeleton:
    """From the labels in ``<meta>``; COCO's where the names are."""
    labels = [label for label in root.iter("label") if label.find("name") is not None]
    children = [(label.findtext("parent"), label.findtext("name") or "") for label in labels]
    parents = list(dict.fromkeys(parent for parent, _ in children if parent))
    if len(parents) > 1:
        several = ", ".join(map(repr, parents))
        raise DataError(f"{file}: it has several skeletons: {several}. Name one with --category FILE.")
    if not parents:
        return COCO_PERSON
    names = [name for parent, name in children if parent == parents[0]]
    drawing = next((label.findtext("svg") or "" for label in labels if label.findtext("name") == parents[0]), "")
    return order_of_names(names, _edges(drawing, names), parents[0])


def _edges(drawing: str, names: list[str]) -> list[tuple[int, int]]:
    """The lines of the drawing of a skeleton; none where it doesn't say whose nodes they join."""
    nodes: dict[str, int] = {}
    for circle in re.findall(r"<circle[^>]*>", drawing):
        found = dict(re.findall(r'data-([a-z-]+)="([^"]*)"', circle))
        if found.get("label-name") in names and "node-id" in found:
            nodes[found["node-id"]] = names.index(found["label-name"])
    lines = [dict(re.findall(r'data-node-(from|to)="([^"]*)"', line)) for line in re.findall(r"<line[^>]*>", drawing)]
    ends = [(nodes.get(line.get("from", "")), nodes.get(line.get("to", ""))) for line in lines]
    return [(a, b) for a, b in ends if a is not None and b is not None]


class _Image:
    """Reads one ``<image>``."""

    def __init__(self, writer: CocoWriter, element: Element) -> None:
        self.writer, self.element = writer, element
        self.skeleton = writer.skeleton
        self.name = (element.get("name") or "").replace("\\", "/")

    def fail(self, message: str) -> NoReturn:
        raise DataError(f"{self.writer.source}: image {self.name!r}: {message}")

    def read(self) -> None:
        width, height = (self._number(self.element, key) for key in ("width", "height"))
        image_id, category = self.writer.add_image(self.name, int(width), int(height)), self.skeleton.category
        people, boxes = self._people(), self._boxes()
        alone = [sum(not group for group, *_ in found) for found in (people, boxes)] == [1, 1]
        for group, joints in people:
            own = next((box for box in boxes if box[0] == group and (group or alone)), None)
            self.writer.add_person(image_id, joints, own[2] if own else None)
            boxes = [box for box in boxes if box is not own]
        for _, label, box in boxes:
            if label != category:
                self.writer.report[f"left out: <box> of label '{label}'"] += 1
                continue
            self.writer.report["boxes that are grouped with no joints: people without keypoints"] += 1
            self.writer.add_person(image_id, {}, box)

    def _people(self) -> list[tuple[str, dict[str, Joint]]]:
        """Group (empty for none) and joints of each."""
        people: list[tuple[str, dict[str, Joint]]] = []
        groups: dict[str, dict[str, Joint]] = {}
        for shape in self.element:
            group, ours = shape.get("group_id") or "", shape.get("label") == self.skeleton.category
            if shape.tag == "skeleton" and ours:
                people.append((group, {}))
                for point in shape.iter("points"):
                    self._put(people[-1][1], point)
            elif shape.tag == "points" and ours:
                people.append((group, self._row_of_points(shape)))
            elif shape.tag == "points":
                self._put(groups.setdefault(group, {}), shape)
            elif shape.tag != "box":
                label = f" of label '{shape.get('label')}'" if shape.tag == "skeleton" else ""
                self.writer.report[f"left out: <{shape.tag}>{label}"] += 1
        return [*people, *groups.items()]

    def _put(self, joints: dict[str, Joint], shape: Element) -> None:
        name = shape.get("label") or ""
        if name not in self.skeleton.names:
            self.fail(f"unknown keypoint '{name}'{close_match(name, self.skeleton.names)}.")
        if name in joints:
            self.fail(f"one person has '{name}' twice. Group the points of each person (group_id).")
        points = self._points(shape)
        if len(points) != 1:
            self.fail(f"'{name}' has {len(points)} points, not one.")
        joints[name] = (*points[0], _visibility(shape))

    def _row_of_points(self, shape: Element) -> dict[str, Joint]:
        points, names = self._points(shape), self.skeleton.names
        if len(points) != len(names):
            self.fail(f"a '{self.skeleton.category}' has {len(points)} points, but there are {len(names)} keypoints.")
        return {name: (*point, _visibility(shape)) for name, point in zip(names, points, strict=True)}

    def _points(self, shape: Element) -> list[tuple[float, float]]:
        text = shape.get("points") or ""
        try:
            pairs = [tuple(map(float, pair.split(","))) for pair in text.split(";")]
            return [(x, y) for x, y in pairs]
        except ValueError:
            self.fail(f"points '{text:.40}' of '{shape.get('label')}' are not x,y;x,y;... Export again.")

    def _boxes(self) -> list[tuple[str, str, Box]]:
        """Group (empty for none), label, and x, y, width, height; of other labels only what is in a group."""
        boxes = []
        for shape in self.element.iter("box"):
            group, label = shape.get("group_id") or "", shape.get("label") or ""
            left, top, right, bottom = (self._number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
            if group or label == self.skeleton.category:
                boxes.append((group, label, self._upright(shape, (left, top, right - left, bottom - top))))
            else:
                self.writer.report[f"left out: <box> of label '{label}'"] += 1
        return boxes

    def _upright(self, shape: Element, box: Box) -> Box:
        """The upright box around one that is turned about its centre (``rotation``, in degrees)."""
        angle = math.radians(self._number(shape, "rotation")) if shape.get("rotation") else 0.0
        if math.sin(angle) == 0:
            return box
        self.writer.report["boxes that were turned: the upright box around each is taken"] += 1
        x, y, width, height = box
        cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
        wide, high = width * cosine + height * sine, width * sine + height * cosine
        return (x + (width - wide) / 2, y + (height - high) / 2, wide, high)

    def _number(self, element: Element, key: str) -> float:
        try:
            number = float(element.get(key) or "")
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"<{element.tag}> has {key} {element.get(key)!r}, which is no number. Export again.")
        return number


def _visibility(shape: Element) -> int:
    if shape.get("outside") == "1":
        return 0
    return 1 if shape.get("occluded") == "1" else 2
