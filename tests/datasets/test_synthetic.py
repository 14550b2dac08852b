"""Synthetic people: exact labels, sound bodies, the same images every time, a folder that is whole or not used."""

import json
import multiprocessing
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from datasets.synthetic import SyntheticScenes, write_dataset
from datasets.synthetic import dataset as synthetic
from datasets.synthetic.human.appearance import sample_outfit
from datasets.synthetic.human.body import LIMITS, pose_frames, sample_shape
from datasets.synthetic.human.figure import build_person
from datasets.synthetic.human.pose import Action, mirrored, sample_action
from datasets.synthetic.rendering.camera import Camera, look
from datasets.synthetic.rendering.primitives import LABELS
from datasets.synthetic.rendering.renderer import SUPERSAMPLE, draw_ids, outlines
from datasets.synthetic.scene.scene import label_keypoints
from scripts.make_synthetic import main
from sia.errors import ConfigError, OutputError
from sia.skeletons.skeleton import COCO_PERSON

NAME = {name: index for index, name in enumerate(COCO_PERSON.names)}
LEFTS = [i for i, name in enumerate(COCO_PERSON.names) if name.startswith("left")]
RIGHTS = [COCO_PERSON.flip_order[i] for i in LEFTS]


@pytest.fixture(scope="module")
def scenes():
    source = SyntheticScenes((144, 192), seed=7)
    return [source.scene(index) for index in range(40)]


def person_seen(yaw, seed=3, pose=None):
    """Keypoints (17, 3) of one person in front of a camera, and the id map."""
    rng = np.random.default_rng(seed)
    shape = replace(sample_shape(rng), girth=1.0)
    outfit = replace(sample_outfit(rng, False, False), hair_length=0.0, ears_out=True, hat="", bag="", beard=False)
    action = Action("stand", pose or {})
    while True:
        figure = build_person(rng, shape, action, yaw, outfit, np.array([0.0, 0.0, -4.0]))
        if all(part.label for part in figure.parts):
            break
    camera = Camera(300.0, (128.0, 128.0), look(5.0, 0.0), np.array([0.0, 1.3, 0.0]), (-0.5, -0.5))
    ids = np.zeros((256 * SUPERSAMPLE, 256 * SUPERSAMPLE), np.uint16)
    draw_ids(ids, outlines(figure, camera), 1)
    return label_keypoints(figure, camera, ids, 1), ids


def test_same_index_gives_same_scene_and_other_index_or_split_another():
    first, again = SyntheticScenes(96, 1).scene(5), SyntheticScenes(96, 1).scene(5)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.people[0].keypoints, again.people[0].keypoints)
    others = [
        SyntheticScenes(96, 1).scene(6),
        SyntheticScenes(96, 1, split=1).scene(5),
        SyntheticScenes(96, 2).scene(5),
    ]
    assert not any(np.array_equal(first.image, other.image) for other in others)


def test_scenes_stay_those_that_the_bundled_weights_were_trained_on():
    scene = SyntheticScenes(96, seed=0).scene(6)
    assert [person.action for person in scene.people] == ["walk", "lunge", "sit", "stand"]
    walker = scene.people[0].keypoints
    assert np.allclose(walker[[0, 9, 15]], [(64.18, 21.57, 2), (64.41, 33.76, 1), (67.14, 49.5, 1)], atol=0.02)
    assert np.allclose(scene.image.mean((0, 1)), (192.85, 192.81, 192.79), atol=0.5)  # OpenCV's versions differ a bit


def test_scene_has_the_size_asked_for(scenes):
    for scene in scenes:
        assert scene.image.shape == (144, 192, 3) and scene.image.dtype == np.uint8
        assert scene.ids.shape == (144 * SUPERSAMPLE, 192 * SUPERSAMPLE)


