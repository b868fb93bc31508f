"""Cells and nuclei put together: against a slow pairing, pixel by pixel."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from locatlas.indexer.cells.pairing import paired

labels = npst.arrays(np.int32, (7, 8), elements=st.integers(0, 4))


@given(cells=labels, nuclei=labels)
def test_every_pixel_is_that_of_the_nearest_nucleus_of_its_cell(
    cells: NDArray[np.int32], nuclei: NDArray[np.int32]
) -> None:
    home = {}
    for nucleus in set(nuclei.ravel().tolist()) - {0}:
        under = [cell for cell in cells[nuclei == nucleus].tolist() if cell]
        if under:
            home[nucleus] = min(set(under), key=lambda cell: (-under.count(cell), cell))
    found = paired(cells, nuclei)
    for place in np.ndindex(cells.shape):
        owners = [nucleus for nucleus, cell in home.items() if cells[place] and cell == cells[place]]
        if nuclei[place]:
            assert found[place] == nuclei[place]
        elif not owners:
            assert found[place] == 0
        else:
            away = {n: np.hypot(*(np.argwhere(nuclei == n) - place).T).min() for n in owners}
            assert found[place] in owners
            assert np.isclose(away[int(found[place])], min(away.values()))


def test_a_cell_without_a_nucleus_goes_and_a_nucleus_without_a_cell_stays() -> None:
    cells = np.array([[1, 1, 0, 5, 5, 5]], np.int32)
    nuclei = np.array([[0, 0, 9, 0, 3, 0]], np.int32)
    np.testing.assert_array_equal(paired(cells, nuclei), [[0, 0, 9, 3, 3, 3]])


def test_a_cell_with_two_nuclei_is_dealt_out() -> None:
    cells = np.ones((1, 8), np.int32)
    nuclei = np.array([[2, 0, 0, 0, 0, 0, 7, 0]], np.int32)
    np.testing.assert_array_equal(paired(cells, nuclei)[0, [0, 1, 2, 4, 5, 6, 7]], [2, 2, 2, 7, 7, 7, 7])
