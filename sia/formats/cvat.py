"""CVAT's XML, "CVAT for images 1.1" (https://docs.cvat.ai/docs/other/xml_format/): a skeleton a person."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from sia.formats.writer import GrowingWriter, Record, labelled
from sia.io.output_file import write_json
from sia.io.results import JsonList
from sia.people import People
from sia.skeletons.skeleton import Skeleton


class CvatWriter(GrowingWriter):
    """annotations.xml for "Upload annotations", and the labels that the task needs.

    The second file, ``NAME.labels.json``, is for the tab "Raw" of CVAT's label constructor. Keypoints with v = 1 (see
    `labelled`) are ``occluded``, those outside of the image ``outside``. Images are known by their names, frames of a
    video task by their numbers.
    From Python: ``CvatWriter(path, About(skeleton))``, `add` a `Record` of each image, `close`.
    """

    SUFFIX, BESIDE = "-cvat.xml", ".labels.json"
    _count = 0

    def start(self, first: Record) -> JsonList:
        """Writes the labels, and what stands before the images."""
        skeleton = self.about.skeleton
        drawing = _drawing(skeleton, first.people)
        parts = [{"name": name, "type": "points", "attributes": []} for name in skeleton.names]
        label = {"name": skeleton.category, "type": "skeleton", "attributes": [], "svg": drawing, "sublabels": parts}
        write_json(self.paths[1], [label], indent=1)
        whole = f"<label>{_tags(name=skeleton.category, type='skeleton', svg=drawing)}</label>"
        points = [f"<label>{_tags(name=n, type='points', parent=skeleton.category)}</label>" for n in skeleton.names]
        labels = "\n".join([whole, *points])
        head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta>'
        about = f"<sia>{_tags(**self.about.short())}</sia>"
        text = f"{head}<task><labels>\n{labels}\n</labels></task>{about}</meta>\n"
        return JsonList(self.path, text.encode(), b"\n", b"\n</annotations>\n")

    def entries(self, record: Record) -> list[bytes]:
        """One ``<image>``."""
        people, seen = labelled(record.people, self.about.kpt_thresh)
        height, width = record.size
        number = self._count if record.people.frame is None else record.image_id
        self._count += 1
        size = f'width="{width}" height="{height}"'
        lines = [f'<image id="{number}" name={quoteattr(record.name)} {size}>']
        for person, v in zip(people, seen.tolist(), strict=True):
            lines.append(f'<skeleton label={quoteattr(self.about.skeleton.category)} source="auto" z_order="0">')
            for name, (x, y), flag in zip(self.about.skeleton.names, person.keypoints.tolist(), v, strict=True):
                marks = f'source="auto" outside="{int(flag == 0)}" occluded="{int(flag == 1)}"'
                lines.append(f'<points label={quoteattr(name)} {marks} points="{x:.3f},{y:.3f}"></points>')
            lines.append("</skeleton>")
        return ["\n".join([*lines, "</image>"]).encode("utf-8", "backslashreplace")]


def _tags(**values: str) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())


def _drawing(skeleton: Skeleton, people: People) -> str:
    """The skeleton as CVAT's SVG of 100 by 100: as the best person stands, or in a circle where there is nobody."""
    angles = np.linspace(0, 2 * np.pi, skeleton.num_keypoints, endpoint=False)
    places: Any = np.stack([np.sin(angles), -np.cos(angles)], -1)
    if len(people):
        places = people.keypoints[0].astype(np.float64)
    low, span = places.min(0), max(float(np.ptp(places, axis=0).max()), 1e-6)
    x, y = ((places - low) / span * 90 + 5).round(2).T.tolist()
    lines = [
        f'<line x1="{x[a]}" y1="{y[a]}" x2="{x[b]}" y2="{y[b]}" data-type="edge" data-node-from="{a + 1}" '
        f'data-node-to="{b + 1}"></line>'
        for a, b in skeleton.edges
    ]
    nodes = [
        f'<circle r="1.5" cx="{x[k]}" cy="{y[k]}" data-type="element node" data-element-id="{k + 1}" '
        f'data-node-id="{k + 1}" data-label-name={quoteattr(name)}></circle>'
        for k, name in enumerate(skeleton.names)
    ]
    return "".join([*lines, *nodes])
