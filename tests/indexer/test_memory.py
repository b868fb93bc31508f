"""Memory that may be used: the machine's, or less where a container or job is allowed less."""

import os
from pathlib import Path

import pytest

from locatlas.indexer.memory import usable_memory

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
LOW, LOWER = PHYSICAL // 2, PHYSICAL // 4


def system(root: Path, said: str | None, limits: dict[str, int | str]) -> Path:
    """What a system tells of the control groups of this process."""
    if said is not None:
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(said)
    for path, limit in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    return root


V2 = "0::/system.slice/job_7/step_0\n"
V1 = "9:cpu,cpuacct:/other\n4:hugetlb,memory:/slurm/uid_1/job_7\n1:name=systemd:/user\n"
HYBRID = V1 + V2


@pytest.mark.parametrize(
    ("said", "limits", "expected"),
    [
        pytest.param(None, {}, PHYSICAL, id="nothing is told"),
        pytest.param("nonsense\n\n", {}, PHYSICAL, id="another format"),
        pytest.param("0::/\n", {"memory.max": LOW}, LOW, id="v2, container of its own"),
        pytest.param("1:memory:/\n", {"memory/memory.limit_in_bytes": LOW}, LOW, id="v1, container of its own"),
        pytest.param(V2, {"system.slice/job_7/step_0/memory.max": LOW}, LOW, id="v2, own group"),
        pytest.param(
            V2,
            {"system.slice/job_7/step_0/memory.max": "max", "system.slice/job_7/memory.max": LOW},
            LOW,
            id="v2, group above",
        ),
        pytest.param(
            V2, {"system.slice/memory.max": LOWER, "system.slice/job_7/memory.max": LOW}, LOWER, id="v2, the least"
        ),
        pytest.param(V1, {"memory/slurm/uid_1/job_7/memory.limit_in_bytes": LOW}, LOW, id="v1, own group"),
        pytest.param(V1, {"memory/slurm/memory.limit_in_bytes": LOW}, LOW, id="v1, group above"),
        pytest.param(V1, {"memory/other/memory.limit_in_bytes": LOW}, PHYSICAL, id="v1, group of the processor"),
        pytest.param(V1, {"memory/slurm/memory.limit_in_bytes": (1 << 63) - 4096}, PHYSICAL, id="v1, no limit"),
        pytest.param(HYBRID, {"unified/system.slice/memory.max": LOW}, LOW, id="both, v2 beside v1"),
        pytest.param(HYBRID, {"memory/slurm/memory.limit_in_bytes": LOW}, LOW, id="both, v1"),
        # of a container that does not see where it is: what is mounted is its own
        pytest.param("0::/../../pod\n", {"memory.max": LOW}, LOW, id="v2, outside of what is mounted"),
        pytest.param(V1, {"memory/memory.limit_in_bytes": LOW}, LOW, id="v1, path of the host"),
        pytest.param(V2, {"system.slice/job_8/memory.max": LOW}, PHYSICAL, id="of another job"),
    ],
)
def test_the_least_limit_of_the_own_group_and_those_above_counts(
    tmp_path: Path, said: str | None, limits: dict[str, int | str], expected: int
) -> None:
    assert usable_memory(system(tmp_path, said, limits)) == expected
