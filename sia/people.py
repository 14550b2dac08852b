"""The people found in one image.

Coordinates are continuous: x to the right, y down, pixel i covers [i, i + 1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sia.errors import ConfigError

if TYPE_CHECKING:
    from sia.skeletons.skeleton import Skeleton

Rows = slice | Sequence[int] | Sequence[bool] | NDArray[np.bool_] | NDArray[np.integer[Any]]
"""What chooses several of the people, as NumPy takes it."""


class Person(NamedTuple):
    """One of the people.

    Attributes:
        box: (4,) float32, x1 y1 x2 y2.
        score: in [0, 1].
        keypoints: (K, 2) float32, x, y.
        confidences: (K,) float32 in [0, 1].
        id: that of its track from 1 on, 0 where it was seen in one frame so far, None without tracking.
        visibilities: (K,) float32 in [0, 1], None where the weights don't tell.
        sigmas: (K,) float32 in pixels, likewise.
    """

    box: NDArray[np.float32]
    score: float
    keypoints: NDArray[np.float32]
    confidences: NDArray[np.float32]
    id: int | None
    visibilities: NDArray[np.float32] | None = None
    sigmas: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Source:
    """Where people were found.

    Attributes:
        skeleton: what their keypoints mean.
        size: height and width of the image in pixels.
        path: file, address or glob's match; None for an array, a tensor or an image of Pillow.
        pixels: (H, W, 3) uint8 RGB; None where the image is read again from `path` when it is needed.
        frame: number in the video, from 0 on; None for images.
        time: seconds since the start of the video; None for images.
        name: of the image below the folder that all of a call or a stream share, with forward slashes; None where the
            image has no name.
    """

    skeleton: Skeleton
    size: tuple[int, int]
    path: str | None = None
    pixels: NDArray[np.uint8] | None = None
    frame: int | None = None
    time: float | None = None
    name: str | None = None


@dataclass(frozen=True, repr=False)
class People:
    """The N people of one image, best score first, in original pixels.

    An integer gives a `Person`, a slice, a mask or a list of integers fewer `People`; iteration gives each `Person`.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2.
        scores: (N,) float32 in [0, 1], the model's own estimate of how well the person is found.
        keypoints: (N, K, 2) float32, x, y; may lie outside the image.
        confidences: (N, K) float32 in [0, 1], expected closeness of each keypoint.
        ids: (N,) int64 from 1 on, 0 for someone seen in a single frame so far; None without tracking.
        source: the image; None in training and evaluation, which need no more than the numbers.
        agreement: (N,) OKS between two looks at the same person: at the image and its mirror image, or before and after
            the stages of a pipeline; None where nobody looked twice.
        visibilities: (N, K) float32 in [0, 1], how likely each keypoint is visible rather than hidden by something, if
            it is in the image at all; None where the weights don't tell.
        sigmas: (N, K) float32, standard deviation of x, and of y, in pixels: 68 % of the errors are smaller. None
            where the weights don't tell.
        repetitions: (N,) int64, how often each has done what is counted in a video; None where nothing is.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    confidences: NDArray[np.float32]
    ids: NDArray[np.int64] | None = None
    source: Source | None = None
    agreement: NDArray[np.float64] | None = None
    visibilities: NDArray[np.float32] | None = None
    sigmas: NDArray[np.float32] | None = None
    repetitions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, which: int) -> Person: ...

    @overload
    def __getitem__(self, which: Rows) -> People: ...

    def __getitem__(self, which: int | Rows) -> Person | People:
        if isinstance(which, int | np.integer):
            number = None if self.ids is None else int(self.ids[which])
            score = float(self.scores[which])
            told = (None if part is None else part[which] for part in (self.visibilities, self.sigmas))
            return Person(self.boxes[which], score, self.keypoints[which], self.confidences[which], number, *told)
        rows = which if isinstance(which, slice) else np.asarray(which, None if len(which) else np.intp)
        numbers = (self.boxes[rows], self.scores[rows], self.keypoints[rows], self.confidences[rows])
        each: tuple[NDArray[Any] | None, ...] = (
            self.ids, self.agreement, self.visibilities, self.sigmas, self.repetitions,
        )  # fmt: skip
        ids, *rest = (None if part is None else part[rows] for part in each)
        return People(*numbers, ids, self.source, *rest)

    def __iter__(self) -> Iterator[Person]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        scores = ", ".join(f"{score:.2f}" for score in self.scores[:5]) + (", ..." if len(self) > 5 else "")
        place = "" if self.source is None else f" in {self.source.path or 'an image'}"
        return f"<People: {len(self)}{place}, {self.keypoints.shape[1]} keypoints, scores [{scores}]>"

    def above(self, threshold: float) -> People:
        """Those whose score is at least the threshold."""
        return self[self.scores >= threshold]

    @property
    def skeleton(self) -> Skeleton:
        """Names, edges and flip pairs of the keypoints."""
        return self._source().skeleton

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """(N,) index in ``skeleton.categories`` of each: that of its surest keypoint; 0 where there is one."""
        return self.skeleton.class_ids(self.confidences)

    @property
    def class_names(self) -> list[str]:
        """The names of the categories of the N."""
        return self.skeleton.classes(self.confidences)

    @property
    def path(self) -> str | None:
        """File or address of the image or video; None where an image was given itself."""
        return self._source().path

    @property
    def frame(self) -> int | None:
        """Number in the video, from 0 on; None for images."""
        return self._source().frame

    @property
    def time(self) -> float | None:
        """Seconds since the start of the video; None for images."""
        return self._source().time

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB. An image that came from a file is read again: results don't hold their images.

        Raises:
            DataError: the file is gone or broken by now.
        """
        source = self._source()
        if source.pixels is not None:
            return source.pixels
        from sia.io.images import read_image

        return read_image(Path(str(source.path)))

    def blur_faces(self) -> People:
        """The same people in an image with their heads blurred, which `image`, `plot` and `save` then take.

        Call the model with a low ``conf``, such as 0.2, so that no doubtful person is left out.

        Raises:
            DataError: the file of the image is gone or broken by now.
        """
        from sia.drawing.faces import blur_boxes, head_boxes

        pixels = self.image.copy()
        blur_boxes(pixels, head_boxes(self, self.skeleton))
        return replace(self, source=replace(self._source(), pixels=pixels))

    def plot(self, kpt_thresh: float = 0.3, boxes: bool = True) -> NDArray[np.uint8]:
        """The image with the people on it, each in the colour of its id where there are ids.

        Args:
            kpt_thresh: keypoints less confident than this, in [0, 1], and the limbs that end there, are left out.
            boxes: whether to draw boxes with scores.

        Returns:
            (H, W, 3) uint8 RGB, a new array.

        Raises:
            DataError: the file of the image is gone or broken by now.
        """
        from sia.drawing.annotator import PoseAnnotator
        from sia.drawing.tracks import id_labels

        skeleton = self.skeleton
        labels = None
        if self.ids is not None:
            labels = id_labels(self.class_names, self.ids.tolist(), self, [False] * len(self))
        return PoseAnnotator(skeleton, kpt_thresh, boxes).draw(self.image, self, labels)

    def save(self, path: str | Path, kpt_thresh: float = 0.3) -> Path:
        """Writes `plot` as an image in the format of the suffix, such as ``out.jpg`` or ``out.png``.

        Raises:
            OutputError: it can't be written.
            DataError: the file of the image is gone or broken by now.
        """
        from sia.io.images import write_image

        path = Path(path)
        write_image(path, self.plot(kpt_thresh), spend=True)
        return path

    def to_coco(self, image_id: int = 1, category_id: int | Sequence[int] = 1) -> list[dict[str, Any]]:
        """Rows of a COCO keypoint results file: image_id, category_id, score, bbox (x, y, width, height), keypoints.

        COCO's tools read the third number of each keypoint as visibility; here it is its confidence. Of several
        categories ``category_id`` has the id of each; by default they are those of the training's annotations.
        """
        from sia.io.results import coco_rows

        return coco_rows(self, self.skeleton, image_id, category_id)

    def to_json(self, indent: int | None = None) -> str:
        """One JSON object: path, width, height, frame and time of the image, names and edges of keypoints, people.

        Each of ``people`` has score, bbox (x, y, width, height), keypoints (x, y, confidence, ...), where the weights
        tell them visibilities and sigmas, and, with tracking, id. Of several categories also ``category``, and only
        its own keypoints: those of ``names`` that are ``CATEGORY.NAME``.
        """
        from sia.io.results import person_rows

        source, rows = self._source(), person_rows(self, self.skeleton)
        if self.ids is not None:
            rows = [{"id": number or None, **row} for number, row in zip(self.ids.tolist(), rows, strict=True)]
        about = {"path": source.path, "height": source.size[0], "width": source.size[1]}
        video = {} if source.frame is None else {"frame": source.frame, "time": source.time}
        skeleton = {"names": source.skeleton.names, "edges": source.skeleton.edges}
        return json.dumps({**about, **video, **skeleton, "people": rows}, indent=indent, allow_nan=False)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row a person.

        Columns: ``score``, ``x1``, ``y1``, ``x2``, ``y2``, for each keypoint ``NAME_x``, ``NAME_y`` and
        ``NAME_confidence``, where the weights tell them ``NAME_visibility`` and ``NAME_sigma``, with tracking ``id``,
        and of several categories ``category``.

        Raises:
            ConfigError: the package pandas is missing.
        """
        from sia.formats.table import person_columns
        from sia.io.optional import need

        return need("pandas", "to_pandas()").DataFrame(person_columns(self))

    def to_supervision(self) -> Any:
        """A `supervision.KeyPoints`; ids are its ``data["tracker_id"]``, sigmas its ``data["covariance"]``, if any.

        ``class_id`` is `class_ids`; of several categories ``data["class_name"]`` names them, and keypoints that aren't
        their own are at (0, 0), which its annotators leave out.

        Raises:
            ConfigError: the package supervision is missing.
        """
        from sia.io.optional import need

        data: dict[str, Any] = {} if self.ids is None else {"tracker_id": self.ids}
        if self.sigmas is not None:  # (N, K, 2, 2), as its annotators of ellipses take it
            data["covariance"] = self.sigmas[..., None, None] ** 2 * np.eye(2, dtype=np.float32)
        skeleton = self.skeleton
        if skeleton.categories:
            data["class_name"] = np.array(self.class_names)
        return need("supervision", "to_supervision()").KeyPoints(
            xy=np.where(skeleton.own(self.confidences)[..., None], self.keypoints, np.float32(0)),
            class_id=self.class_ids,
            keypoint_confidence=self.confidences,
            detection_confidence=self.scores,
            data=data,
        )

    def _source(self) -> Source:
        if self.source is None:
            raise ConfigError("These people are bare numbers: only those that sia.load() finds know their image.")
        return self.source
