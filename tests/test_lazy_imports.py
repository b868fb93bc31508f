"""`import locatlas` and `--help` stay quick: seen by what they load, not by a clock."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import locatlas

HEAVY = (
    "torch",
    "timm",
    "lancedb",
    "lance",
    "faiss",
    "sklearn",
    "skimage",
    "scipy",
    "pyarrow",
    "pandas",
    "matplotlib",
    "fastapi",
    "uvicorn",
)


def _loaded(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint('LOADED', *sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_importing_locatlas_loads_nothing_heavy_nor_numpy() -> None:
    assert not _loaded("import locatlas") & {*HEAVY, "numpy", "click", "rich"}


WORDS = [
    ["--help"],
    ["--version"],
    ["index", "--help"],
    ["embed", "--help"],
    ["import-embeddings", "--help"],
    ["finetune", "--help"],
    ["pretrain", "--help"],
    ["neighbors", "--help"],
    ["classify", "--help"],
    ["sweep", "--help"],
    ["proteins", "--help"],
    ["compare", "--help"],
    ["report", "--help"],
    ["annotate", "--help"],
    ["annotate", "export", "--help"],
    ["encoders", "--help"],
    ["encoders", "list"],
    ["datasets", "list"],
    ["status", "--help"],
    ["demo", "--help"],
    ["serve", "--help"],
]


def test_help_and_lists_load_nothing_heavy() -> None:
    """All in one process: what loads something is the first after which it is there."""
    script = f"""
import sys
from locatlas.cli import main
for words in {WORDS!r}:
    try:
        main(words)
    except SystemExit as ended:
        assert ended.code == 0
    print("LOADED", *words, ":", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told = [line.removeprefix("LOADED ") for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    assert told == [f"{' '.join(words)} :" for words in WORDS]


def test_every_public_name_can_be_imported() -> None:
    import locatlas

    for name in locatlas.__all__:
        assert getattr(locatlas, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = locatlas.nothing


def test_asking_an_atlas_loads_no_network_nor_the_library_that_writes(tmp_path: Path) -> None:
    """torch alone takes longer to import than a question takes."""
    vectors = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    np.savez(
        tmp_path / "v.npz",
        ids=[f"i{n}" for n in range(6)],
        vectors=vectors,
        protein=[f"P{n}" for n in range(6)],
        localizations=["golgi"] * 6,
    )
    locatlas.import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "atlas", name="made")
    code = (
        f"import locatlas\natlas = locatlas.open({str(tmp_path / 'atlas')!r})\natlas.status()\n"
        "atlas.neighbors(id='imported/i1', k=2)\natlas.neighbors(protein='P2', k=2)\n"
        "atlas.classify(id='imported/i1', k=2)"
    )
    assert not _loaded(code) & {"torch", "timm", "lancedb", "sklearn", "scipy", "matplotlib"}
