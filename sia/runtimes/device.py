"""Where the model runs, and why. PyTorch is asked only where it is what runs the model."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sia.errors import ConfigError, first_line

if TYPE_CHECKING:
    import torch
    from torch import device as TorchDevice

CHOICES = ("auto", "cpu", "cuda", "mps")

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Of products of matrices and convolutions, with PyTorch's names; all else stays in float32."""


@dataclass(frozen=True)
class Device:
    """A device that works, as PyTorch calls it, why it was taken, and what the user should know about one left idle."""

    name: str
    reason: str
    warning: str = ""

    @property
    def type(self) -> str:
        """The name without its number: ``cpu``, ``cuda`` or ``mps``."""
        return self.name.split(":")[0]

    @property
    def torch(self) -> TorchDevice:
        """For PyTorch, which is loaded now."""
        import torch

        return torch.device(self.name)

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose_device(wanted: str = "auto") -> Device:
    """``auto`` takes an NVIDIA or AMD GPU, else Apple's, else the CPU; a device asked for by name is never replaced.

    Raises:
        ConfigError: the device asked for is unknown or can't be used.
    """
    kind = wanted.split(":")[0]
    if kind not in CHOICES:
        raise ConfigError(f"--device {wanted} is unknown. Use one of {', '.join(CHOICES)}, or cuda:1 for a second GPU.")
    if kind == "auto":
        return _best()
    if kind == "cpu":
        return _cpu("as asked by --device cpu", _idle_gpu(" Leave --device cpu away to use it."))
    problem = _cuda_problem(wanted) if kind == "cuda" else _mps_problem()
    if problem:
        raise ConfigError(f"--device {wanted} can't be used: {problem}. Use --device auto or cpu.")
    return Device(wanted, f"{_name(wanted)}, as asked by --device {wanted}")


def choose_cpu(wanted: str, library: str) -> Device:
    """The CPU, for a file that runs nowhere else.

    Args:
        wanted: as for `choose_device`.
        library: what runs it, with its version.

    Raises:
        ConfigError: another device was asked for by name.
    """
    if wanted not in ("auto", "cpu"):
        raise ConfigError(
            f"--device {wanted} can't be used: an exported model runs in {library} on the CPU. Leave --device away, or "
            "give the .pt file that it was exported from."
        )
    return _cpu(f"{library}, for exported models", _idle_gpu(" The .pt file that was exported can use it."))


def _best() -> Device:
    if not _cuda_problem("cuda"):
        return Device("cuda", f"{_name('cuda')}, found by --device auto")
    if not _mps_problem():
        return Device("mps", f"{_name('mps')}, found by --device auto")
    return _cpu("no GPU that PyTorch can use", _idle_gpu(f" PyTorch can't use it: {_cuda_problem('cuda')}."))


def _cpu(why: str, warning: str) -> Device:
    threads = cpu_threads()
    return Device("cpu", f"{why}; {threads} thread{'s' if threads != 1 else ''}", warning)


def _idle_gpu(advice: str) -> str:
    torch = sys.modules.get("torch")  # loaded, it knows best
    if torch is not None and torch.cuda.is_available():
        return f"The GPU {torch.cuda.get_device_name()} is present but unused.{advice}"
    is_apple = (platform.system(), platform.machine()) == ("Darwin", "arm64")
    if torch.backends.mps.is_available() if torch is not None else is_apple:
        return f"Apple's GPU is present but unused.{advice}"
    if Path("/proc/driver/nvidia/version").exists():
        return f"An NVIDIA GPU seems to be present but is unused.{advice}"
    return ""


def _cuda_problem(wanted: str) -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"this PyTorch ({torch.__version__}) was built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no usable CUDA driver or GPU"
    try:
        torch.ones(1, device=wanted).add(1).item()  # a GPU too old for this build shows up only here
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return ""


def _mps_problem() -> str:
    import torch

    return "" if torch.backends.mps.is_available() else "PyTorch finds no Apple GPU"


def _name(wanted: str) -> str:
    if wanted.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(wanted)
    return f"Apple GPU of {platform.machine()}"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products: emulated, bf16 can be fifteen times as slow as fp32."""
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):  # the question is about the current one
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = device.type == "cpu"
    return cpu and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device) -> torch.autocast:
    """The context of bfloat16 where the device multiplies it; elsewhere nothing changes in it."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bf16(device))


def usable_cores() -> int:
    """The cores this process may use: a batch system or a container may allow fewer than there are."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")  # "200000 100000" for two cores, "max 100000" for no limit
    if quota.is_file():
        share, period = quota.read_text().split()
        usable = usable if share == "max" else min(usable, max(1, int(share) // int(period)))
    return usable


def memory() -> tuple[int, int]:
    """Bytes that this process may use, and those of them that are free; a container may allow fewer than there are."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # macOS lacks the last name, Windows has none
        return 8 << 30, 4 << 30
    if (file := Path("/proc/meminfo")).is_file():  # what caches hold can be had, too
        free = next((int(line.split()[1]) << 10 for line in file.open() if line.startswith("MemAvailable")), free)
    limit, used, parts = (Path("/sys/fs/cgroup") / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.is_file() and (text := limit.read_text().strip()) != "max":
        numbers = dict(line.split() for line in parts.read_text().splitlines())
        cached = sum(int(numbers.get(name, 0)) for name in ("active_file", "inactive_file"))
        total, free = min(total, int(text)), min(free, int(text) - int(used.read_text()) + cached)
    return total, free


def cpu_threads() -> int:
    """How many threads a model on the CPU gets: those of PyTorch where it is loaded, else as many as it would take."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    siblings = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    cores = len({path.read_text() for path in siblings}) or os.cpu_count() or 1  # two threads of one would wait
    return min(usable_cores(), cores)


def wait_passively() -> None:
    """Lets OpenMP's threads sleep while they wait, unless the user has said otherwise with ``OMP_WAIT_POLICY``.

    By default they spin, which takes the processor from threads that have work as soon as anything else runs on the
    machine. To be called before torch is loaded. `git show a61b267:benchmarks/threads.py` measured both.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
