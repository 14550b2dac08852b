"""The frame around small stages that improve, hurt, decline or crash: what is decided, handed on, and repeated."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import train_pose
from datasets.synthetic import write_dataset
from sia.errors import DataError
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.predictions import Predictions, read_predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.pipeline import fitted
from stages.pipeline import runner as pipeline
from stages.pipeline.report import write_report
from stages.pipeline.state import State
from stages.stage import Images, Stage, StageFit, StageInput, Surroundings
from stages.training import visualizer
from tests import processes
from utils.config.declaration import STAGES

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic people, and results for them like those of a fair model."""
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 30, 16, 64, 0, 0)
    for split in ("train", "val"):
        truth = json.loads((folder / f"{split}.json").read_text())
        (folder / f"{split}-results.json").write_text(json.dumps(noisy(truth, 0.035)))
    return folder


def noisy(truth: dict[str, Any], share: float) -> list[dict[str, Any]]:
    """A prediction of each labelled person, joints off by a fraction of the box."""
    rng, rows = RNG(0), []
    for entry in truth["annotations"]:
        points = np.array(entry["keypoints"]).reshape(-1, 3)
        points[:, :2] += rng.normal(size=(17, 2)) * share * max(entry["bbox"][2:])
        points[:, 2] = 0.9
        row = {"image_id": entry["image_id"], "category_id": 1, "keypoints": points.ravel().tolist()}
        rows.append({**row, "bbox": entry["bbox"], "score": float(rng.random())})
    return rows


@dataclass(frozen=True)
class Towards:
    """Moves all joints towards their labels by a fraction of the way: no real stage could know them."""

    annotations: str
    share: float

    def apply(self, people: Predictions, images: Images) -> Predictions:
        rows = json.loads(Path(self.annotations).read_text())["annotations"]
        rows = sorted((row for row in rows if row["image_id"] in images.ids), key=lambda row: row["image_id"])
        labels = np.array([row["keypoints"] for row in rows]).reshape(-1, 17, 3)[..., :2]
        return replace(people, keypoints=people.keypoints + self.share * (labels - people.keypoints))

    def save(self, folder: Path) -> None:
        (folder / "own.json").write_text(json.dumps([self.annotations, self.share]))


Fit = Callable[[StageInput], StageFit]


def towards(work: StageInput, share: float, **result: Any) -> StageFit:
    """Fitted to the labels of both splits."""
    assert work.results is not None
    truth = pipeline.load_ground_truth(work.splits["calibrate"], COCO_PERSON)
    people = read_predictions(work.results, truth, COCO_PERSON)
    images = Images.of_split(work.data("calibrate"))
    calibrate = Towards(str(work.splits["calibrate"]), share).apply(people, images)
    return StageFit(Towards(str(work.config.coco_root.parent / "val.json"), share), calibrate, **result)


def improves(work: StageInput) -> StageFit:
    return towards(work, 0.7, figures={"share": np.float32(0.7), "nested": {"joints": np.nan}})


def hurts(work: StageInput) -> StageFit:
    return towards(work, -1.0)


def declines(work: StageInput) -> StageFit:
    return StageFit(declined="no gain on calibrate")


def nothing(work: StageInput) -> StageFit:
    return towards(work, 0.0)


def load(folder: Path, around: Surroundings) -> Towards:
    return Towards(*json.loads((folder / "own.json").read_text()))


