"""What tracking and smoothing bring on synthetic people who move: python benchmarks/smoothing.py --output table.md.

The truth is exact. Detections are made from it: noise in units of each keypoint's own tolerance (COCO's sigmas), people
missed for one to four frames, arms or legs swapped for a moment, scores and confidences that know something of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic.motion import MovingPeople, moving_people

from sia.commands.flags import SMOOTHING
from sia.errors import exit_status
from sia.io.optional import need
from sia.io.output_file import check_new, write_text
from sia.io.results import coco_rows
from sia.people import People
from sia.skeletons.oks import AREA_OF_BOX, oks_terms
from sia.skeletons.skeleton import COCO_PERSON
from sia.tracking.smoother import Smoother, make_smoother
from sia.tracking.tracker import TrackedPeople, Tracker, untracked
from utils.metrics.coco_eval import evaluate

Floats = NDArray[np.float64]
SIGMAS = np.asarray(COCO_PERSON.sigmas)
SURE = 0.3
JITTER = {"strong": 0.3, "middle": 0.7, "weak": 1.4}
"""Noise of a keypoint in its standard deviation of COCO's OKS, 2 sigma sqrt(area)."""
DRIFT = 0.5
"""Fraction of its variance that stays for a while: no filter can take that out."""
LASTS = 0.4
"""Seconds it takes to fall to a third."""
SWAPS = ((7, 8, 9, 10), (13, 14, 15, 16))
Clip = list[TrackedPeople]


def detections(clip: MovingPeople, jitter: float, rng: np.random.Generator) -> list[People]:
    """What a detector of this quality might find in each frame."""
    frames, people = clip.boxes.shape[:2]
    lost = np.zeros((frames, people), dtype=bool)
    for frame, person in zip(*np.nonzero(rng.random((frames, people)) < 0.02), strict=True):
        lost[frame : frame + int(rng.integers(1, 5)), person] = True
    noise = jitter * _noise(clip, rng)
    return [_frame(clip, t, lost[t], noise[t], rng) for t in range(frames)]


def _noise(clip: MovingPeople, rng: np.random.Generator) -> Floats:
    """(T, P, 17, 2) of variance 1."""
    frames, people = clip.boxes.shape[:2]
    fresh, drift = rng.normal(size=(2, frames, people, 17, 2))
    keep = np.exp(-1 / (LASTS * clip.rate))
    for t in range(1, frames):
        drift[t] = keep * drift[t - 1] + np.sqrt(1 - keep**2) * drift[t]
    return np.asarray(np.sqrt(1 - DRIFT) * fresh + np.sqrt(DRIFT) * drift)


def _frame(clip: MovingPeople, frame: int, lost: NDArray[np.bool_], noise: Floats, rng: np.random.Generator) -> People:
    seen = np.flatnonzero(_in_view(clip)[frame] & ~lost)
    found = [_detection(clip.keypoints[frame, p], clip.boxes[frame, p], noise[p], rng) for p in seen]
    if rng.random() < 0.1:  # somebody who isn't there
        found.append(_ghost(clip, rng))
    found.sort(key=lambda person: -person[1])
    if not found:
        return _people([np.zeros((0, 4)), np.zeros(0), np.zeros((0, 17, 2)), np.zeros((0, 17))])
    return _people([np.stack(column) for column in zip(*found, strict=True)])


def _people(columns: Sequence[NDArray[Any]]) -> People:
    return People(*(column.astype(np.float32) for column in columns))


def _detection(truth: Floats, box: Floats, noise: Floats, rng: np.random.Generator) -> tuple[NDArray[Any], ...]:
    """Box, score, keypoints and confidences of one person."""
    area = AREA_OF_BOX * float((box[2:] - box[:2]).prod())
    order = np.arange(17)
    for group in SWAPS:
        if rng.random() < 0.015:
            order[list(group)] = [group[1], group[0], group[3], group[2]]
    points = truth[order, :2] + noise * (2 * SIGMAS * np.sqrt(area))[:, None]
    points[truth[:, 2] == 0] = box[:2] + rng.random(2) * (box[2:] - box[:2])
    close = oks_terms(np.hypot(*(points - truth[:, :2]).T)[None], np.array([area]), SIGMAS)[0]
    close[truth[:, 2] == 0] = 0.05
    confidences = np.clip(0.5 * close + 0.5 * close.mean() + rng.normal(0, 0.1, 17), 0.02, 1)
    score = np.asarray(np.clip(0.3 + 0.6 * close[truth[:, 2] > 0].mean() + rng.normal(0, 0.12), 0.02, 0.99))
    return box + rng.normal(0, 0.02, 4) * np.tile(box[2:] - box[:2], 2), score, points, confidences


