"""The loaders: the same samples whatever the workers, exact shards and resume, padding, and errors in one line."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets.augmentation.transforms import Augmentation
from datasets.coco.coco_pose import CocoPose
from datasets.loader import TrainingLoader, training_loader, validation_loader
from datasets.sampler import TrainingBatches, ValidationBatches
from sia.batch import PoseBatch
from sia.errors import DataError

Make = Callable[..., CocoPose]
SIZE = (48, 64)


def train(dataset: CocoPose, **options: Any) -> TrainingLoader:
    defaults: dict[str, Any] = {"image_size": SIZE, "batch_size": 2, "workers": 0, "seed": 3}
    return training_loader(dataset, **{**defaults, **options})


def epoch_of(loader: TrainingLoader, epoch: int, start: int = 0) -> list[PoseBatch]:
    loader.set_epoch(epoch, start)
    return list(loader)


def assert_equal(first: Iterable[PoseBatch], second: Iterable[PoseBatch]) -> None:
    for one, other in zip(first, second, strict=True):
        for field in fields(PoseBatch):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert a == b if isinstance(a, list) else torch.equal(a, b), field.name


def test_a_batch_has_the_promised_shapes(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    content = make_content(5)
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] != 14]
    dataset = make_dataset(content)
    batch = next(iter(validation_loader(dataset, image_size=SIZE, batch_size=5, workers=0)))
    assert batch.images.shape == (5, 3, *SIZE) and batch.images.dtype == torch.uint8
    assert batch.boxes.shape == (5, 2, 4) and batch.keypoints.shape == (5, 2, 3, 3)
    assert batch.areas.shape == (5, 2) and batch.ignored.shape == (5, 1, 4)
    assert batch.people.tolist() == [[True, True]] * 4 + [[False, False]]
    assert not batch.boxes[4].any() and not batch.keypoints[4].any() and not batch.areas[4].any()
    assert batch.ignored.any(-1).squeeze(1).tolist() == [False, True, False, True, False]
    assert batch.image_ids.tolist() == [10, 11, 12, 13, 14] and batch.image_ids.dtype == torch.int64
    assert batch.sizes.tolist() == [[60, 80]] * 5
    np.testing.assert_allclose(batch.letterboxes, [[0.8, 0, 0]] * 5)
    np.testing.assert_allclose(batch.boxes[0, 0], [16, 8, 40, 40])
    assert batch.files == [str(file) for file in dataset.files]


def test_images_are_rgb_and_channels_first(make_dataset: Make) -> None:
    dataset = make_dataset()
    batch = next(iter(validation_loader(dataset, image_size=(60, 80), batch_size=1, workers=0)))
    np.testing.assert_array_equal(batch.images[0].permute(1, 2, 0).numpy(), dataset.read_image(0))


def test_no_people_in_a_batch_is_no_special_case(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    content = make_content(3)
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] == 12]
    loader = validation_loader(make_dataset(content), image_size=SIZE, batch_size=1, workers=0)
    empty = next(iter(loader))
    assert empty.boxes.shape == (1, 0, 4) and empty.keypoints.shape == (1, 0, 3, 3)
    assert empty.people.shape == (1, 0) and empty.ignored.shape == (1, 0, 4)


def test_the_number_of_workers_changes_nothing(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    dataset = make_dataset(make_content(7))
    alone = train(dataset)
    expected = [epoch_of(alone, epoch) for epoch in (0, 1)]
    validation = list(validation_loader(dataset, image_size=SIZE, batch_size=3, workers=0))
    for workers in (1, 2):
        loader = train(dataset, workers=workers)
        for epoch in (0, 1):
            assert_equal(epoch_of(loader, epoch), expected[epoch])
        parallel = validation_loader(dataset, image_size=SIZE, batch_size=3, workers=workers)
        assert_equal(parallel, validation)


def test_epochs_and_seeds_differ(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    dataset = make_dataset(make_content(6))
    loader = train(dataset)
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    other = epoch_of(train(dataset, seed=4), 0)
    assert not torch.equal(first[0].images, second[0].images)
    assert not torch.equal(first[0].images, other[0].images)
    assert_equal(epoch_of(loader, 0), first)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_yields_the_tail(make_dataset: Make, make_content: Callable[..., Any], workers: int) -> None:
    dataset = make_dataset(make_content(8))
    loader = train(dataset, workers=workers)
    whole, following = epoch_of(loader, 2), epoch_of(loader, 3)
    assert len(whole) == len(loader) == 4
    resumed = train(dataset, workers=workers)
    assert_equal(epoch_of(resumed, 2, start=3), whole[3:])
    assert_equal(epoch_of(resumed, 3), following)
    assert epoch_of(resumed, 2, start=4) == []


def test_resume_does_not_read_what_it_skips(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    dataset = make_dataset(make_content(6))
    loader = train(dataset, batch_size=1, augmentation=Augmentation(mosaic=0))
    files = [batch.files[0] for batch in epoch_of(loader, 0)]
    Path(files[0]).unlink()
    assert [batch.files[0] for batch in epoch_of(loader, 0, start=1)] == files[1:]


def test_stopping_in_the_middle_leaves_nothing_behind(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    loader = train(make_dataset(make_content(8)), batch_size=1, workers=2)
    expected = epoch_of(loader, 1)
    loader.set_epoch(0)
    next(iter(loader))
    assert_equal(epoch_of(loader, 1), expected)


def test_loading_leaves_the_global_generators_alone(make_dataset: Make) -> None:
    """Else a resumed training, which opens its epoch once more, would draw other numbers."""
    loader = train(make_dataset())
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [1, 5, 12, 29])
def test_training_shards(length: int, world_size: int) -> None:
    """Equal numbers of full batches; no image twice unless there are too few; together the order of one rank."""
    shards = [TrainingBatches(length, 2, seed=0, rank=rank, world_size=world_size) for rank in range(world_size)]
    drawn = [list(shard) for shard in shards]
    assert {len(batches) for batches in drawn} == {max(length // (2 * world_size), 1)}
    keys = sorted((key for batches in drawn for batch in batches for key in batch), key=lambda key: key.position)
    assert [key.position for key in keys] == list(range(len(keys)))
    images = [key.image for key in keys]
    assert len(set(images)) == min(len(images), length)
    alone = TrainingBatches(length, len(keys), seed=0, rank=0, world_size=1)
    assert images == [key.image for key in next(iter(alone))]


def test_every_image_comes_in_time() -> None:
    """What one epoch leaves out, others bring."""
    batches = TrainingBatches(7, 4, seed=0, rank=0, world_size=1)
    seen: set[int] = set()
    for batches.epoch in range(20):
        seen |= {key.image for batch in batches for key in batch}
    assert seen == set(range(7))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_validation_shards_cover_all_once(world_size: int) -> None:
    shards = [ValidationBatches(4, 2, rank=rank, world_size=world_size) for rank in range(world_size)]
    images = [key.image for shard in shards for batch in shard for key in batch]
    assert sorted(images) == [0, 1, 2, 3]
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]


def test_a_rank_without_images_yields_nothing(make_dataset: Make) -> None:
    options = {"image_size": SIZE, "batch_size": 2, "workers": 0, "rank": 4, "world_size": 5}
    loader = validation_loader(make_dataset(), **options)
    assert len(loader) == 0 and list(loader) == []


def test_the_last_phase_has_no_mosaic(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    loader = train(make_dataset(make_content(6)), batch_size=3, workers=1, augmentation=Augmentation(mosaic=1.0))
    assert all(" + " in name for batch in epoch_of(loader, 0) for name in batch.files)
    loader.set_mosaic(False)
    assert not any(" + " in name for batch in epoch_of(loader, 1) for name in batch.files)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_a_broken_image_is_one_clean_error(make_dataset: Make, workers: int, mosaic: float) -> None:
    dataset = make_dataset()
    file = dataset.file(2)
    file.write_bytes(file.read_bytes()[:500])
    loaders: list[Iterable[PoseBatch]] = [
        train(dataset, workers=workers, augmentation=Augmentation(mosaic=mosaic)),
        validation_loader(dataset, image_size=SIZE, batch_size=2, workers=workers),
    ]
    for loader in loaders:
        with pytest.raises(DataError) as caught:
            list(loader)
        assert f"{file}: image file is truncated" in str(caught.value) and "\n" not in str(caught.value)


class KilledAtOnce(CocoPose):
    """Stands for a worker that the system ends, as when memory is full."""

    def read_image(self, index: int, shrink: int = 1) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_clean_error(make_dataset: Make) -> None:
    dataset = make_dataset()
    killed = KilledAtOnce(dataset.root, dataset.annotation_file)
    with pytest.raises(DataError, match=r"worker was ended from outside.*Use fewer -WORKERS"):
        list(train(killed, workers=1))


def test_ctrl_c_does_not_reach_the_workers(make_dataset: Make, make_content: Callable[..., Any]) -> None:
    loader = train(make_dataset(make_content(8)), batch_size=1, workers=1)
    iterator = iter(loader)
    next(iterator)
    for worker in loader.processes:
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(iterator)) == 7


def test_what_workers_need_can_be_sent_to_spawned_ones(make_dataset: Make) -> None:
    samples = train(make_dataset()).samples
    keys = next(iter(TrainingBatches(4, 2, seed=3, rank=0, world_size=1)))
    assert_equal([pickle.loads(pickle.dumps(samples))[keys]], [samples[keys]])


def test_real_photographs_through_the_whole_loader(photographs: Path) -> None:
    dataset = CocoPose(photographs / "coco_person" / "images", photographs / "coco_person" / "val.json")
    batch = next(iter(train(dataset, image_size=(192, 192), batch_size=16)))
    xy, v = batch.keypoints[..., :2], batch.keypoints[..., 2]
    assert batch.people.any() and (v > 0).any()
    assert ((xy >= 0) & (xy <= 192)).all()
    assert (batch.areas[batch.people] > 0).all() and not batch.areas[~batch.people].any()
