"""Where the model runs, and why."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from sia.errors import ConfigError, first_line

CHOICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Device:
    """A device that works, the reason it was taken, and what the user should know about one left idle."""

    torch: torch.device
    reason: str
    warning: str = ""

    def __str__(self) -> str:
        return f"{self.torch} ({self.reason})"


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
    return Device(torch.device(wanted), f"{_name(wanted)}, as asked by --device {wanted}")


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
        return Device(torch.device("cuda"), f"{_name('cuda')}, found by --device auto")
    if not _mps_problem():
        return Device(torch.device("mps"), f"{_name('mps')}, found by --device auto")
    return _cpu("no GPU that PyTorch can use", _idle_gpu(f" PyTorch can't use it: {_cuda_problem('cuda')}."))


def _cpu(why: str, warning: str) -> Device:
    threads = torch.get_num_threads()
    return Device(torch.device("cpu"), f"{why}; {threads} thread{'s' if threads != 1 else ''}", warning)


def _idle_gpu(advice: str) -> str:
    if torch.cuda.is_available():
        return f"The GPU {torch.cuda.get_device_name()} is present but unused.{advice}"
    if torch.backends.mps.is_available():
        return f"Apple's GPU is present but unused.{advice}"
    if Path("/proc/driver/nvidia/version").exists():
        return f"An NVIDIA GPU seems to be present but is unused.{advice}"
    return ""


def _cuda_problem(wanted: str) -> str:
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
    return "" if torch.backends.mps.is_available() else "PyTorch finds no Apple GPU"


def _name(wanted: str) -> str:
    if wanted.startswith("cuda"):
        return torch.cuda.get_device_name(wanted)
    return f"Apple GPU of {platform.machine()}"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products: without them, bf16 is slower than fp32."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # the question is about the current one
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = device.type == "cpu"
    return cpu and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it, else float32: emulated bfloat16 can be fifteen times as slow."""
    return torch.bfloat16 if multiplies_bf16(device) else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """The context of `fastest_dtype`; nothing changes in it where that is float32."""
    dtype = fastest_dtype(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def usable_cores() -> int:
    """The cores this process may use: a batch system or a container may allow fewer than there are."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")  # "200000 100000" for two cores, "max 100000" for no limit
    if quota.is_file():
        share, period = quota.read_text().split()
        usable = usable if share == "max" else min(usable, max(1, int(share) // int(period)))
    return usable