def _ghost(clip: MovingPeople, rng: np.random.Generator) -> tuple[NDArray[Any], ...]:
    height, width = clip.size
    corner, side = rng.random(2) * [width, height] * 0.7, float(rng.uniform(30, 150))
    points = corner + rng.random((17, 2)) * side
    return np.concatenate([corner, corner + side]), np.asarray(rng.uniform(0.05, 0.4)), points, np.full(17, 0.2)


def _in_view(clip: MovingPeople) -> NDArray[np.bool_]:
    """(T, P) people of whom at least five keypoints are in the image."""
    return np.asarray((clip.keypoints[..., 2] > 0).sum(-1) >= 5)


def smoothed(clip: MovingPeople, tracked: Clip, kind: str) -> Clip:
    """The clip through one of the smoothers."""
    smoother: Smoother[int] = make_smoother(kind, clip.rate)
    done = [entry for t, people in enumerate(tracked) for entry in smoother.push(t, people, t / clip.rate)]
    return [people for _, _, people in [*done, *smoother.finish()]]


@dataclass
class Figures:
    """Of one clip, or the mean of several.

    Attributes:
        ap: COCO's, all frames as images.
        oks: mean over people found.
        acceleration: mean error of second differences, in percent of the person's size, per frame squared.
        switches: how often a person's id changes, per 100 seconds that somebody is in view.
        purity: fraction of found people who have the id that the person has most of the time.
    """

    ap: float
    oks: float
    acceleration: float
    switches: float
    purity: float


def measure(clip: MovingPeople, tracked: Clip) -> Figures:
    """Compares a clip with the truth; people are matched frame by frame, best OKS first."""
    frames, people = clip.boxes.shape[:2]
    points, ids, oks = np.full((frames, people, 17, 2), np.nan), np.full((frames, people), -1), []
    for t, found in enumerate(tracked):
        for person, row, value in _match(clip, t, found.people):
            points[t, person], ids[t, person] = found.people.keypoints[row], found.ids[row]
            oks.append(value)
    return Figures(_ap(clip, tracked), float(np.mean(oks)), _acceleration(clip, points), *_identity(clip, ids))


def _match(clip: MovingPeople, frame: int, people: People) -> list[tuple[int, int, float]]:
    """Person, row, OKS."""
    seen = np.flatnonzero(_in_view(clip)[frame])
    truth, boxes = clip.keypoints[frame, seen], clip.boxes[frame, seen]
    if not len(seen) or not len(people):
        return []
    apart = truth[:, None, :, :2] - people.keypoints[None]
    areas = AREA_OF_BOX * np.repeat((boxes[:, 2:] - boxes[:, :2]).prod(-1)[:, None], len(people), axis=1)
    terms = oks_terms(np.hypot(apart[..., 0], apart[..., 1]), areas, SIGMAS)
    weights = (truth[..., 2] > 0)[:, None]
    oks = (terms * weights).sum(-1) / weights.sum(-1)
    matches = []
    while oks.max(initial=0.0) >= 0.1:
        best = np.unravel_index(int(oks.argmax()), oks.shape)
        matches.append((int(seen[best[0]]), int(best[1]), float(oks[best])))
        oks[best[0]], oks[:, best[1]] = -1, -1
    return matches


def _acceleration(clip: MovingPeople, points: Floats) -> float:
    """In percent of the square root of the box's area; where both are known in three frames in a row."""
    truth = np.where(clip.keypoints[..., 2:] > 0, clip.keypoints[..., :2], np.nan)
    error = np.diff(points - truth, n=2, axis=0)
    sizes = np.sqrt((clip.boxes[1:-1, :, 2:] - clip.boxes[1:-1, :, :2]).prod(-1)).clip(1)
    return float(np.nanmean(100 * np.hypot(error[..., 0], error[..., 1]) / sizes[..., None]))


def _identity(clip: MovingPeople, ids: NDArray[np.int64]) -> tuple[float, float]:
    switches, same, found, seconds = 0, 0, 0, float(_in_view(clip).sum()) / clip.rate
    for column in ids.T:
        own = column[column > 0]
        switches += int((np.diff(own) != 0).sum())
        same += int(np.unique(own, return_counts=True)[1].max(initial=0))
        found += int((column >= 0).sum())
    return 100 * switches / seconds, same / max(found, 1)


