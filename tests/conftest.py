"""Shared fixtures. Real photographs are optional: tests that need them skip where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder with coco_person/, videos/ and so on; SIA_DATA names it, or it lies beside the repository."""
    folder = Path(os.environ.get("SIA_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "coco_person" / "val.json").is_file():
        pytest.skip(f"no photographs at {folder}: set SIA_DATA to the folder that holds coco_person/")
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small model of people, untrained; not to be changed."""
    from tests.inference_helpers import save_weights

    return save_weights(tmp_path_factory.mktemp("weights") / "best.pt")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own folder is the current one."""
    monkeypatch.chdir(tmp_path)


def pytest_xdist_auto_num_workers() -> int:
    """Of ``-n auto``: half as many more as cores, since some tests wait, for processes or for time to pass."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores * 3 // 2)


LONGEST = (
    "test_train_pose.py", "test_train.py", "test_compilation.py", "test_runner.py", "test_cross_validate.py",
    "test_graph.py", "test_checkpoint_formats.py", "test_pretrained_weights.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that load ONNX Runtime or OpenVINO come late: a process forked beside their threads can hang.

    After them come those of sia/ alone, which never fork, and which another core has for as long. Of each part the
    longest files come first, so that no core waits for one of them at the end.
    """
    items.sort(key=lambda item: (_part(item.path), item.path.name not in LONGEST))


def _part(path: Path) -> int:
    if path.is_relative_to(ROOT / "tests" / "sia"):
        return 2
    return int(path.name == "test_export.py")
