"""The script that tortures atlases finds nothing, and finds what is put there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torturing.model import Model, Plans, between, differences
from torturing.sources import Field, Sources

pytestmark = pytest.mark.skipif("sys.platform == 'win32'")

PLANS = Plans({("fov", None): "f" * 64, ("cell", None): "c" * 64}, dim=8)


@pytest.mark.slow
def test_a_short_torture_loses_and_duplicates_nothing_and_finds_every_flip(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "torture.py"
    command = [sys.executable, str(script), "--minutes", "0.3", "--seed", "7", "--folder", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert (said["lost"], said["duplicated"], said["wrong"], said["undetected"]) == (0, 0, 0, 0)
    assert sum(said["operations"].values()) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def model(tmp_path: Path) -> Model:
    sources = Sources(tmp_path, fields={0: Field(5, "er"), 1: Field(6, "golgi"), 2: Field(None, "er")})
    made = Model()
    made.index_fields(sources, PLANS)
    return made


def test_the_model_has_rows_and_vectors_of_what_can_be_read(model: Model) -> None:
    rows = model.expected()
    assert {i for section, i in rows if section == "fovs"} == {"opencell/FID00000000", "opencell/FID00000001"}
    assert sum(section == f"emb_fov_{'f' * 12}" for section, _ in rows) == 2
    assert sum(section == "quarantine" for section, _ in rows) == 1
    assert rows["encoders", f"fov/{'f' * 64}"] == "current"


def test_a_row_that_is_lost_doubled_other_or_nobodys_is_told(model: Model) -> None:
    expected = model.expected()
    key = ("fovs", "opencell/FID00000000")
    assert differences(expected, expected, {}) == []
    lost = {k: v for k, v in expected.items() if k != key}
    assert [d.kind for d in differences(expected, lost, {})] == ["lost"]
    assert [d.kind for d in differences(expected, {**expected, key: ("x",)}, {})] == ["wrong"]
    assert [d.kind for d in differences(expected, {**expected, ("fovs", "x"): 1}, {})] == ["unexpected"]
    assert [d.kind for d in differences(expected, expected, {"fovs": 2})] == ["duplicated"]


def test_under_way_a_row_may_be_as_before_or_as_after_and_what_stays_must_be_there(model: Model) -> None:
    before = model.expected()
    kept, changed = ("fovs", "opencell/FID00000000"), ("fovs", "opencell/FID00000001")
    after = {**before, changed: ("opencell", "GENE1", ("er",))}
    for found in (before, after, {k: v for k, v in before.items() if k != changed}):
        assert between(before, after, found, {}) == []
    assert [d.kind for d in between(before, after, {k: v for k, v in after.items() if k != kept}, {})] == ["lost"]
    assert [d.kind for d in between(before, after, {**before, changed: ("y",)}, {})] == ["wrong"]