@pytest.fixture
def start(reported: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The same without the report, which would take most of the time."""
    monkeypatch.setattr(pipeline, "write_report", lambda *_: None)
    return reported


@pytest.fixture
def reported(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs train_pose.py in this process, with other stages; the results of another program are the baseline."""
    data = f"-COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json -VAL_ANN {people}/val.json -CALIBRATE 0.2"
    results = f"-RESULTS_CALIBRATE {people}/train-results.json -RESULTS_TEST {people}/val-results.json"

    def run(flags: str, first: bool = True, last: bool = False, **stages: Fit) -> int:
        for name, function in stages.items():
            images = sorted((tmp_path / f"images of {name}").glob("*.jpg"))
            stage = Stage(function, load, fields=("bs", "tta"), images=lambda config, images=images: images)
            monkeypatch.setitem(fitted.MODULES, name, f"tests.{name}")
            monkeypatch.setitem(__import__("sys").modules, f"tests.{name}", SimpleNamespace(STAGE=stage))
        more = f"{data} {results}" if first else ""
        words = f"{more} {flags}" if last else f"{flags} {more}"
        return train_pose.main(f"-PIPELINE {tmp_path}/p {words}".split())

    return run


@pytest.fixture
def counted() -> tuple[list[str], Callable[[str, Fit], Fit]]:
    """A list of the stages that ran, and a function that makes a stage count itself."""
    ran: list[str] = []

    def count(name: str, stage: Fit) -> Fit:
        def run(work: StageInput) -> StageFit:
            ran.append(name)
            return stage(work)

        return run

    return ran, count


def state(tmp_path: Path) -> State:
    found = State.read(tmp_path / "p")
    assert found is not None
    return found


FOUR = {"ssl": hurts, "ensemble": improves, "prior": declines, "postprocess": nothing}


def test_each_stage_is_decided_and_handed_on(
    start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], people: Path
) -> None:
    got: dict[str, StageInput] = {}
    stages = {name: lambda work, n=name, s=stage: got.__setitem__(n, work) or s(work) for name, stage in FOUR.items()}
    assert start("-STAGE all", **stages) == 0
    records = state(tmp_path).stages
    gains = {name: record.proof and record.proof.difference for name, record in records.items()}
    assert gains["ssl"].high < 0 < gains["ensemble"].low
    assert gains["prior"] is None and records["prior"].declined
    assert gains["postprocess"].low == gains["postprocess"].high == 0 and not records["postprocess"].proof.changed
    folder = tmp_path / "p"
    assert got["ensemble"].results == folder / "1-baseline" / "calibrate.json"  # that of ssl was refused
    assert got["postprocess"].results == folder / "3-ensemble" / "calibrate.json"
    assert set(got["ensemble"].splits) == {"fit", "calibrate"}  # no stage gets the test split
    rows = json.loads((folder / "1-baseline" / "test.json").read_text())
    assert records["baseline"].measured.value == evaluate(people / "val.json", rows, COCO_PERSON).AP
    assert records["ensemble"].proof.before.value == records["baseline"].measured.value
    printed = capsys.readouterr().out
    assert "stage 2/5  ssl         refused: AP " in printed and "stage 3/5  ensemble    applied: AP " in printed
    assert "stage 4/5  prior       refused: no gain on calibrate" in printed
    assert str(folder / "report.html") in printed


def test_the_report_tells_it_and_needs_no_other_file(reported: Callable[..., int], tmp_path: Path) -> None:
    reported("-STAGE all", **FOUR)
    page, text = ((tmp_path / "p" / f"report.{kind}").read_text() for kind in ("html", "md"))
    for word in ("baseline", "ensemble", "applied", "no gain on calibrate", "changed no figure", "nested.joints"):
        assert word in page and word in text
    assert page.count("data:image/") > 8 and 'src="report' not in page and "://" not in page
    for line in text.splitlines():
        if line.startswith("!["):
            image = cv2.imread(str(tmp_path / "p" / line.split("](")[1].rstrip(")")))
            assert image.std() > 5
    assert "better: mean OKS" in text and "worse: mean OKS" in text


