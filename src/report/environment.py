"""What an evaluation ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy")
_CPU_INFO = Path("/proc/cpuinfo")


def describe_environment() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on, and the hardware, by name."""
    hardware = {"Processor": f"{_processor()}, {os.cpu_count()} logical cores"}
    if torch.cuda.is_available():
        devices = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        hardware["GPUs"] = ", ".join(devices)
    return {
        "Python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
        "Operating system": platform.platform(),
        **hardware,
    }


def _processor() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
