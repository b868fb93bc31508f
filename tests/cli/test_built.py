"""What is printed of the cells that an index run found."""

import pytest

from locatlas.cli.built import _tell_cells
from locatlas.indexer.summary import IndexSummary, Segmented


@pytest.mark.parametrize(
    ("n", "lines"),
    [
        (
            1,
            [
                "cells: 5 found in 1 field (given 1), 1 field without any",
                "1 cell without a vector by this encoder, because of the border (drop)",
            ],
        ),
        (
            2,
            [
                "cells: 5 found in 2 fields (given 2), 2 fields without any",
                "2 cells without a vector by this encoder, because of the border (drop)",
            ],
        ),
    ],
)
def test_counts_of_one_are_singular(n: int, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = Segmented(fields=n, cells=5, empty=n, uncovered=["d/a", "d/b"][:n], segmenters={"given": n})
    _tell_cells(IndexSummary(segmented=found, dropped=n))
    shown = capsys.readouterr()
    assert shown.out.splitlines() == lines
    assert f"note: {n} field{'s' * (n > 1)} in none of the masks" in " ".join(shown.err.split())
