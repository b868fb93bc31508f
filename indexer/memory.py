"""How much memory a process of this machine may use. Reads what the system says."""

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["usable_memory"]

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of the container or job that this process is in, by either version of control groups."""


def usable_memory(limits: Sequence[Path] = _LIMITS) -> int | None:
    """Bytes of the machine's memory, or of what a container or job is allowed of it; None where it cannot be asked."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    for path in limits:
        try:
            memory = min(memory, int(path.read_text()))
        except (OSError, ValueError):
            continue  # no such limit, or "max"
    return memory