def test_flags_agree_with_the_frame_and_the_id_map(scenes):
    for scene in scenes:
        for number, person in enumerate(scene.people, start=1):
            x, y, v = person.keypoints.T
            assert set(v.tolist()) <= {0.0, 1.0, 2.0}
            assert (person.keypoints[v == 0] == 0).all()
            inside = v > 0
            assert (x[inside] >= 0).all() and (x[inside] < 192).all()
            assert (y[inside] >= 0).all() and (y[inside] < 144).all()
            cells = np.floor(person.keypoints[v == 2, :2] * SUPERSAMPLE - 1e-4).clip(0).astype(int)
            assert (scene.ids[cells[:, 1], cells[:, 0]] // 32 == number).all()


def test_visible_joint_lies_on_its_own_part(scenes):
    wrist = NAME["left_wrist"]
    for scene in scenes:
        for person in scene.people:
            x, y, v = person.keypoints[wrist]
            if v == 2:
                label = LABELS[scene.ids[int(y * SUPERSAMPLE), int(x * SUPERSAMPLE)] % 32]
                assert label in ("left_forearm", "left_hand")


def test_every_person_in_the_id_map_is_labelled_and_seen(scenes):
    for scene in scenes:
        owners = set(np.unique(scene.ids // 32).tolist()) - {0}
        assert owners == set(range(1, len(scene.people) + 1))
        assert all((person.keypoints[:, 2] == 2).any() for person in scene.people)


def test_boxes_are_tight_inside_the_frame_and_hold_the_visible_joints(scenes):
    for scene in scenes:
        for number, person in enumerate(scene.people, start=1):
            x, y, w, h = person.box
            rows, columns = np.nonzero(scene.ids // 32 == number)
            assert (x, y) == (columns.min() / SUPERSAMPLE, rows.min() / SUPERSAMPLE)
            assert (x + w, y + h) == ((columns.max() + 1) / SUPERSAMPLE, (rows.max() + 1) / SUPERSAMPLE)
            assert person.area == len(rows) / SUPERSAMPLE**2 <= w * h
            seen = person.keypoints[person.keypoints[:, 2] == 2, :2]
            assert (seen >= np.array((x, y)) - 1e-3).all() and (seen <= np.array((x + w, y + h)) + 1e-3).all()


def test_seen_from_the_front_left_is_on_the_right_and_the_face_shows():
    keypoints, _ = person_seen(yaw=0.0)
    assert (keypoints[LEFTS, 0] > keypoints[RIGHTS, 0]).all()
    assert (keypoints[:5, 2] == 2).all()
    assert keypoints[NAME["nose"], 1] < keypoints[NAME["left_shoulder"], 1] < keypoints[NAME["left_hip"], 1]


def test_seen_from_behind_left_is_on_the_left_and_the_face_is_hidden():
    keypoints, _ = person_seen(yaw=180.0)
    assert (keypoints[LEFTS, 0] < keypoints[RIGHTS, 0]).all()
    assert keypoints[:3, 2].tolist() == [1, 1, 1]
    assert keypoints[NAME["left_shoulder"], 2] == keypoints[NAME["right_shoulder"], 2] == 2


def test_seen_from_the_left_the_right_side_is_hidden():
    keypoints, _ = person_seen(yaw=-90.0, pose={"left_shoulder_raise": 60.0, "right_shoulder_raise": 60.0})
    for joint in ("eye", "ear", "shoulder", "elbow", "hip"):
        assert keypoints[NAME[f"left_{joint}"], 2] == 2, joint
        assert keypoints[NAME[f"right_{joint}"], 2] == 1, joint


def test_raised_left_arm_is_the_left_one():
    keypoints, _ = person_seen(yaw=0.0, pose={"left_shoulder_raise": 170.0, "left_shoulder_swing": 90.0})
    assert keypoints[NAME["left_wrist"], 1] < keypoints[NAME["nose"], 1] < keypoints[NAME["right_wrist"], 1]


def test_poses_keep_the_joint_limits():
    rng = np.random.default_rng(0)
    for _ in range(300):
        for name, angle in sample_action(rng).pose.items():
            limit = LIMITS.get(name.removeprefix("left_").removeprefix("right_"))
            assert limit is None or limit[0] <= angle <= limit[1], name


def test_limbs_keep_their_lengths_in_every_pose():
    rng = np.random.default_rng(1)
    for _ in range(50):
        shape = sample_shape(rng)
        _, joints = pose_frames(shape, sample_action(rng).pose, float(rng.uniform(-180, 180)))
        for a, b, length in (
            (5, 6, shape.upper_arm),
            (6, 7, shape.forearm),
            (11, 12, shape.thigh),
            (15, 16, shape.shank),
        ):
            assert np.isclose(np.linalg.norm(joints[a] - joints[b]), length)


def test_shapes_are_human():
    rng = np.random.default_rng(2)
    shapes = [sample_shape(rng) for _ in range(400)]
    assert all(0.75 < shape.height < 2.05 for shape in shapes)
    assert all(0.115 < shape.head / shape.height < 0.2 for shape in shapes)
    assert all(0.65 < shape.upper_arm / shape.thigh < 0.9 for shape in shapes)
    assert 0.05 < np.mean([shape.child for shape in shapes]) < 0.3


def test_mirrored_twice_is_the_identity():
    pose = sample_action(np.random.default_rng(3)).pose
    assert mirrored(mirrored(pose)) == pose
    assert mirrored({"left_elbow": 5.0, "lean": 2.0, "bend": 1.0}) == {"right_elbow": 5.0, "lean": -2.0, "bend": 1.0}


def test_same_files_with_one_worker_and_two(tmp_path):
    for workers in (1, 2):
        assert write_dataset(tmp_path / str(workers), train=4, val=2, size=64, seed=0, workers=workers)
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "2") for path in (tmp_path / "2").rglob("*") if path.is_file())
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in files)


def test_a_killed_process_is_one_clear_error(tmp_path):
    """It is not waited for."""

    def kill(_):
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(OutputError, match=r"ended from outside.*Use fewer --workers"):
        write_dataset(tmp_path / "people", train=64, val=2, size=32, seed=0, workers=2, progress=kill)


def test_annotations_load_in_pycocotools(tmp_path):
    write_dataset(tmp_path, train=3, val=2, size=64, seed=0)
    for split, count in (("train", 3), ("val", 2)):
        coco = COCO(str(tmp_path / f"{split}.json"))
        assert len(coco.getImgIds()) == count
        assert coco.loadCats([1])[0]["keypoints"] == list(COCO_PERSON.names)
        for row in coco.loadAnns(coco.getAnnIds()):
            assert row["num_keypoints"] == sum(v > 0 for v in row["keypoints"][2::3])
            assert row["iscrowd"] == 0 and row["area"] > 0 and len(row["keypoints"]) == 51
        for image in coco.loadImgs(coco.getImgIds()):
            assert (tmp_path / "images" / split / image["file_name"]).is_file()


def test_train_and_val_differ(tmp_path):
    write_dataset(tmp_path, train=1, val=1, size=64, seed=0)
    names = [tmp_path / "images" / split / "000000.jpg" for split in ("train", "val")]
    assert names[0].read_bytes() != names[1].read_bytes()


def test_close_scenes_have_few_and_large_people(tmp_path):
    write_dataset(tmp_path, train=12, val=1, size=96, seed=0, close=True)
    annotations = json.loads((tmp_path / "train.json").read_text())["annotations"]
    people = Counter(row["image_id"] for row in annotations)
    assert len(people) == 12
    assert max(people.values()) <= 3
    assert min(max(row["bbox"][2:]) for row in annotations) >= 32
    with pytest.raises(OutputError, match="'close': True"):
        write_dataset(tmp_path, train=12, val=1, size=96, seed=0)


def test_complete_folder_is_reused_and_other_arguments_are_refused(tmp_path):
    assert write_dataset(tmp_path, train=1, val=1, size=64, seed=0) is True
    stamp = (tmp_path / "train.json").stat().st_mtime_ns
    assert write_dataset(tmp_path, train=1, val=1, size=64, seed=0) is False
    assert (tmp_path / "train.json").stat().st_mtime_ns == stamp
    with pytest.raises(OutputError, match="another folder"):
        write_dataset(tmp_path, train=2, val=1, size=64, seed=0)


def test_interrupted_folder_is_not_taken_for_complete_but_finished(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, train=2, val=1, size=64, seed=0, progress=interrupt)
    assert not (tmp_path / "dataset.json").exists()
    assert write_dataset(tmp_path, train=2, val=1, size=64, seed=0) is True
    assert json.loads((tmp_path / "dataset.json").read_text())["train"] == 2
    assert not list(tmp_path.rglob(".*")) and not (tmp_path / "dataset.partial.json").exists()


def test_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        write_dataset(tmp_path, train=1, val=1, size=64, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_dataset(tmp_path / "new", train=1, val=1, size=64, seed=0)
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(("name", "value"), [("train", 0), ("size", 8), ("seed", -1), ("workers", -1)])
def test_senseless_number_is_refused(tmp_path, name, value):
    numbers = {"train": 1, "val": 1, "size": 64, "seed": 0, "workers": 0} | {name: value}
    with pytest.raises(ConfigError, match=f"--{name}.*{value}"):
        write_dataset(tmp_path / "new", **numbers)
    assert not (tmp_path / "new").exists()


def test_command_prints_one_line_for_bad_input(tmp_path, capsys):
    assert main(["--output", str(tmp_path), "--train", "0"]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: --train")


def test_command_makes_and_then_finds(tmp_path, capsys):
    arguments = ["--output", str(tmp_path / "people"), "--train", "1", "--val", "1", "--size", "64"]
    assert main(arguments) == 0 and "Made" in capsys.readouterr().out
    assert main(arguments) == 0 and "Found" in capsys.readouterr().out


def test_version_is_part_of_what_is_reused(tmp_path, monkeypatch):
    write_dataset(tmp_path, train=1, val=1, size=64, seed=0)
    arguments = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(arguments | {"version": synthetic.VERSION + 1}))
    with pytest.raises(OutputError):
        write_dataset(tmp_path, train=1, val=1, size=64, seed=0)
