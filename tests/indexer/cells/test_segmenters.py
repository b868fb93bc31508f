"""Names and parameters of segmenters, what identifies them, and what they refuse."""

import hashlib
import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError, StoreDamagedError, UnknownNameError
from locatlas.indexer.cells.builtin import segment_builtin
from locatlas.indexer.cells.nuclei import NucleusParameters
from locatlas.indexer.cells.segmenters import PARAMETERS, SEGMENTERS, VERSIONS, SegmenterSpec, get_segmenter, segment
from tests.indexer.drawn_nuclei import discs, field, plane

# areas of nuclei, drawn with 2821, 2821, 1961 and 1441 pixels, and of cells
PINNED = [[2920, 2808, 2056, 1484], [8204, 11768, 11928, 7352]]


def test_the_built_in_segmenter_is_what_it_was() -> None:
    """Its id is in the ids of all cells: other defaults, or an algorithm with other results, are another version."""
    assert get_segmenter("builtin", {}).id == "builtin-0044b08b"
    true = discs((200, 200), [(50, 50, 60), (55, 115, 60), (140, 60, 50), (150, 199, 60)])
    nucleus = plane(true, light=[4000, 2000, 3000, 4000])
    found = segment(
        field(nucleus, er=plane(discs((200, 200), [(100, 100, 240)]), seed=1)), get_segmenter("builtin", {})
    )
    areas = [np.bincount(labels.ravel())[1:].tolist() for labels in (found.nuclei, found.cells)]
    assert areas == PINNED, "results changed: raise VERSIONS in indexer/cells/segmenters.py"


def test_an_id_is_the_digest_of_name_version_and_all_parameters() -> None:
    spec = get_segmenter("builtin", {"level": "0.5"})
    defaults = {name: parameter.default for name, parameter in PARAMETERS["builtin"].items()}
    said = {"name": "builtin", "parameters": {**defaults, "level": 0.5}, "version": VERSIONS["builtin"]}
    text = json.dumps(said, sort_keys=True).replace(": ", ":").replace(", ", ",")
    assert spec.to_json() == text
    assert spec.id == f"builtin-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    assert spec.id != get_segmenter("builtin", {}).id
    assert get_segmenter("given", {}).id == "given"


@given(level=st.floats(0.01, 0.9), diameter=st.floats(6, 1e6, exclude_min=True))
def test_specs_survive_their_text(level: float, diameter: float) -> None:
    spec = get_segmenter("builtin", {"level": repr(level), "nucleus_diameter_px": repr(diameter)})
    assert spec.parameters["level"] == level
    again = SegmenterSpec.from_json(spec.to_json())
    assert again == spec
    assert again.id == spec.id
    assert hash(again) == hash(spec)


def test_defaults_are_those_of_the_algorithm() -> None:
    declared = {name: parameter.default for name, parameter in PARAMETERS["builtin"].items()}
    nuclei = {name: value.default for name, value in inspect.signature(NucleusParameters).parameters.items()}
    cells = inspect.signature(segment_builtin).parameters
    renamed = {f"nucleus_{name}" if name.startswith("diameter") else name: value for name, value in nuclei.items()}
    reaches = {name: cells[name].default for name in ("cell_reach_um", "cell_reach_px")}
    assert declared == renamed | reaches


def test_parameters_reach_the_algorithm() -> None:
    image = field(
        plane(
            discs(
                (120, 160),
                [(60, 40, 40), (60, 110, 40)],
            ),
            light=[4000, 700],
        ),
        0.4,
    )
    asked = {"nucleus_diameter_px": "40", "faintest": "0.3", "cell_reach_px": "5"}
    found = segment(image, get_segmenter("builtin", asked))
    expected = segment_builtin(image, NucleusParameters(diameter_px=40, faintest=0.3), cell_reach_px=5)
    np.testing.assert_array_equal(found.cells, expected.cells)
    assert found.n_cells == 1
    assert segment(image, get_segmenter("builtin", {"nucleus_diameter_px": "40"})).n_cells == 2


def test_an_unknown_segmenter_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="unknown segmenter 'stardist'; known: builtin, cellpose, given"):
        get_segmenter("stardist", {})
    assert set(SEGMENTERS) == set(VERSIONS) == {"builtin", "cellpose", "given"}


@pytest.mark.parametrize("name", ["builtin", "cellpose", "given"])
def test_an_unknown_parameter_is_answered_with_all_there_are(name: str) -> None:
    with pytest.raises(InputError) as error:
        get_segmenter(name, {"size": "3"})
    allowed = ", ".join(PARAMETERS[name]) or "none"
    assert str(error.value) == f"segmenter {name} has no parameter 'size'; it has: {allowed}"


@pytest.mark.parametrize(
    ("key", "text", "needed"),
    [
        ("level", "0", "a number above 0, at most 0.95 needed"),
        ("level", "0.96", "a number above 0, at most 0.95 needed"),
        ("level", "half", "a number above 0, at most 0.95 needed"),
        ("neck", "nan", "a number above 0, at most 1 needed"),
        ("smallest", "-0.1", "a number at least 0 needed"),
        ("nucleus_diameter_um", "inf", "a number above 0 needed"),
        ("nucleus_diameter_px", "6", "a number above 6 needed"),
        ("cell_reach_um", "", "a number at least 0 needed"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can_be(key: str, text: str, needed: str) -> None:
    with pytest.raises(InputError) as error:
        get_segmenter("builtin", {key: text})
    means = PARAMETERS["builtin"][key].means
    assert str(error.value) == f"segmenter builtin: {key}={text!r}; {needed} ({means})"


@pytest.mark.parametrize("text", ["", "[]", '{"name": "builtin"}', '{"name": "b", "version": "x", "parameters": {}}'])
def test_text_that_is_no_segmenter_is_damage(text: str) -> None:
    with pytest.raises(StoreDamagedError, match="not a segmenter"):
        SegmenterSpec.from_json(text)


def test_what_cannot_be_computed_here_is_refused() -> None:
    image = field(np.eye(30, dtype=np.uint8))
    with pytest.raises(InputError, match="given are read from their masks"):
        segment(image, get_segmenter("given", {}))
    later = SegmenterSpec("builtin", VERSIONS["builtin"] + 1, get_segmenter("builtin", {}).parameters)
    with pytest.raises(InputError, match=f"has version {VERSIONS['builtin']} of segmenter builtin, not"):
        segment(image, later)
    with pytest.raises(InputError, match="has version None of segmenter stardist, not 3"):
        segment(image, SegmenterSpec("stardist", 3))