def test_what_stands_is_not_run_again(
    start: Callable[..., int], tmp_path: Path, counted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, count = counted
    start("-STAGE all", **{name: count(name, stage) for name, stage in FOUR.items()})
    before, _ = state(tmp_path).stages, capsys.readouterr()
    assert start("-STAGE all", first=False) == 0
    assert ran == list(FOUR)
    assert state(tmp_path).stages == before
    assert capsys.readouterr().out.count("as it was made before") == 5


def test_an_altered_file_is_said_and_its_stage_repeated(
    start: Callable[..., int], tmp_path: Path, counted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, count = counted
    start("-STAGE all", **{name: count(name, stage) for name, stage in FOUR.items()})
    made = tmp_path / "p" / "3-ensemble" / "test.json"
    good = made.read_bytes()
    made.write_bytes(good.replace(b"0.9", b"0.8", 1))
    capsys.readouterr()
    assert start("-STAGE postprocess", first=False) == 1
    assert "3-ensemble/test.json of the stage ensemble was altered" in capsys.readouterr().err
    assert start("-STAGE all", first=False) == 0
    assert "ensemble runs again: 3-ensemble/test.json was altered" in capsys.readouterr().out
    assert ran == [*FOUR, "ensemble"]  # what it made is the same as before, so what follows stands
    assert (tmp_path / "p" / "3-ensemble-2" / "test.json").read_bytes() == good
    assert made.read_bytes() != good  # nothing is overwritten


def test_a_crashed_stage_goes_on_in_its_folder(
    start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], counted: Any
) -> None:
    ran, count = counted
    seen: list[list[str]] = []

    def crashes(work: StageInput) -> StageFit:
        seen.append(sorted(path.name for path in work.folder.iterdir()))
        (work.folder / "half.txt").write_text("half")
        if len(seen) == 1:
            raise RuntimeError("midway")
        return improves(work)

    stages = {**FOUR, "ssl": count("ssl", FOUR["ssl"]), "ensemble": crashes}
    with pytest.raises(RuntimeError, match="midway"):
        start("-STAGE all", **stages)
    assert not state(tmp_path).stages["ensemble"].done
    assert start("-STAGE all", first=False) == 0
    assert ran == ["ssl"] and seen == [[], ["half.txt"]]
    assert state(tmp_path).stages["ensemble"].folder == "3-ensemble"


def test_a_stage_that_makes_rubbish_is_an_error(start: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    def empty(work: StageInput) -> StageFit:
        return replace(nothing(work), people=None)

    def broken(work: StageInput) -> StageFit:
        made = nothing(work)
        assert made.people is not None
        return replace(made, people=replace(made.people, image_ids=made.people.image_ids + 10**6))

    assert start("-STAGE baseline") == 0
    assert start("-STAGE ssl", first=False, ssl=empty) == 1
    assert "made no results of calibrate" in capsys.readouterr().err
    assert start("-STAGE ssl", first=False, ssl=broken) == 1
    assert "Result 0" in capsys.readouterr().err


def test_force_applies_and_marks(
    start: Callable[..., int], tmp_path: Path, counted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, count = counted
    got: list[Path | None] = []
    last = {"postprocess": lambda work: got.append(work.results) or declines(work)}
    stages = {"ssl": count("ssl", hurts), "ensemble": declines, "prior": declines, **last}
    start("-STAGE all", **stages)
    monkeypatch.setattr(pipeline, "write_report", write_report)
    start("-STAGE postprocess --FORCE_STAGE ssl", first=False)
    assert ran == ["ssl"]  # the proof was there already
    folder = tmp_path / "p"
    assert got == [folder / "1-baseline" / "calibrate.json", folder / "2-ssl" / "calibrate.json"]
    for kind in ("html", "md"):
        text = (folder / f"report.{kind}").read_text()
        assert "Applied by --FORCE_STAGE against the proof: ssl" in text and "forced" in text
    monkeypatch.setattr(pipeline, "write_report", lambda *_: None)
    start("-STAGE postprocess --FORCE_STAGE none", first=False)
    assert got[-1] == folder / "1-baseline" / "calibrate.json"


def test_a_stage_that_had_declined_can_be_forced(start: Callable[..., int], tmp_path: Path, counted: Any) -> None:
    ran, count = counted
    start("-STAGE all", ssl=declines, ensemble=declines, prior=count("prior", declines), postprocess=declines)
    assert state(tmp_path).decision("prior") == "refused" and state(tmp_path).stages["prior"].proof is None
    start("-STAGE prior --FORCE_STAGE prior", first=False)
    assert ran == ["prior"]
    assert state(tmp_path).decision("prior") == "forced" and state(tmp_path).stages["prior"].proof is not None


def test_a_stage_before_that_changes_makes_those_after_it_out_of_date(
    start: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("-STAGE all", **{**FOUR, "ssl": improves})
    monkeypatch.setattr(pipeline, "write_report", write_report)
    start("-STAGE ssl -BS 4", first=False, ssl=lambda work: towards(work, 0.3))
    text = (tmp_path / "p" / "report.md").read_text()
    assert "Out of date, as a stage before has changed: ensemble, prior, postprocess" in text
    assert state(tmp_path).stages["ssl"].folder == "2-ssl-2"


def test_a_new_model_is_handed_on_only_where_it_is_applied(start: Callable[..., int], tmp_path: Path) -> None:
    got: list[Path | None] = []

    @dataclass(frozen=True)
    class Trained(Towards):
        def save(self, folder: Path) -> None:
            super().save(folder)
            (folder / "model.pt").write_bytes(b"weights")

    def trains(share: float) -> Fit:
        def stage(work: StageInput) -> StageFit:
            made = towards(work, share)
            return replace(made, fitted=Trained(made.fitted.annotations, share))  # type: ignore[union-attr]

        return stage

    def looks(work: StageInput) -> StageFit:
        got.append(work.weights)
        return declines(work)

    start("-STAGE baseline")
    start("-STAGE ssl", first=False, ssl=trains(-1.0))
    start("-STAGE ensemble", first=False, ensemble=looks)
    start("-STAGE ssl -BS 4", first=False, ssl=trains(0.7))
    start("-STAGE ensemble", first=False)
    assert got == [None, tmp_path / "p" / "2-ssl-2" / "fitted" / "model.pt"]


def test_only_declared_flags_make_a_stage_run_again(start: Callable[..., int], tmp_path: Path, counted: Any) -> None:
    ran, count = counted
    start("-STAGE all", **{name: count(name, stage) for name, stage in FOUR.items()})
    start("-STAGE all -PRIOR_STEPS 7 -LR 0.1 -LLM_PEOPLE 3", first=False)  # the baseline is of another program
    assert ran == list(FOUR)
    start("-STAGE all -TTA flip", first=False)
    assert ran == [*FOUR, *FOUR]


def test_new_images_make_the_stage_that_learns_from_them_run_again(
    start: Callable[..., int], tmp_path: Path, counted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, count = counted
    four = {name: count(name, stage) for name, stage in FOUR.items()}
    folder = tmp_path / "images of ssl"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"1")
    for _ in range(2):
        start("-STAGE all", **four)
    assert ran == list(FOUR)
    for name, content in (("2.jpg", b"2"), ("2.jpg", b"22")):  # one more; another one
        (folder / name).write_bytes(content)
        start("-STAGE all", **four)
        assert "ssl runs again: another input: file names and sizes of images" in capsys.readouterr().out
    assert ran == [*FOUR, "ssl", "ssl"]


def test_two_runs_are_the_same(start: Callable[..., int], tmp_path: Path) -> None:
    start("-STAGE all", **FOUR)
    first = state(tmp_path)
    (tmp_path / "p").rename(tmp_path / "q")
    start("-STAGE all", **FOUR)
    second = state(tmp_path)
    assert first.splits == second.splits and first.sources == second.sources
    for name in STAGES:
        one, two = (replace(found.stages[name], seconds=0.0) for found in (first, second))
        assert one == two


def test_a_pipeline_can_be_moved(start: Callable[..., int], tmp_path: Path, counted: Any) -> None:
    ran, count = counted
    start("-STAGE all", **{name: count(name, stage) for name, stage in FOUR.items()})
    (tmp_path / "p").rename(tmp_path / "q")
    assert train_pose.main(f"-STAGE all -PIPELINE {tmp_path}/q".split()) == 0
    assert ran == list(FOUR)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-STAGE baseline -SEED 1", "-SEED 0 -> 1 would change the splits"),
        ("-STAGE baseline -CALIBRATE 0.3", "-CALIBRATE 0.2 -> 0.3 would change the splits"),
        ("-STAGE baseline -TRAIN_ANN {people}/val.json", "is not the file that .* began with"),
    ],
)
def test_the_data_stays_what_it_was(
    start: Callable[..., int], people: Path, flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("-STAGE baseline") == 0
    assert start(flags.format(people=people), first=False) == 1
    import re

    assert re.search(message, capsys.readouterr().err)


def test_altered_splits_are_an_error(start: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    assert start("-STAGE baseline") == 0
    file = tmp_path / "p" / "splits" / "test.json"
    file.write_text(file.read_text() + " ")
    assert start("-STAGE baseline", first=False) == 1
    assert "splits/test.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-STAGE ssl", "-STAGE ssl needs -PIPELINE"),
        ("-STAGE basline -PIPELINE {tmp}/p {data}", "Did you mean baseline"),
        ("-STAGE all -PIPELINE {tmp}/p --FORCE_STAGE sll {data}", "Did you mean ssl"),
        ("-STAGE all -PIPELINE {tmp}/p -RESULTS_TEST x.json {data}", "x.json: no such file. Check -RESULTS_TEST"),
        ("-STAGE prior -PIPELINE {tmp}/p {data}", "needs a baseline"),
        ("-STAGE all -PIPELINE {tmp}/full {data}", "is no pipeline"),
        ("-STAGE all -PIPELINE {tmp}/p", "-COCO_ROOT, -TRAIN_ANN, -VAL_ANN must be given"),
        ("--FORCE_STAGE ssl -MODEL sia_pose {data}", "Name its folder with -PIPELINE"),
    ],
)
def test_what_can_not_work_is_one_line(people: Path, tmp_path: Path, flags: str, message: str, capsys: Any) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    data = f"-COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json -VAL_ANN {people}/val.json"
    assert train_pose.main(flags.format(tmp=tmp_path, data=data).split()) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_one_process_at_a_time(start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start("-STAGE baseline") == 0
    with pipeline.lock_folder(tmp_path / "p"):
        assert start("-STAGE baseline", first=False) == 1
    assert "Another process works in" in capsys.readouterr().err


def test_scores_of_another_program_are_from_0_to_1(
    reported: Callable[..., int], tmp_path: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((people / "val-results.json").read_text())
    (tmp_path / "val.json").write_text(json.dumps([{**row, "score": 1 + row["score"]} for row in rows]))
    assert reported(f"-STAGE baseline -RESULTS_TEST {tmp_path}/val.json", last=True) == 1
    assert "Scale them to 0 to 1." in capsys.readouterr().err


def test_results_of_another_program_are_kept_as_they_are(
    start: Callable[..., int], tmp_path: Path, people: Path
) -> None:
    start("-STAGE baseline")
    part = json.loads((tmp_path / "p" / "splits" / "calibrate.json").read_text())
    ids = {image["id"] for image in part["images"]}
    given = {
        json.dumps(r["keypoints"])
        for r in json.loads((people / "train-results.json").read_text())
        if r["image_id"] in ids
    }
    taken = {
        json.dumps(r["keypoints"]) for r in json.loads((tmp_path / "p" / "1-baseline" / "calibrate.json").read_text())
    }
    assert given == taken and len(taken) > 3


# ---- With a training ----

TRAINING = "-SIZE test -IMGSZ 64 -BS 4 -WORKERS 0 -DEVICE cpu -EPOCH 2 -CALIBRATE 0.2"


def ranked(rank: int, argv: str) -> int:
    """One of torchrun's processes; it draws nothing, and its second stage does nothing."""
    import sys

    visualizer.TrainingVisualizer.epoch = lambda *_: None  # type: ignore[method-assign]
    visualizer.TrainingVisualizer.training_batch = lambda *_: None  # type: ignore[method-assign]
    fitted.MODULES["ssl"] = "fake"
    sys.modules["fake"] = SimpleNamespace(STAGE=Stage(together, load, fields=()))  # type: ignore[assignment]
    return train_pose.main(argv.split())


def together(work: StageInput) -> StageFit:
    """Declines with what the ranks have to say; an error of the second one where that is asked for."""
    with work.ranks.shared_errors():
        if work.config.ssl_epoch == 7 and work.ranks.rank == 1:
            raise DataError("the second rank can't read")
    return StageFit(declined=f"{sorted(work.ranks.gather(work.ranks.rank))}")


def flags_of(people: Path, tmp_path: Path) -> str:
    data = f"-COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json -VAL_ANN {people}/val.json"
    return f"-PIPELINE {tmp_path}/p {TRAINING} {data}"


def test_two_ranks_walk_through_all_stages(people: Path, tmp_path: Path) -> None:
    flags = flags_of(people, tmp_path)
    assert processes.finish(processes.start(2, ranked, f"-STAGE baseline {flags}")) == [0, 0]
    record = state(tmp_path).stages["baseline"]
    assert record.done and record.measured is not None
    assert record.weights == "1-baseline/fitted/model.pt"
    environment = json.loads((tmp_path / "p" / "1-baseline" / "training" / "environment.json").read_text())
    assert environment[0]["processes"] == 2
    assert processes.finish(processes.start(2, ranked, f"-STAGE ssl -PIPELINE {tmp_path}/p")) == [0, 0]
    assert state(tmp_path).stages["ssl"].declined == "[0, 1]"
    assert (tmp_path / "p" / "fitted" / "pipeline.json").is_file()


def test_an_error_of_one_rank_ends_both(people: Path, tmp_path: Path) -> None:
    """Of the first one, which alone looks for a baseline; and of the second one, within a stage."""
    assert processes.finish(processes.start(2, ranked, f"-STAGE ssl {flags_of(people, tmp_path)}")) == [1, 1]
    results = f"-RESULTS_CALIBRATE {people}/train-results.json -RESULTS_TEST {people}/val-results.json"
    flags = f"-STAGE all -SSL_EPOCH 7 {flags_of(people, tmp_path)} {results}"
    assert processes.finish(processes.start(2, ranked, flags)) == [1, 1]
    assert not state(tmp_path).stages["ssl"].done


def test_a_kill_in_the_training_is_gone_on_from(people: Path, tmp_path: Path) -> None:
    """The training saves itself after every step, and the pipeline finds it."""
    flags = f"-STAGE baseline {flags_of(people, tmp_path)} -SAVE_MINUTES 0 -EPOCH 5 -EVAL_EVERY 5"
    process = processes.start(1, ranked, flags)[0]
    last = tmp_path / "p" / "1-baseline" / "training" / "weights" / "last.pt"
    deadline = time.monotonic() + 60
    while not last.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert processes.finish([process]) == [-signal.SIGKILL]
    assert not state(tmp_path).stages["baseline"].done
    assert processes.finish(processes.start(1, ranked, f"-STAGE baseline -PIPELINE {tmp_path}/p -SAVE_MINUTES 9")) == [
        0
    ]
    assert state(tmp_path).stages["baseline"].done
    folders = [path.name for path in (tmp_path / "p" / "1-baseline").iterdir() if path.is_dir()]
    assert sorted(folders) == ["fitted", "training"]
    starts = json.loads((last.parent.parent / "environment.json").read_text())
    assert len(starts) == 2  # the second one went on
