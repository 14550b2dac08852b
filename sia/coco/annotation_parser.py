"""Reads a COCO keypoint file for all people: training, evaluation, the checks, the repairs, splits and merges.

What is right beyond doubt is taken, however it is written, and noted; what is not is a fault. Training and evaluation
stop at the first fault, `scripts/validate_annotations.py` reports all of them: so these can't disagree.
"""

from __future__ import annotations

from typing import Any

from sia.coco.annotation_file import AnnotationFile, Issue
from sia.coco.annotation_people import PeopleReader
from sia.coco.annotation_values import Entry
from sia.errors import DataError, first_line
from sia.skeletons.category import read_lines
from sia.skeletons.skeleton import Skeleton

SECTIONS = ("images", "annotations", "categories")


def parse(content: Any, only: Skeleton | None = None) -> AnnotationFile:
    """Everything that a file says; the content itself stays as it is.

    Args:
        content: as JSON has it.
        only: categories with other keypoints than its own are left out; all of its categories have to be there.
    """
    faults = [Issue("sections", problem) for section in SECTIONS if (problem := _problem(content, section))]
    if faults:
        return AnnotationFile(content if isinstance(content, dict) else {}, faults=faults)
    file = AnnotationFile({**content, **{section: list(content[section]) for section in SECTIONS}})
    _read_categories(file, only)
    for index in range(len(file.content["images"])):
        _read_image(Entry(file, "images", index))
    if file.skeleton is not None:
        PeopleReader(file).read()
    file.faults, file.taken = ([_located(file, issue) for issue in issues] for issues in (file.faults, file.taken))
    return file


def _problem(content: Any, section: str) -> str:
    """What is wrong with a section; empty where nothing is."""
    if not isinstance(content, dict):
        kind = type(content).__name__
        return f"must hold one json object with {', '.join(SECTIONS)}, not a {kind}." if section == SECTIONS[0] else ""
    rows, remedy = content.get(section), "A COCO keypoint file has images, annotations and categories."
    if rows is None:
        return f"section '{section}' is missing. {remedy}"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return f"section '{section}' is not a list of objects. {remedy}"
    return f"section '{section}' is empty. {remedy}" if section == "images" and not rows else ""


def _located(file: AnnotationFile, issue: Issue) -> Issue:
    """With the subject of its message, and the image of its annotation."""
    if issue.row is None and issue.image is None:
        return issue
    section, index = ("images", issue.image) if issue.row is None else ("annotations", issue.row)
    row = file.content[section][index]
    image, key = issue.image, row.get("id")
    if image is None and type(row.get("image_id")) is int:
        image = file.images.get(row["image_id"])
    subject = f"{section[:-1]} {key}" if type(key) is int else f"{section}[{index}]"
    return issue._replace(message=f"{subject} {issue.message}", image=image)


def _read_categories(file: AnnotationFile, only: Skeleton | None) -> None:
    """Which have the skeleton's keypoints."""
    entries = [Entry(file, "categories", index) for index in range(len(file.content["categories"]))]
    unique: dict[int, Entry] = {}
    for entry in entries:
        given, key = entry["id"], entry.whole("id")
        if key is None:
            entry.fault("id", f"categories[{entry.index}] has id {given!r:.40}. Give it an integer.")
        elif unique.setdefault(key, entry) is not entry:
            entry.fault("category-id-twice", f"section 'categories' has id {key} twice. Make the ids unique.")
    file.declared = list(unique)
    posed = [entry for entry in unique.values() if entry["keypoints"] not in (None, [], "", {})]
    found = [(entry["id"], skeleton) for entry in posed if (skeleton := _read_skeleton(entry)) is not None]
    order = list(dict.fromkeys(skeleton.names for _, skeleton in found))
    if only is not None:
        order = [part.names for part in only.parts]
        found = [(key, skeleton) for key, skeleton in found if skeleton.names in order]
        found = found if {skeleton.names for _, skeleton in found} == set(order) else []
    if not posed:
        remedy = "Add the list of keypoint names as 'keypoints' to the category."
        file.faults.append(Issue("skeleton", f"no category declares keypoints. {remedy}"))
    if found:
        file.merged = [key for key, _ in found]
        file.block_of = {key: order.index(skeleton.names) for key, skeleton in found}
        firsts = [next((key, skeleton) for key, skeleton in found if skeleton.names == names) for names in order]
        try:
            file.skeleton = firsts[0][1] if len(firsts) == 1 else Skeleton.join(firsts)
        except DataError as error:
            file.faults.append(Issue("skeleton", first_line(error)))


def _read_skeleton(entry: Entry) -> Skeleton | None:
    name = f"category '{str(entry['name'])[:60]}'"
    try:
        skeleton = Skeleton.from_category(entry.rows[entry.index])
        lines = read_lines(entry["skeleton"], skeleton.names)
    except DataError as error:
        entry.fault("skeleton", f"{name}: {first_line(error)}")
        return None
    names, edges = list(skeleton.names), [[a + 1, b + 1] for a, b in skeleton.edges]
    renamed = entry["keypoints"] != names
    if renamed:
        entry.take("keypoint-names", f"{name} names its keypoints by numbers: taken as texts.")
    if lines.taken:
        entry.take("skeleton-base", f"{name} has its skeleton {lines.taken}: taken as pairs that count from 1.")
    if lines.taken or renamed:
        entry.put(keypoints=names, **({"skeleton": edges} if "skeleton" in entry.rows[entry.index] else {}))
    return skeleton


def _read_image(entry: Entry) -> None:
    """Id, name and size."""
    images, given, key = entry.file.images, entry["id"], entry.whole("id")
    if key is None:
        entry.fault("id", f"has id {given!r:.40}. Give it an integer.")
    elif images.setdefault(key, entry.index) != entry.index:
        entry.fault("image-id-twice", f"has the id of images[{images[key]}], too: make these duplicate ids unique.")
    name = entry["file_name"]
    if not isinstance(name, str) or not name.strip("./\\ ") or "\0" in name:
        entry.fault("image-name", f"has file_name {name!r:.80}. Give a path relative to the image folder.")
    if entry["complete"] is not None and not isinstance(entry["complete"], bool):
        entry.put(complete=entry.flag("complete", "Use true or false."))
    size = []
    for name in ("width", "height"):
        side = entry.whole(name)
        if side is None or not 0 < side < 2**31:
            message = f"has {name} {entry[name]!r:.40}. Give it as a whole number of pixels."
            entry.fault("image-size-missing", message)
            break
        size.append(side)
    entry.file.sizes.append((size[0], size[1]) if len(size) == 2 else None)
