"""Names and filters of any text: the right rows, or a refusal of one line (rows 28 and 33)."""

import csv
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import locatlas
from locatlas.errors import InputError, LocatlasError, UnknownNameError
from locatlas.indexer.datasets.tables import open_table
from locatlas.indexer.index import index
from locatlas.query.asking.filters import Filter, apply, parse
from locatlas.query.atlas import Atlas
from tests.indexer.made import PlainEncoder, pixels

ODD = [
    "LMNB1",
    "O'Neill",
    'say "gene"',
    "'; DROP TABLE fovs; --",
    "x' OR '1'='1",
    "a=b",
    "a!=b<c>d~e",
    "semi;colon",
    "comma, tab\there",
    "line\nbreak",
    "nul\0byte",
    "escape\x1b[31m",
    "back\\slash \\n \\'",
    "percent % under_score",
    "ünïcödé",
    unicodedata.normalize("NFD", "naïve"),
    "ﬁ ligature",
    "日本語",
    "👩‍🔬",
    "right\u202eleft",
    "zero\u200bwidth",
    "=cmd|'/C calc'!A0",
    "+1",
    "-1+2",
    "@SUM(A1)",
    "'=quoted",
    "`tick`",
    "$(touch marker)",
    "../../etc/passwd",
    "None",
    "null",
    "NaN",
    "x" * 20_000,
]


def make_atlas(folder: Path, names: list[str]) -> Atlas:
    """Two fields for each protein, by a Parquet manifest, which can hold any text."""
    folder.mkdir()
    rows = []
    for n, name in enumerate(names):
        for copy in range(2):
            tifffile.imwrite(folder / f"{n}-{copy}.tif", pixels(2 * n + copy)[0])
            rows.append({"path": f"{n}-{copy}.tif", "channels": "protein", "id": f"i{n}-{copy}", "protein": name})
            rows[-1] |= {"plate": name, "note": name, "localizations": "a" if n % 2 else "b"}
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    index(folder / "manifest.parquet", atlas=folder / "atlas", dataset="manifest")
    return locatlas.open(folder / "atlas")


def check(atlas: Atlas, names: list[str]) -> None:
    stored = {row["id"]: row for row in atlas.store.read("fovs", ["id", "protein", "metadata"]).to_pylist()}
    rejected = [row["reason"] for row in atlas.store.read("quarantine").to_pylist()]
    assert len(stored) + len(rejected) == 2 * len(names)
    assert all(reason.isprintable() for reason in rejected)
    for n, name in enumerate(names):
        mine = {i for i in (f"manifest/i{n}-0", f"manifest/i{n}-1") if i in stored}
        if not mine:
            continue  # in quarantine
        wanted = unicodedata.normalize("NFC", name.strip())
        assert {stored[i]["protein"] for i in mine} == {wanted}
        for asked in {name.strip(), wanted, unicodedata.normalize("NFD", name.strip())}:
            if unicodedata.normalize("NFC", asked) != wanted:
                continue  # some texts do not come back from NFD
            same = {i for i, row in stored.items() if row["protein"] == wanted}
            hits = atlas.neighbors(protein=asked, k=len(same), exclude="none", where={"protein": asked}).to_pylist()
            assert {row["id"] for row in hits} == same
            assert atlas.classify(protein=asked, k=2).num_rows >= 1
            # "==" means "=", so that of text the first sign of equality is the operator's
            for where in ({"protein": asked}, {"plate": asked}, {"note": asked}, [f"protein=={asked}"]):
                rows = atlas.neighbors(id="manifest/i0-0", k=1, exclude="none", where=where).to_pylist()
                assert {row["id"] for row in rows} <= same
                assert rows
    for asked in ("not there\n' OR 1=1", "x" * 10_000 + "y"):
        for call in (
            lambda a=asked: atlas.neighbors(protein=a),
            lambda a=asked: atlas.neighbors(id=a),
            lambda a=asked: atlas.neighbors(id="manifest/i0-0", where={"protein": a}),
            lambda a=asked: atlas.neighbors(id="manifest/i0-0", where={a: "x"}),
            lambda a=asked: atlas.neighbors(id="manifest/i0-0", exclude=a),
        ):
            with pytest.raises(LocatlasError) as caught:
                call()
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 10_000


@pytest.mark.usefixtures("plain_encoder")
def test_odd_gene_names_find_their_own_images_and_no_others(tmp_path: Path) -> None:
    check(make_atlas(tmp_path / "odd", ODD), ODD)


@pytest.fixture
def plain_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)


@settings(
    max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.text(min_size=1, max_size=40).filter(str.strip), min_size=4, max_size=8, unique=True))
@pytest.mark.usefixtures("plain_encoder")
def test_any_gene_names_find_their_own_images_and_no_others(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = ["first", *(name for name in names if name != "first")]
    names = list({unicodedata.normalize("NFC", name.strip()): name for name in names}.values())
    check(make_atlas(tmp_path_factory.mktemp("any") / "x", names), names)


TEXT = st.text(max_size=30)


@given(values=st.lists(TEXT | st.none(), min_size=1, max_size=8), asked=TEXT)
def test_a_filter_compares_text_as_it_stands(values: list[str | None], asked: str) -> None:
    try:
        table = pa.table({"protein": pa.array(values, pa.string())})
    except UnicodeEncodeError:
        return  # half a surrogate pair cannot be in a table at all
    found = apply(table, [Filter("protein", "=", asked)])
    np.testing.assert_array_equal(found, [v == asked for v in values])


@given(column=st.text(st.characters(exclude_characters="=!<>~"), min_size=1, max_size=10), value=TEXT)
def test_a_filter_is_parsed_into_its_column_and_its_value(column: str, value: str) -> None:
    if not column.strip() or value[:1] in ("=",) or value != value.lstrip():
        return
    found = parse(f"{column}={value}")
    assert (found.column, found.op) == (column.strip(), "=")
    assert found.value == value
    assert found.shown.isprintable()


@given(text=st.text(max_size=60))
def test_any_text_is_a_filter_or_refused_in_one_line(text: str) -> None:
    table = pa.table({"protein": ["a"], "n": [1], "on": [True], "places": [["a", "b"]]})
    said = ""
    try:
        apply(table, [parse(text)])
    except (InputError, UnknownNameError) as error:
        said = str(error)
    assert "\n" not in said


def test_manifests_of_formulas_are_read_as_they_stand(tmp_path: Path) -> None:
    """Only sheets that locatlas wrote are taken back out of their escapes; a manifest says what it says."""
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "protein"], ["a.tif", "=x"], ["b.tif", "'=x"]])
    assert [row.values["protein"] for row in open_table(path, required=("path",)).rows()] == ["=x", "'=x"]
