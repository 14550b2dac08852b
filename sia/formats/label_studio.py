"""Label Studio's tasks with predictions (https://labelstud.io/guide/predictions), and their labelling config."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from sia.formats.writer import GrowingWriter, Record, labelled
from sia.io.output_file import write_text
from sia.io.remote import is_web_address
from sia.io.results import JsonList, json_line
from sia.people import Person

LOCAL = "/data/local-files/?d="
"""Where Label Studio serves the files below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, here the folder of the images."""
POINT = 0.5
"""Width at which keypoints are drawn, in percent of the image."""


class LabelStudioWriter(GrowingWriter):
    """A task an image: for each person a rectangle, and its keypoints as children, in percent of the image.

    The second file, ``NAME.xml``, is the labelling config of the project. Keypoints outside of the image are left out,
    those with v = 1 (see `labelled`) have the note ``hidden``, which exports keep; ``score`` is the confidence of each.
    From Python: ``LabelStudioWriter(path, About(skeleton))``, `add` a `Record` of each image, `close`.
    """

    SUFFIX, BESIDE = "-labelstudio.json", ".xml"

    def start(self, first: Record) -> JsonList:
        """Writes the config, and an empty list of tasks."""
        skeleton = self.about.skeleton
        names = "".join(
            f'\n    <Label value={quoteattr(name)} model_index="{k}"/>' for k, name in enumerate(skeleton.names)
        )
        box = f"<Label value={quoteattr(skeleton.category)}/>"
        write_text(
            self.paths[1],
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <RectangleLabels name="box" toName="image">{box}</RectangleLabels>\n'
            f'  <KeyPointLabels name="keypoint" toName="image">{names}\n  </KeyPointLabels>\n</View>\n',
        )
        return JsonList(self.path)

    def entries(self, record: Record) -> list[bytes]:
        """One task."""
        people, seen = labelled(record.people, self.about.kpt_thresh)
        regions: list[dict[str, Any]] = []
        for number, (person, v) in enumerate(zip(people, seen.tolist(), strict=True), 1):
            regions += self._regions(person, v, f"p{number}", record.size)
        place = record.people.path or ""
        image = place if is_web_address(place) and record.people.frame is None else LOCAL + quote(record.name)
        about = self.about.short()
        prediction: dict[str, Any] = {"model_version": about["tool"], "result": regions}
        if len(people):
            prediction["score"] = round(float(people.scores.mean()), 6)
        data = {"image": image, "image_id": record.image_id, "file_name": record.name, "sia": about}
        return [json_line({"data": data, "predictions": [prediction]})]

    def _regions(self, person: Person, v: list[int], number: str, size: tuple[int, int]) -> list[dict[str, Any]]:
        height, width = size
        skeleton = self.about.skeleton

        def region(name: str, kind: str, own: str, score: float, **value: Any) -> dict[str, Any]:
            about = {"original_width": width, "original_height": height, "image_rotation": 0, "to_name": "image"}
            about |= {"id": own, "from_name": name, "type": kind, "score": round(score, 6)}
            return {**about, "value": value}

        def percent(x: float, y: float) -> tuple[float, float]:
            return round(100 * x / width, 7), round(100 * y / height, 7)

        (left, top), (right, bottom) = (percent(*corner) for corner in person.box.reshape(2, 2).tolist())
        sides = {"x": left, "y": top, "width": round(right - left, 7), "height": round(bottom - top, 7), "rotation": 0}
        found = [region("box", "rectanglelabels", number, person.score, **sides, rectanglelabels=[skeleton.category])]
        named = zip(skeleton.names, person.keypoints.tolist(), person.confidences.tolist(), v, strict=True)
        for name, (px, py), confidence, flag in named:
            if flag:
                x, y = percent(px, py)
                value = {"x": x, "y": y, "width": POINT, "keypointlabels": [name]}
                own = region("keypoint", "keypointlabels", f"{number}-{name}", confidence, **value)
                notes = {"meta": {"text": ["hidden"]}} if flag == 1 else {}
                found.append({**own, **notes, "parentID": number})
        return found
