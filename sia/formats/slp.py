"""SLEAP's .slp, written by sleap-io (https://io.sleap.ai)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sia.formats.writer import About, Record, ResultWriter
from sia.io.optional import need
from sia.io.output_file import complete_file


class SlpWriter(ResultWriter):
    """Predicted instances of a video, or of a list of images; held in memory until `close`.

    The provenance of the labels says how to read them.
    """

    SUFFIX = ".slp"

    def __init__(self, path: Path, about: About) -> None:
        super().__init__(path, about)
        self._sleap = need("sleap_io", "--save slp")
        skeleton, names = about.skeleton, about.skeleton.names
        self._skeleton = self._sleap.Skeleton([self._sleap.Node(name) for name in names], name=skeleton.category)
        for a, b in skeleton.edges:
            self._skeleton.add_edge(names[a], names[b])
        for a, b in skeleton.flip_pairs:
            self._skeleton.add_symmetry(names[a], names[b])
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        """Adds an image or frame."""
        source = replace(record.people.source, pixels=None) if record.people.source else None
        self._records.append(replace(record, people=replace(record.people, source=source)))

    def close(self) -> None:
        """Writes the file."""
        if not self._records:
            return
        sleap, first = self._sleap, self._records[0]
        is_video = first.people.frame is not None
        names = [record.people.path or record.name for record in self._records]
        height, width = first.size
        meta = {"shape": (len(names), height, width, 3), "grayscale": False, "filename": names[0]}
        meta |= {"type": "MediaVideo"} if is_video else {"type": "ImageVideo", "filenames": names}
        video = sleap.Video(names[0] if is_video else names, backend_metadata=meta, open_backend=False)
        tracks: dict[int, Any] = {}
        frames = []
        for index, record in enumerate(self._records):
            instances = []
            for person in record.people:
                about = {"point_scores": person.confidences, "score": person.score}
                if person.id:
                    about["track"] = tracks.setdefault(person.id, sleap.Track(f"{self._skeleton.name} {person.id}"))
                instances.append(sleap.PredictedInstance.from_numpy(person.keypoints, self._skeleton, **about))
            frames.append(sleap.LabeledFrame(video, record.people.frame if is_video else index, instances))
        labels = sleap.Labels(frames, [video], [self._skeleton], list(tracks.values()), provenance=self.about.short())
        with complete_file(self.path) as part:
            named = part.with_name(f"{part.name}.slp")
            labels.save(str(named), embed=False, verbose=False)
            named.replace(part)
