"""What a result must say about where it comes from: the processor, the versions, the date."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from .. import __version__
from ..kernels import host
from ..kernels.threads import usable_cores


def machine() -> dict[str, object]:
    """Return the processor's name, also LLVM's for its generation, its usable cores, the instructions the kernels use,
    and the system."""
    cores = len(usable_cores())
    system = f"{platform.system()} {platform.machine()}"
    return {"cpu": f"{cpu_name()} ({host.NAME})", "cores": cores, "instructions": host.ISA, "system": system}


def cpu_name() -> str:
    """Return what the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of Python, this library, what it runs on, and those of `packages` that are installed."""
    found = {"python": platform.python_version(), "numpylstm": __version__}
    for name in ("numpy", "numba", "llvmlite", *packages):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the date and time, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
