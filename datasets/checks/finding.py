"""What can be found in annotations: the table of all checks, and one finding of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(str, Enum):
    """How bad it is. An error stops a training or falsifies its figures; a warning wants a look; a note informs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Check:
    """One kind of defect.

    Attributes:
        name: in reports and on the console.
        severity: how bad it is.
        title: what is wrong, a few words.
        remedy: what to do about it, a sentence.
        mended: whether ``--fix`` repairs it.
    """

    name: str
    severity: Severity
    title: str
    remedy: str
    mended: bool = False


@dataclass(frozen=True)
class Finding:
    """One defect at one place.

    Attributes:
        check: name of the check.
        message: what was found, with the values.
        image: index of the image in the file, None where it concerns no single image.
        row: index of the annotation in the file, None where it concerns no single annotation.
        joints: indices of the keypoints it is about.
    """

    check: str
    message: str
    image: int | None = None
    row: int | None = None
    joints: tuple[int, ...] = ()

    @property
    def severity(self) -> Severity:
        """That of its check."""
        return CHECKS[self.check].severity


def _error(name: str, title: str, remedy: str, mended: bool = False) -> Check:
    return Check(name, Severity.ERROR, title, remedy, mended)


def _warning(name: str, title: str, remedy: str, mended: bool = False) -> Check:
    return Check(name, Severity.WARNING, title, remedy, mended)


def _note(name: str, title: str, remedy: str) -> Check:
    return Check(name, Severity.NOTE, title, remedy)


_ALL = (
    _error("json", "not valid JSON", "Export the annotations again."),
    _error("sections", "a section is missing", "A file needs lists of objects: images, annotations, categories."),
    _error("skeleton", "keypoints of the category can't be used", "Correct the category; see docs/data.md."),
    _error("skeleton-order", "COCO's keypoints in another order", "Put names and values into COCO's order."),
    _error("skeleton-base", "skeleton lines count from 0", "COCO counts keypoints from 1.", True),
    _error("id", "an id is no whole number", "Give every entry a whole number as id."),
    _error("image-id-twice", "two images have one id", "Make the ids unique; annotations can't tell which is meant."),
    _error("annotation-id-twice", "two annotations have one id", "Make the ids unique.", True),
    _error("category-id-twice", "two categories have one id", "Make the ids unique."),
    _error("dangling-image", "annotation of an image that is not there", "Add the image or remove the annotation."),
    _error("dangling-category", "annotation of an unknown category", "Add the category or correct category_id."),
    _error("image-name", "file_name can't be used", "Give a path inside the image folder."),
    _error("image-missing", "picture is missing", "Put the picture there, or remove it from the file."),
    _error("image-broken", "picture can't be decoded", "Replace the picture, or remove it from the file."),
    _error("image-size-missing", "width or height is missing", "Write the size in pixels into the file.", True),
    _error("image-size", "picture has another size", "Annotate the picture as a viewer shows it (EXIF applied)."),
    _error("keypoints-length", "wrong number of keypoint values", "Give x y v for every keypoint of the category."),
    _error("keypoints-number", "keypoint value is no finite number", "Label the joint again, or set it to 0 0 0."),
    _error("visibility", "visibility is not 0, 1 or 2", "Use 0 (unlabelled), 1 (hidden) or 2 (seen)."),
    _error("joint-outside-image", "labelled joint outside the picture", "Move it inside, or set it to 0 0 0."),
    _error("bbox-missing", "box is missing or malformed", "Give x y width height as four numbers."),
    _error("bbox-empty", "box without area", "Draw the box again: width and height must be above 0."),
    _error("area-empty", "area is not above 0", "Give the pixels that the person covers; OKS divides by it."),
    _error("split-same-image", "picture is in the other split too", "Remove it from one: figures would be too good."),
    _warning("area-missing", "no area", "Add it: COCO's tools need it; SIA Pose takes 0.53 of the box."),
    _warning("image-twice", "picture is in the file twice", "Keep one of the two and merge their annotations."),
    _warning("unlabelled-with-place", "v = 0 with x, y other than 0", "Write 0 0 0, or set v.", True),
    _warning("joint-at-origin", "labelled joint at (0, 0)", "Not labelled, very likely: write 0 0 0.", True),
    _warning("num-keypoints", "num_keypoints is wrong", "Count the joints with v > 0.", True),
    _warning("joint-outside-box", "seen joint outside the box", "Correct the box or the joint."),
    _warning("area-of-box", "area doesn't fit the box", "Area counts the person's pixels: 5 to 100 % of the box."),
    _warning("bbox-outside-image", "box leaves the picture", "Cut it at the border.", True),
    _warning("person-twice", "person is annotated twice", "Remove one (--fix removes exact copies only).", True),
    _warning("left-right", "left and right are swapped, it seems", "Left is the person's own left; look at it."),
    _warning("limb", "limb is very long for this person", "Look whether both joints belong to this person."),
    _warning("joints-at-one-point", "several joints at one point", "Label each joint where it is, or not at all."),
    _warning("crowd-with-keypoints", "crowd region with keypoints", "A crowd has none; or it is a person."),
    _warning("person-missing", "person without annotation, it seems", "Annotate, or say 'complete': false."),
    _warning("flip-pair", "a side has no counterpart", "Declare flip_pairs in the category."),
    _warning("split-similar-image", "nearly the same picture in the other split", "Look; keep both in one split."),
    _warning("split-same-video", "frames of one video in both splits", "Put all frames of a video into one split."),
    _note("own-skeleton", "keypoints are not COCO's", "Nothing to do if that is meant."),
    _note("never-labelled", "keypoint is never labelled", "A model can't learn it; leave it out of the skeleton."),
    _note("never-hidden", "no joint is labelled as hidden", "Nothing to do if hidden joints are left out or v is 2."),
)

CHECKS: dict[str, Check] = {check.name: check for check in _ALL}
"""All checks by name, the worst first."""
