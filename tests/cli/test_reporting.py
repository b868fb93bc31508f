"""`report` as a user runs it: one document, one line for what is refused."""

from pathlib import Path

import pytest

from locatlas.cli import main
from locatlas.cli.documents import ReportDocument
from tests.cli.asking import document, run
from tests.query.report.made import make_atlas


def test_the_document_fits_its_schema_and_the_text_says_where_the_page_is(tmp_path: Path, unpainted: None) -> None:
    atlas, out = make_atlas(tmp_path / "atlas"), tmp_path / "out"
    found = document("report", "--atlas", atlas, "--out", out, "--ks", "1,3", "--title", "All of it")
    assert set(found) == set(ReportDocument.model_fields)
    assert (found["title"], found["k"], found["page"]) == ("All of it", 3, str(out / "index.html"))
    assert "<title>All of it</title>" in (out / "index.html").read_text()
    done = run("report", "-a", atlas, "--out", tmp_path / "again", "--ks", "1,3", "--where", "dataset=d")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{tmp_path / 'again' / 'index.html'}, with figures and tables: ")
    assert "macro F1 " in done.stdout
    assert "at k = 3, 95 % interval" in done.stdout


def test_what_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atlas = make_atlas(tmp_path / "atlas", labelled=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    for more, code, words in (
        ([], 2, "Missing option '--out'"),
        (["--out", str(tmp_path / "mine")], 1, "exists; name another folder, or --overwrite"),
        (["--out", str(tmp_path / "mine"), "--overwrite"], 1, "holds notes.txt, which no report made"),
        (["--out", str(tmp_path / "o"), "--level", "cell"], 1, "no vectors at level cell; there are some at level fov"),
        (["--out", str(tmp_path / "o"), "--level", "protein"], 2, "'protein' is not one of 'fov', 'cell'"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["report", "--atlas", str(atlas), *more])
        assert caught.value.code == code
        told = capsys.readouterr().err
        assert words in told
        assert "Traceback" not in told
