"""A picture of one moment: the frame with the 2D pose, and the 3D pose from the front and from the side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sia.io.optional import need
from sia.io.output_file import complete_file
from sia.lifting.skeleton import JOINTS
from sia.skeletons.skeleton import COCO_PERSON

_COLOURS = {"Left": "#1f77b4", "Right": "#d62728"}


def draw_picture(
    path: Path, frame: NDArray[np.uint8] | None, keypoints: NDArray[np.float64], joints: NDArray[np.float64]
) -> None:
    """Writes a PNG.

    Args:
        path: of the file.
        frame: (H, W, 3) RGB; None where the video is not there.
        keypoints: (17, 2) of COCO, pixels.
        joints: (17, 3) metres, y up, z towards the viewer.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    need("matplotlib", "--save picture")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained")
    flat = figure.add_subplot(1, 3, 1, title="2D")
    if frame is not None:
        flat.imshow(frame)
    else:
        flat.invert_yaxis()
    for a, b in COCO_PERSON.edges:
        side = next((s for s in ("left", "right") if COCO_PERSON.names[b].startswith(s)), "")
        flat.plot(*keypoints[[a, b]].T, color=_COLOURS.get(side.capitalize(), "#2ca02c"), linewidth=2)
    flat.set_aspect("equal")
    reach = max(float(np.abs(joints).max()), 0.5)
    views = (("3D, as seen", -90, "y"), ("3D, from the right", 0, "x"))
    for number, (title, turn, depth) in enumerate(views, start=2):
        space = figure.add_subplot(1, 3, number, projection="3d", title=title)
        space.view_init(elev=8, azim=turn)
        for i, joint in enumerate(JOINTS[1:], start=1):
            x, y, z = joints[[joint.parent, i]].T
            side = next((s for s in _COLOURS if joint.name.startswith(s)), "")
            space.plot(x, -z, y, color=_COLOURS.get(side, "#2ca02c"), linewidth=2.5, marker="o", markersize=3)
        for axis, label in zip("xyz", ("right, m", "away, m", "up, m"), strict=True):
            shown = axis != depth
            space.set(**{f"{axis}lim": (-reach, reach), f"{axis}ticks": (-0.5, 0, 0.5) if shown else ()})
            space.set(**{f"{axis}label": label if shown else ""})
        space.set_box_aspect((1, 1, 1), zoom=0.95)
    with complete_file(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=100)
