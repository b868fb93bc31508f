"""`import locatlas` and `--help` stay quick: seen by what they load, not by a clock."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    "arguments",
    [
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
    ],
    ids=" ".join,
)
def test_help_and_lists_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"from locatlas.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit as e:\n    assert e.code == 0"
    )
    assert not _loaded(code) & set(HEAVY)


def test_every_public_name_can_be_imported() -> None:
    import locatlas

    for name in locatlas.__all__:
        assert getattr(locatlas, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = locatlas.nothing
