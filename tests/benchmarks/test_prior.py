"""A stopped benchmark goes on, never mixes settings, and its table tells the worst case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import prior
from benchmarks.prior_simulated import simulate
from benchmarks.prior_tables import Row, Rows, errors_table
from sia.errors import ConfigError
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.labels import match_labels, qualities
from stages.error_model.pose_errors import errors_of_pairs
from tests.stages.pose_helpers import people, predictions, write_annotations

ROW = Row("weak", 0, 2.0, 2.5, "+0.5 [+0.1, +0.9]", ["swaps: AP, left out", "moves: AP, kept"], "applied",
          {"0": 36.0, "1": 46.0}, 12.3)  # fmt: skip


def test_rows_are_kept_and_settings_are_not_mixed(tmp_path: Path) -> None:
    rows = Rows(tmp_path, {"steps": 5})
    assert not rows.has("weak", 0)
    rows.add(ROW)
    again = Rows(tmp_path, {"steps": 5})
    assert again.has("weak", 0) and not again.has("weak", 1)
    assert again.table() == (tmp_path / "table.md").read_text()
    with pytest.raises(ConfigError, match="other settings"):
        Rows(tmp_path, {"steps": 6})


def test_the_table_tells_the_worst_case(tmp_path: Path) -> None:
    rows = Rows(tmp_path, {})
    refused = replace(ROW, seed=1, stage=1.6, decision="refused", moves={"0": 38.0, "1": 46.0})
    for row in (ROW, refused, replace(ROW, kind="strong", decision="declined", stage=2.0, moves={})):
        rows.add(row)
    text = rows.table()
    assert "in 3 runs: -0.40 AP (weak, seed 1, refused)" in text
    assert "| weak | 0 | 2.0 | 2.5 | +0.5 [+0.1, +0.9] | moves | applied | 2.5 | 12 |" in text
    assert "| weak | 1 | 2.0 | 1.6 | +0.5 [+0.1, +0.9] | moves | refused | 2.0 | 12 |" in text
    assert "| strong | 0 | 2.0 | 2.0 | +0.5 [+0.1, +0.9] | - | declined | 2.0 | 12 |" in text
    assert "| weak | 37.0 | 46.0 |" in text


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []

    def measured(kind: str, seed: int, *others: object) -> Row:
        calls.append((kind, seed))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return replace(ROW, kind=kind, seed=seed)

    def few(root: Path, **sizes: int) -> None:
        root.mkdir()
        for name in ("train", "val"):
            write_annotations(root / f"{name}.json", people(8))

    monkeypatch.setattr(prior, "measure", measured)
    monkeypatch.setattr(prior, "write_dataset", few)
    command = ["--drawn", "--kinds", "strong", "weak", "--seeds", "2", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(KeyboardInterrupt):
        prior.main(command)
    prior.main(command)
    assert calls == [("strong", 0), ("weak", 0), ("strong", 1), ("strong", 1), ("weak", 1)]


def test_levels_are_ordered() -> None:
    labels = people(60)
    strong, weak = (
        qualities(simulate(labels, level, COCO_PERSON, 0), labels, COCO_PERSON.sigmas).sum()
        for level in ("strong", "weak")
    )
    assert strong > 2 * weak
    found = simulate(labels, "strong", COCO_PERSON, 0)
    assert len(found) == 120
    assert (match_labels(found, labels, COCO_PERSON.sigmas) >= 0).sum() <= 60


def test_errors_as_a_table() -> None:
    labels = people(60)
    near = labels.keypoints + np.random.default_rng(0).normal(0, 1, labels.keypoints.shape)
    text = errors_table(errors_of_pairs(predictions(labels, near), labels, COCO_PERSON), COCO_PERSON)
    assert text.count("\n") == 2 + 17 + 2
    assert "60 people found, 0 % of them turned as a whole." in text
