"""What commands share: tables at the width of a terminal."""

import pytest

from locatlas.cli.common import print_table

COLUMNS = ("rank", "id", "similarity", "localizations")
LONG = "hpa-kaggle/02b13740-bbc5-11e8-b2bc-ac1f6b6435d0/builtin-0044b08b/3"
ROWS = [(1, LONG, 0.9731, ["Cytosol", "Nucleoli fibrillar center"]), (2, "hpa/short", 0.9724, ["Cytosol"])]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_numbers_are_never_broken_and_names_where_there_is_no_room(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS)
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= width
    assert "0.973" in told
    assert "0.972" in told
    assert all(column in told for column in COLUMNS)
    assert (LONG in told) == (width >= 120)
    start = told.splitlines()[1].index("id")  # its column; folded, its parts stand below each other
    end = told.splitlines()[1].index("similarity")
    assert LONG in "".join(line[start:end].strip() for line in told.splitlines())


def test_what_nobody_can_fit_is_folded_rather_than_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    print_table([f"n{i}" for i in range(8)], [[123456] * 8])
    told = capsys.readouterr().out
    assert sum(told.count(digit) for digit in "123456") >= 8 * 6
