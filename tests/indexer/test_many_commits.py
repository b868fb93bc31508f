"""A run that commits for long does not grow: commits of made rows in a process of its own, watched from without."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from locatlas.indexer import allocator

MAY_GROW_MB = 45
"""Seen: 15. Where every merge takes in all rows and glibc keeps what was freed it was 78."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of memory in /proc")
def test_memory_does_not_grow_with_the_commits(tmp_path: Path) -> None:
    words = ["-m", "tests.indexer.many_commits", str(tmp_path / "atlas"), "64", "32"]
    done = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
    half, whole = json.loads(done.stdout.splitlines()[-1])
    assert half > 50  # it was told at all
    assert whole - half < MAY_GROW_MB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux may have glibc")
def test_what_is_free_is_given_back() -> None:
    # many pieces below the size that the allocator would ask the system for one by one, with some that stay
    code = """
from locatlas.indexer import allocator
from tests.indexer.many_commits import anonymous_mb
kept = [bytes(60_000) for _ in range(3000)]
full = anonymous_mb()
kept = kept[::100] + kept[-1:]
allocator.give_back()
print(full - anonymous_mb())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    if allocator._glibc() is not None:
        assert float(done.stdout) > 100


def test_an_environment_that_names_arenas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    class Library:
        def mallopt(self, *given: int) -> None:
            called.extend(given)

    monkeypatch.setattr(allocator, "_glibc", Library)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    allocator.few_arenas()
    assert called == []
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    allocator.few_arenas()
    assert called == [allocator._M_ARENA_MAX, allocator.ARENAS]
