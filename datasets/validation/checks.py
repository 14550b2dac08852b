"""What can be found in annotations: the table of all checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial


class Severity(str, Enum):
    """How bad it is. An error stops a training and an evaluation; a warning wants a look; a note informs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Check:
    """One kind of defect.

    Attributes:
        severity: how bad it is.
        name: in reports and on the console.
        title: what is wrong, a few words.
        remedy: what to do about it, a sentence.
    """

    severity: Severity
    name: str
    title: str
    remedy: str


_error, _warning, _note = (partial(Check, severity) for severity in Severity)

_ALL = (
    _error("json", "not valid JSON", "Export the annotations again."),
    _error("sections", "a section is missing", "A file needs lists of objects: images, annotations, categories."),
    _error("skeleton", "keypoints of the category can't be used", "Correct the category; see docs/data.md."),
    _error("nobody", "nobody is labelled", "Give annotations with people whose joints are labelled."),
    _error("confidences", "confidences of labels can't be used", "Give a number from 0 to 1 for each keypoint."),
    _error("units", "coordinates are shares, not pixels", "Multiply them by width and height of the image."),
    _error("id", "an id is no whole number", "Give every image and category a whole number as id."),
    _error("image-id-twice", "two images have one id", "Make the ids unique; annotations can't tell which is meant."),
    _error("category-id-twice", "two categories have one id", "Make the ids unique."),
    _error("dangling-image", "annotation of an image that is not there", "Add the image or remove the annotation."),
    _error("dangling-category", "annotation of an unknown category", "Add the category or correct category_id."),
    _error("image-name", "file_name can't be used", "Give a path inside the image folder."),
    _error("image-missing", "image is missing", "Put the image there, or remove it from the file."),
    _error("image-broken", "image can't be decoded", "Replace the image, or remove it from the file."),
    _error("image-size-missing", "width or height is missing", "Write the size in pixels into the file."),
    _error("image-size", "image has another size", "Annotate the image as a viewer shows it (EXIF applied)."),
    _error("flag", "iscrowd or complete is no yes or no", "Write iscrowd as 0 or 1, complete as true or false."),
    _error("keypoints-length", "wrong number of keypoint values", "Give x y v for every keypoint of the category."),
    _error("keypoints-number", "keypoint value is no finite number", "Label the joint again, or set it to 0 0 0."),
    _error("visibility", "visibility is not 0, 1 or 2", "Use 0 (unlabelled), 1 (hidden) or 2 (seen)."),
    _error("bbox-malformed", "box is malformed", "Give x y width height as four numbers, in pixels."),
    _error("area-malformed", "area is no number or below 0", "Give the pixels that the person covers."),
    _error("split-same-image", "image is in the other split too", "Remove it from one: figures would be too good."),
    _warning("flips-unknown", "nothing is mirrored", "Declare flip_pairs ([]: every point is its own mirror image)."),
    _warning("skeleton-order", "COCO's keypoints in another order", "Put names and values into COCO's order."),
    _warning("skeleton-base", "skeleton lines in other words", "COCO has pairs of numbers from 1 on."),
    _warning("keypoint-names", "names of keypoints are numbers", "COCO has texts."),
    _warning("written-otherwise", "number or flag in another type", "COCO has numbers; iscrowd is 0 or 1."),
    _warning("annotation-id", "annotation without a usable id", "Number the annotations."),
    _warning("annotation-id-twice", "two annotations have one id", "Make the ids unique."),
    _warning("image-name-foreign", "file_name is of another computer", "Give a path inside the image folder."),
    _warning("bbox-corners", "boxes are x1 y1 x2 y2, it seems", "COCO has x y width height; look at them."),
    _warning("units-percent", "coordinates are percent, it seems", "COCO has pixels; look at them."),
    _warning("bbox-rotated", "box was turned", "Draw the upright box around the person."),
    _warning("bbox-missing", "no box", "Taken from the labelled joints."),
    _warning("bbox-empty", "box without area", "Taken from the labelled joints."),
    _warning("person-empty", "neither a box nor a labelled joint", "Left out; remove the annotation."),
    _warning("area-missing", "no area, or 0", "COCO's tools need it; SIA Pose takes 0.53 of the box."),
    _warning("joint-outside-image", "labelled joint outside the image", "Taken as unlabelled; move it inside."),
    _warning("image-twice", "image is in the file twice", "Keep one of the two and merge their annotations."),
    _warning("unlabelled-with-place", "v = 0 with x, y other than 0", "Write 0 0 0, or set v."),
    _warning("joint-at-origin", "labelled joint at (0, 0)", "Not labelled, very likely: write 0 0 0."),
    _warning("num-keypoints", "num_keypoints is wrong", "Count the joints with v > 0."),
    _warning("joint-outside-box", "seen joint outside the box", "Correct the box or the joint."),
    _warning("area-of-box", "area doesn't fit the box", "Area counts the person's pixels: 5 to 100 % of the box."),
    _warning("bbox-outside-image", "box leaves the image", "Cut it at the border."),
    _warning("person-twice", "person is annotated twice", "Remove one (--fix removes exact copies only)."),
    _warning("left-right", "left and right are swapped, it seems", "Left is the person's own left; look at it."),
    _warning("limb", "limb is very long for this person", "Look whether both joints belong to this person."),
    _warning("joints-at-one-point", "several joints at one point", "Label each joint where it is, or not at all."),
    _warning("crowd-with-keypoints", "crowd region with keypoints", "A crowd has none; or it is a person."),
    _warning("person-missing", "person without annotation, it seems", "Annotate, or say 'complete': false."),
    _warning("flip-pair", "a side has no counterpart", "Declare flip_pairs in the category."),
    _warning("split-similar-image", "nearly the same image in the other split", "Look; keep both in one split."),
    _warning("split-same-video", "frames of one video in both splits", "Put all frames of a video into one split."),
    _note("flips-inferred", "flip pairs are taken from the names", "Nothing to do if they are right."),
    _note("sigmas-inferred", "sigmas are not declared", "Declare them where OKS matters."),
    _note("own-skeleton", "keypoints are not COCO's", "Nothing to do if that is meant."),
    _note("never-labelled", "keypoint is never labelled", "A model can't learn it; leave it out of the skeleton."),
    _note("never-hidden", "no joint is labelled as hidden", "Nothing to do if hidden joints are left out or v is 2."),
)

CHECKS: dict[str, Check] = {check.name: check for check in _ALL}
"""All checks by name, the worst first."""
