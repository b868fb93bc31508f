"""One flipped bit, one byte less, one file less: all found, whatever file it is."""

import random
from collections import Counter
from pathlib import Path

import pytest

from locatlas.indexer.verify.run import verify
from tests.indexer.verify.whole import files_of, flip, kind_of, kinds

KINDS = {
    "atlas.json",
    "data",
    "_versions",
    "_transactions",
    "_deletions",
    "hint",
    "index.faiss",
    "index.ids",
    "index.json",
    "digests/files.jsonl",
    "digests/head.json",
}


def test_an_atlas_with_every_kind_of_file_has_no_damage(original: Path) -> None:
    report = verify(atlas=original)
    assert report.findings == []
    assert {kind_of(original, path) for path in files_of(original)} == KINDS
    assert report.tables["cells"] == 4
    assert report.tables["annotations"] == 1
    assert report.files > 50
    assert report.bytes_read > 1e6
    assert report.digests_since is not None


def sampled(atlas: Path, rng: random.Random, per_kind: int) -> list[Path]:
    by_kind: dict[str, list[Path]] = {}
    for path in files_of(atlas):
        by_kind.setdefault(kind_of(atlas, path), []).append(path)
    return [p for found in by_kind.values() for p in rng.sample(found, min(per_kind, len(found)))]


def sweep(atlas: Path, files: list[Path], rng: random.Random, random_positions: int) -> Counter[str]:
    """Flip bits one after the other; the number of flips by kind of file. All must be found."""
    tried: Counter[str] = Counter()
    for path in files:
        data = path.read_bytes()
        positions = {0, len(data) // 2, len(data) - 1} | {rng.randrange(len(data)) for _ in range(random_positions)}
        for position in sorted(positions):
            bit = rng.randrange(8)
            flip(path, position, bit)
            report = verify(atlas=atlas)
            assert report.damage, f"{path.relative_to(atlas)}: bit {bit} of byte {position} was not found"
            assert all(f.do for f in report.findings)
            path.write_bytes(data)
            tried[kind_of(atlas, path)] += 1
    assert verify(atlas=atlas).findings == []
    return tried


def test_a_flipped_bit_is_found_in_every_kind_of_file(whole: Path) -> None:
    rng = random.Random(5)
    tried = sweep(whole, sampled(whole, rng, 2), rng, 1)
    assert tried.keys() == KINDS


@pytest.mark.slow
def test_flipped_bits_are_found_in_every_file(whole: Path) -> None:
    rng = random.Random(6)
    tried = sweep(whole, list(files_of(whole)), rng, 9)
    assert sum(tried.values()) > 900


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["atlas.json", "digests/head.json", "indices/*.json", "db/fovs.lance/_versions/*.json"]
)
def test_every_bit_of_the_small_files_is_found(whole: Path, name: str) -> None:
    path = next(whole.glob(name))
    data = path.read_bytes()
    for position in range(len(data)):
        for bit in range(8):
            flip(path, position, bit)
            assert verify(atlas=whole, quick=True).damage, f"bit {bit} of byte {position}"
            path.write_bytes(data)


def test_a_file_that_is_missing_is_found_whatever_it_is(whole: Path) -> None:
    for path in sampled(whole, random.Random(7), 2):
        data = path.read_bytes()
        path.unlink()
        report = verify(atlas=whole, quick=True)
        if kind_of(whole, path) == "hint":
            assert report.findings == []  # Lance does without
        elif kind_of(whole, path) == "index.json":
            assert kinds(report, "warning") == ["index unfinished"]
        else:
            assert report.damage, path
        path.write_bytes(data)
    assert verify(atlas=whole, quick=True).findings == []


def test_a_file_that_is_cut_off_is_found_whatever_it_is(whole: Path) -> None:
    for path in sampled(whole, random.Random(8), 1):
        data = path.read_bytes()
        for length in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:length])
            report = verify(atlas=whole, quick=kind_of(whole, path) != "index.faiss")
            assert report.damage, f"{path}: {length} of {len(data)} bytes"
        path.write_bytes(data)


def test_a_journal_that_lost_whole_lines_or_all_is_found(whole: Path) -> None:
    journal = whole / "digests" / "files.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for cut in (1, len(lines) // 2, len(lines) - 1):
        journal.write_bytes(b"".join(lines[:cut]))
        assert "journal truncated" in kinds(verify(atlas=whole, quick=True))
    for path in (journal, whole / "digests" / "head.json"):
        path.unlink()
        assert "journal missing" in kinds(verify(atlas=whole, quick=True))


def test_a_table_whose_folder_is_gone_is_found(whole: Path) -> None:
    import shutil

    for table in ("fovs", "annotations"):
        shutil.rmtree(whole / "db" / f"{table}.lance")
        assert f"db/{table}.lance" in [f.where for f in verify(atlas=whole, quick=True).damage]
