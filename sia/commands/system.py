"""`sia system`: what this machine and this installation have."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import sia
from sia.io.bundled_weights import bundled_models
from sia.io.optional import EXTRAS
from sia.runtimes.device import memory, multiplies_bf16, usable_cores

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "opencv-contrib-python",
            "opencv-contrib-python-headless", "opencv-python", "opencv-python-headless", "av", "onnxruntime",
            "openvino")  # fmt: skip
CODECS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "h264", "hevc", "vp9", "av1")
"""Encoders, then decoders, by FFmpeg's names."""
GIB = 1 << 30


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia system`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Prints it."""
    facts = read_facts()
    if args.json:
        print(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        rows = [f"{key} {entry}" for key, entry in value.items()] if isinstance(value, dict) else value
        text = f"\n{'':<10} ".join(rows) if name == "extras" else ", ".join(rows) if isinstance(rows, list) else rows
        print(f"{name:<10} {text or 'none'}")


def read_facts() -> dict[str, Any]:
    """Versions, devices, processor, memory, codecs, extras and bundled weights, as plain values."""
    return {
        "sia": sia.__version__,
        "python": f"{platform.python_version()}, {platform.platform()}",
        "packages": {name: text for name in PACKAGES if (text := _version(name))},
        "devices": _devices(),
        "processor": _processor(),
        "memory": "{:.1f} GiB, {:.1f} free".format(*(part / GIB for part in memory())),
        "codecs": _codecs(),
        "extras": {name: _extra(name) for name in EXTRAS},
        "weights": list(bundled_models()),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    if importlib.util.find_spec("torch") is None:
        return ["cpu (torch is not installed: only exports run)"]
    import torch

    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    devices = [f"cuda:{i} {gpu.name} ({gpu.total_memory / GIB:.0f} GiB)" for i, gpu in enumerate(found)]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    return [*devices, f"cpu; PyTorch is built for {build if torch.version.cuda or torch.version.hip else 'CPUs only'}"]


def _processor() -> list[str]:
    facts = [platform.processor() or platform.machine(), f"{usable_cores()} of {os.cpu_count()} cores usable"]
    if importlib.util.find_spec("torch") is not None:
        import torch

        bf16 = "" if multiplies_bf16(torch.device("cpu")) else "no "
        facts += [f"{torch.backends.cpu.get_cpu_capability()}, {bf16}products in bf16"]
    return facts


def _codecs() -> list[str]:
    if importlib.util.find_spec("av") is None:
        return []
    import av

    return [name for name in CODECS if name in av.codecs_available]


def _extra(name: str) -> str:
    missing = [package for package in EXTRAS[name] if importlib.util.find_spec(package) is None]
    return f'misses {", ".join(missing)}: pip install "sia-pose[{name}]"' if missing else "installed"
