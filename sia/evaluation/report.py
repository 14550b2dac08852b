"""An evaluation as a whole: its table, its JSON and its page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sia.coco.annotated_images import AnnotatedImages
from sia.coco.coco_files import GroundTruth, Row
from sia.drawing.html_page import html_page
from sia.evaluation.cases import GROUPS, choose_cases, describe_cases, find_cases
from sia.evaluation.coco_eval import Metrics, score
from sia.evaluation.curves import curves
from sia.evaluation.error_kinds import GOOD, KINDS, ErrorAnalysis
from sia.evaluation.keypoint_scores import percent
from sia.skeletons.skeleton import Skeleton

PAGE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Evaluation:
    """Predictions beside labels.

    Attributes:
        source: what was evaluated: ``weights`` or ``results``, ``annotations``, and what else was noted.
        metrics: COCO's figures.
        errors: what is wrong.
        crowd: CrowdPose's figures; empty elsewhere.
    """

    source: Row
    metrics: Metrics
    errors: ErrorAnalysis
    crowd: dict[str, float]

    @classmethod
    def of(cls, truth: GroundTruth, rows: list[Row], skeleton: Skeleton, source: Row) -> Evaluation:
        """`rows` are from `check_results`."""
        return cls(source, score(truth, rows, skeleton), ErrorAnalysis.of(truth, rows, skeleton), {})

    @property
    def category(self) -> str:
        """Whose keypoints these are."""
        return self.errors.skeleton.category

    @cached_property
    def analysis(self) -> dict[str, Any]:
        """Errors and curves, in plain types."""
        errors = self.errors
        return {"errors": errors.to_dict(), "curves": curves(errors.matches, errors.people.scores, errors.oks)}

    def table(self) -> str:
        """All of it as text for a terminal, in percent."""
        f1 = self.analysis["curves"]["f1"]["best"]
        lines = [self.metrics.table(), "", *self._error_table(), ""]
        lines += ["  ".join(f"{name} {percent(value)}" for name, value in self.crowd.items())] if self.crowd else []
        if f1 is not None:
            lines.append(
                f"Best F1 {f1['f1']:.3f} from score {f1['score']:.4g} on (precision {percent(f1['precision'])}, recall "
                f"{percent(f1['recall'])})"
            )
        if "speed" in self.source:
            lines.append(f"{self.source['speed']['milliseconds']:.1f} ms an image: {self.source['speed']['model']}")
        return "\n".join(lines)

    def _error_table(self) -> list[str]:
        """How often each kind of error is made, and AP without it."""
        errors = self.analysis["errors"]
        keypoints, people = errors["keypoints"], errors["people"]
        total = sum(keypoints.values())
        wrong = {**keypoints, "all keypoint errors": total - keypoints[GOOD]}
        often = {name: f"{percent(count / max(1, total))} %" for name, count in wrong.items()}
        often |= {name: str(count) for name, count in people.items()}
        base = errors["AP without"]["as it is"]
        rows = [
            f"{name:<21}{often.get(name, ''):>9}{percent(value):>14}{100 * (value - base):>+8.1f}"
            for name, value in errors["AP without"].items()
        ]
        heading = f"{'error':<21}{'':>9}{'AP without it':>14}"
        note = f"Percent: of the keypoints of {people['found']} people found (OKS or box IoU of 0.5). Others: counts."
        return [heading, *rows, note]

    def to_dict(self) -> Row:
        """For JSON."""
        return {
            **self.source,
            **self.metrics.to_dict(),
            **({"crowd": self.crowd} if self.crowd else {}),
            **self.analysis,
        }

    def page(self, images: AnnotatedImages | None, samples: int) -> str:
        """The page, with some of the people.

        Raises:
            DataError: an image can't be read.
        """
        skeleton = self.errors.skeleton
        cases = describe_cases(self.errors, choose_cases(find_cases(self.errors), samples), images)
        content = {
            "of": Path(str(self.source.get("weights", self.source.get("results")))).name,
            "annotations": Path(str(self.source["annotations"])).name, "speed": self.source.get("speed"),
            "metrics": self.metrics.to_dict(), "crowd": self.crowd, **self.analysis, "names": list(skeleton.names),
            "edges": [list(edge) for edge in skeleton.edges], "kinds": KINDS, "groups": GROUPS, "cases": cases,
        }  # fmt: skip
        return html_page(f"Evaluation of {content['of']}", PAGE.read_text("utf-8"), content)
