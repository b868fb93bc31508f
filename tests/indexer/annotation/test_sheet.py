"""Sheets as annotators and spreadsheet programs leave them, and labels as people spell them."""

from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.indexer.annotation.sheet import AllowedLabels, SheetRow, read_sheet
from locatlas.indexer.labels import get_vocabulary

HEAD = "id,picture,localizations,note,source_digest"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_rows_are_read_with_their_lines(tmp_path: Path) -> None:
    text = f'{HEAD}\nx/1,thumbnails/1.png,er; golgi,"a, note",d1\n\nx/2,thumbnails/2.png,,,d2\n'
    assert read_sheet(write(tmp_path / "s.csv", text)) == [
        SheetRow(2, "x/1", "er; golgi", "a, note", "d1"),
        SheetRow(4, "x/2", "", "", "d2"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheet_programs_save_is_read(tmp_path: Path, encoding: str) -> None:
    text = "id\tlocalizations\tsource_digest\tmore\r\nx/ü\tNucléole\td1\tseen twice\r\n"
    assert read_sheet(write(tmp_path / "s.txt", text, encoding)) == [SheetRow(2, "x/ü", "Nucléole", "", "d1")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"s\.csv: the table is empty"),
        (b"id,note\nx,y\n", r"s\.csv: missing column localizations, source_digest; columns: id, note"),
        (b"id;localizations;source_digest\n", r"s\.csv: columns are separated by semicolons"),
        (HEAD.encode() + b"\nx/1,p,Zellkern-M\xfcll,,d\n", r"s\.csv line 2: not UTF-8 text; save the sheet as CSV"),
        (HEAD.encode() + b"\nx/1,p,er,d1\n", r"s\.csv line 2: 4 cells, but the header has 5; nothing was written$"),
        (HEAD.encode() + b"\nx/1,p,er,,d\nx/2,p,er,,\n,p,er,,d\n",
         r"s\.csv line 3: source_digest is empty; leave it as exported; nothing was written \(and 1 more such line: 4"),
        (HEAD.encode() + b'\nx/1,p,"er,,d\n', r"s\.csv: broken after line"),
        (b"PK\x03\x04\x14\x00\x06\xff\xfe", r"s\.csv: a spreadsheet program's own file; save the sheet as CSV"),
    ],
)  # fmt: skip
def test_sheets_that_cannot_be_used_are_refused_by_file_and_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_sheet(tmp_path / "s.csv")


def test_a_sheet_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_sheet(tmp_path / "none.csv")


ALLOWED = AllowedLabels(["er", "golgi", "nucleoplasm"], "the labels this atlas uses")


@pytest.mark.parametrize(
    ("written", "decision"),
    [
        ("", None),
        (" ; ", None),
        ("none", ()),
        ("None", ()),
        ("ER", ("er",)),
        (" golgi;er ;er", ("er", "golgi")),
        ("Nucleoplasm", ("nucleoplasm",)),
    ],
)
def test_decisions(written: str, decision: tuple[str, ...] | None) -> None:
    assert ALLOWED.decision(written) == decision


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("nucleoplsm", "label 'nucleoplsm' is not among the labels this atlas uses; did you mean 'nucleoplasm'?"),
        ("xyz", r"label 'xyz' is not among the labels this atlas uses \(--vocabulary names"),
        ("none;er", "says 'none' and names localizations"),
        ("er,golgi", "label 'er,golgi' is not among"),
    ],
)
def test_what_is_no_decision_is_refused(written: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ALLOWED.decision(written)


def test_new_labels_are_taken_as_they_are_written_where_asked_for() -> None:
    assert AllowedLabels(["er"], "", new=True).decision("ER;Dots") == ("Dots", "er")


def test_a_vocabulary_knows_its_other_spellings() -> None:
    hpa = AllowedLabels.of_vocabulary(get_vocabulary("hpa"))
    assert hpa.decision("golgi;ER;nucleoli rim") == ("Endoplasmic reticulum", "Golgi apparatus", "Nucleoli rim")
    with pytest.raises(InputError, match="not among vocabulary hpa"):
        hpa.decision("chromatin")


def test_labels_that_differ_in_letter_case_alone_are_told_apart() -> None:
    both = AllowedLabels(["Nucleoplasm", "nucleoplasm"], "")
    assert both.decision("nucleoplasm") == ("nucleoplasm",)
    with pytest.raises(InputError, match="'NUCLEOPLASM' could be 'Nucleoplasm' or 'nucleoplasm'"):
        both.decision("NUCLEOPLASM")
