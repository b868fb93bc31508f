"""Names: what a mask's file name says, and by which names a field is known."""

from pathlib import Path, PurePath

import pytest

from locatlas.indexer.cells.matching import MaskName, mask_name, names_of
from locatlas.indexer.records import ImageRecord, Source


@pytest.mark.parametrize(
    ("path", "of", "stem", "marked"),
    [
        ("1_A1_1_cellmask.png", "cells", "1_A1_1", True),
        ("cellmask_7.png", "cells", "7", True),
        ("nucleimask_7.png", "nuclei", "7", True),
        ("FID1_mask.png", "cells", "FID1", True),
        ("a_cell_mask.tif", "cells", "a", True),
        ("a_cp_masks.png", "cells", "a", True),
        ("a_nuclei.png", "nuclei", "a", True),
        ("a_nuc_mask.npz", "nuclei", "a", True),
        ("a.tif", "cells", "a", False),
        ("hpa_cell_mask/a.npz", "cells", "a", False),
        ("hpa_nuclei_mask/a.npz", "nuclei", "a", False),
        ("_mask.png", "cells", "_mask", False),
    ],
)
def test_what_a_mask_is_of_is_in_its_name(path: str, of: str, stem: str, marked: bool) -> None:
    assert mask_name(PurePath(path)) == MaskName(of, stem, marked)


def record(image_id: str, *files: str) -> ImageRecord:
    sources = tuple(Source(Path("/data", name), (f"c{i}",)) for i, name in enumerate(files))
    return ImageRecord(id=image_id, level="fov", dataset=image_id.split("/")[0], sources=sources)


def test_a_field_is_known_by_its_id_and_by_its_file() -> None:
    names = names_of(record("opencell/FID1", "OC-FOV_A_ENSG1_CID1_FID1_proj.tif"))
    assert {"opencell/FID1", "FID1", "OC-FOV_A_ENSG1_CID1_FID1_proj.tif"} <= set(names)
    assert {"OC-FOV_A_ENSG1_CID1_FID1_proj", "OC-FOV_A_ENSG1_CID1_FID1"} <= set(names)


def test_the_file_of_one_channel_does_not_stand_for_the_field() -> None:
    names = names_of(record("m/x", "a1_dapi.png", "a1_gfp.png"))
    assert "a1" in names
    assert "a1_dapi" in names_of(record("m/x", "a1_dapi.png"))
    assert "1_A1_1" in names_of(record("hpa/x", "1_A1_1_red.tif.gz", "1_A1_1_green.tif.gz"))
    assert "1_A1_1_red" not in names_of(record("hpa/x", "1_A1_1_red.tif.gz", "1_A1_1_green.tif.gz"))
