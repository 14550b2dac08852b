"""slurm.sbatch with an srun, a scontrol and a torchrun that only note what they are asked to do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAMS = {
    "srun": 'exec "$@"',
    "scontrol": 'echo "scontrol $*" >>"$LOG"; [[ $1 == requeue ]] || printf "one\\ntwo\\n"',
    "torchrun": 'trap "echo saved >>$LOG; exit 143" TERM; echo "torchrun $*" >>"$LOG"; '
                'if [[ $SLURM_JOB_ID == 8 ]]; then exit 1; fi; while sleep 0.05; do :; done',
}  # fmt: skip


class Job:
    """One run of the script in an empty folder."""

    def __init__(self, folder: Path, number: int, *flags: str) -> None:
        self.log = folder / "log"
        self.log.unlink(missing_ok=True)
        for name, text in PROGRAMS.items():
            (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
            (folder / name).chmod(0o755)
        variables = {"SLURM_JOB_ID": f"{number}", "SLURM_JOB_NODELIST": "[one-two]", "SLURM_JOB_NUM_NODES": "2",
                     "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "32", "LOG": f"{self.log}"}  # fmt: skip
        self.process = subprocess.Popen(
            ["bash", str(ROOT / "scripts" / "slurm.sbatch"), *flags],
            cwd=folder, env={"PATH": f"{folder}:{os.environ['PATH']}", **variables},
        )  # fmt: skip

    def wait_for(self, word: str) -> None:
        deadline = time.monotonic() + 30
        while not self.log.is_file() or word not in self.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_job_that_has_to_stop_saves_and_comes_back(tmp_path: Path, number: int, again: bool) -> None:
    job = Job(tmp_path, 7, "-MODEL", "sia_pose")
    job.wait_for("torchrun")
    job.process.send_signal(number)
    assert job.process.wait(30) == 143
    lines = job.log.read_text().splitlines()
    assert lines[0] == "scontrol show hostnames [one-two]"
    assert "--nnodes=2 --nproc_per_node=4" in lines[1] and "--rdzv_id=7-0 --rdzv_endpoint=one:20007" in lines[1]
    assert lines[1].endswith("train_pose.py -MODEL sia_pose -OUTPUT runs -EXP slurm-7")
    assert lines[2:] == ["saved", *["scontrol requeue 7"] * again]


def test_a_job_that_comes_back_goes_on(tmp_path: Path) -> None:
    (tmp_path / "runs/slurm-8/weights").mkdir(parents=True)
    (tmp_path / "runs/slurm-8/weights/last.pt").touch()
    job = Job(tmp_path, 8, "-MODEL", "sia_pose")
    assert job.process.wait(30) == 1  # its own failure is not put back into the queue
    lines = job.log.read_text().splitlines()
    assert len(lines) == 2 and lines[1].endswith("train_pose.py --RESUME runs/slurm-8/weights/last.pt")


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", str(ROOT / "scripts" / "slurm.sbatch")], check=True)