def _ap(clip: MovingPeople, tracked: Clip) -> float:
    annotations = [
        {
            "id": 1 + t * clip.boxes.shape[1] + p, "image_id": t, "category_id": 1, "iscrowd": 0,
            "bbox": [*box[:2], *(box[2:] - box[:2])], "area": AREA_OF_BOX * (box[2:] - box[:2]).prod(),
            "keypoints": clip.keypoints[t, p].ravel().tolist(),
        }
        for t in range(len(tracked)) for p in np.flatnonzero(_in_view(clip)[t]) for box in [clip.boxes[t, p]]
    ]  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names)}
    truth = {"images": [{"id": t} for t in range(len(tracked))], "annotations": annotations, "categories": [category]}
    rows = [row for t, found in enumerate(tracked) for row in coco_rows(found.people, t)]
    return evaluate(truth, rows, COCO_PERSON).AP


def ours(clip: MovingPeople, found: Sequence[People]) -> Clip:
    """Tracked by this project."""
    tracker = Tracker(COCO_PERSON, SURE)
    return [tracker.update(people, t / clip.rate) for t, people in enumerate(found)]


def roboflow(clip: MovingPeople, found: Sequence[People]) -> Clip:
    """Tracked by ByteTrack of the package `trackers`, by boxes alone, with the same thresholds."""
    library, supervision = need("trackers", "--roboflow"), need("supervision", "--roboflow")
    tracker = library.ByteTrackTracker(
        frame_rate=clip.rate, track_activation_threshold=SURE, high_conf_det_threshold=SURE
    )
    clips = []
    for people in found:
        given = supervision.Detections(people.boxes, confidence=people.scores, data={"row": np.arange(len(people))})
        answer = tracker.update(given)
        rows = np.asarray(answer.data.get("row", []), dtype=np.int64)
        ids = np.asarray(answer.tracker_id, dtype=np.int64) + 1  # its ids begin at 0, -1 is none
        kept = (ids > 0) | (people.scores[rows] >= SURE)
        clips.append(_tracked(people, rows[kept], ids[kept]))
    return clips


def _tracked(people: People, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> TrackedPeople:
    order = np.argsort(rows)
    parts = (part[rows[order]] for part in (people.boxes, people.scores, people.keypoints, people.confidences))
    return TrackedPeople(People(*parts), ids[order], np.zeros(len(rows), dtype=bool))


def compare(args: argparse.Namespace) -> list[tuple[str, str, list[Figures]]]:
    """Each quality and way of working: the figures of each clip."""
    ways: dict[str, Callable[[MovingPeople, Sequence[People]], Clip]] = {
        "no tracking": lambda _, found: [untracked(people, SURE) for people in found]
    }
    ways |= {f"--track --smooth {kind}": _way(kind) for kind in SMOOTHING}
    if args.roboflow:
        ways["trackers' ByteTrack"] = roboflow
    table: dict[tuple[str, str], list[Figures]] = {}
    for seed in range(args.seed, args.seed + args.clips):
        clip = moving_people(seed, args.people, args.seconds)
        for quality, jitter in JITTER.items():
            found = detections(clip, jitter, np.random.default_rng((seed, 5)))
            for name, way in ways.items():
                table.setdefault((quality, name), []).append(measure(clip, way(clip, found)))
    return [
        (*key, figures) for key, figures in sorted(table.items(), key=lambda entry: list(JITTER).index(entry[0][0]))
    ]


def _way(kind: str) -> Callable[[MovingPeople, Sequence[People]], Clip]:
    return lambda clip, found: smoothed(clip, ours(clip, found), kind)


def format_table(rows: Sequence[tuple[str, str, list[Figures]]]) -> str:
    """Markdown: means over the clips; for AP and acceleration also in how many clips it is no worse than raw."""
    lines = ["| detector | | AP | OKS | acceleration error | id switches / 100 s | id purity |", "|-|-|-|-|-|-|-|"]
    for quality, name, figures in rows:
        means = [float(np.mean([getattr(f, n) for f in figures])) for n in Figures.__dataclass_fields__]
        ap, oks, acceleration, switches, purity = means
        identity = "- | -" if name == "no tracking" else f"{switches:.1f} | {100 * purity:.1f} %"
        lines.append(f"| {quality} | {name} | {100 * ap:.1f} | {oks:.3f} | {acceleration:.2f} | {identity} |")
    return "\n".join(lines) + "\n"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--clips", type=int, default=6, help="clips to average over (default: %(default)s)")
    parser.add_argument("--people", type=int, default=4, help="people a clip (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a clip (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first clip (default: %(default)s)")
    parser.add_argument("--roboflow", action="store_true", help="compare with ByteTrack of the package trackers")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a new Markdown file for the table")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)

    def job() -> None:
        if args.output:
            check_new(args.output)
        table = format_table(compare(args))
        print(table, end="")
        if args.output:
            write_text(args.output, table)

    return exit_status(job)


if __name__ == "__main__":
    sys.exit(main())
