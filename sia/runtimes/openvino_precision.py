"""Products of bfloat16 inside an OpenVINO model, where the processor has instructions for them."""

from __future__ import annotations

from typing import Any

ROUNDED = ("backbone.vit.patch_embed", "backbone.vit.blocks", "roi_head.body")
"""Starts of the names of the nodes that compute features: nearly all of the work.

What computes places stays in float32. OpenVINO's own bfloat16 rounds them too: at 384 px keypoints of `n32` move by 1.1
pixels (median), and so by 0.2, in the same time.
"""

_ALIKE = ("Constant", "ShapeOf")
"""Types of nodes that have no arithmetic of their own."""


def round_features(library: Any, model: Any) -> None:
    """Changes the nodes named in `ROUNDED` from float32 to bfloat16, and converts at their borders.

    Args:
        library: the package openvino.
        model: ov.Model in float32, as scripts/export.py writes it.
    """
    nodes = [node for node in model.get_ordered_ops() if _is_rounded(node)]
    for node in nodes:
        for target in node.inputs():
            source = target.get_source_output()
            if source.get_element_type() == library.Type.f32 and not _is_rounded(source.get_node()):
                target.replace_source_output(_converted(library, source, "bf16"))
    for node in nodes:
        for output in node.outputs():
            readers = [target for target in output.get_target_inputs() if not _is_rounded(target.get_node())]
            if output.get_element_type() == library.Type.f32 and readers:
                exact = _converted(library, output, "f32")
                for target in readers:
                    target.replace_source_output(exact)
    model.validate_nodes_and_infer_types()


def _is_rounded(node: Any) -> bool:
    return node.get_friendly_name().startswith(ROUNDED) and node.get_type_name() not in _ALIKE


def _converted(library: Any, output: Any, kind: str) -> Any:
    return library.opset13.convert(output, kind).output(0)
