from pathlib import Path

import pytest

from locatlas.models.home import encoders_folder, home, weights_folder


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCATLAS_HOME", str(tmp_path / "x"))
    assert home() == tmp_path / "x"
    assert weights_folder() == tmp_path / "x" / "weights"
    assert encoders_folder() == tmp_path / "x" / "encoders"
    assert not home().exists()


@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_unset_or_empty_name_means_the_users_cache(
    value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("LOCATLAS_HOME")
    else:
        monkeypatch.setenv("LOCATLAS_HOME", value)
    assert home() == tmp_path / ".cache" / "locatlas"


def test_a_tilde_is_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCATLAS_HOME", "~/lab")
    assert home() == tmp_path / "lab"
