"""How much memory a process of this machine may use. Reads what the system says."""

import os
from pathlib import Path, PurePosixPath

__all__ = ["usable_memory"]


def usable_memory(root: Path = Path("/")) -> int | None:
    """Bytes of the machine's memory, or of what a container or job is allowed of it; None where it cannot be asked.

    Args:
        root: Below which the system tells of its control groups.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    try:
        said = (root / "proc/self/cgroup").read_text(encoding="utf-8")
    except (OSError, ValueError):
        said = ""
    for path in _limits(said):
        try:
            memory = min(memory, int((root / "sys/fs/cgroup" / path).read_text()))
        except (OSError, ValueError):
            continue  # no such limit, or "max"
    return memory


def _limits(said: str) -> list[PurePosixPath]:
    """Files, below where control groups are mounted, with the limits of a process' own group and of all above it.

    Args:
        said: Lines of /proc/self/cgroup, `number:controllers:group`; of version 2 without controllers.
    """
    mounted = [(PurePosixPath(), "memory.max", "/"), (PurePosixPath("memory"), "memory.limit_in_bytes", "/")]
    for line in said.splitlines():
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if "memory" in controllers.split(","):
            mounted.append((PurePosixPath("memory"), "memory.limit_in_bytes", group))
        elif not controllers:
            mounted += [(PurePosixPath(where), "memory.max", group) for where in ("", "unified")]
    found = []
    for where, name, group in mounted:
        # above what is mounted, as a group outside of a container's own is told, nothing can be read
        own = PurePosixPath(*(part for part in PurePosixPath(group).parts if part not in ("/", "..")))
        found += [where / above / name for above in (own, *own.parents)]
    return list(dict.fromkeys(found))
