"""The command line of a report asks for it again, with what differs from the usual only."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from locatlas.cli import group
from locatlas.errors import InputError, UnknownNameError
from locatlas.query.report import run as run_module
from locatlas.query.report.request import ReportRequest

MUCH = ReportRequest(
    title="A 'title' & more",
    level="cell",
    encoder="abcdef",
    ks=(1, 3, 7),
    k=3,
    group="plate",
    protocol="kfold",
    folds=3,
    seed=4,
    weights="softmax",
    temperature=0.1,
    labels="multi",
    threshold=0.4,
    exclude="fov",
    label_source="annotated",
    map_labels="hpa:opencell",
    where=["dataset=a b", "pixel_size_um<0.3"],
    held_out=True,
    proteins=("A", "B,C"),
    pictures=2,
    neighbors=3,
)


@pytest.mark.parametrize("request_", [MUCH, ReportRequest(), ReportRequest(allow_training_groups=True)])
def test_the_command_line_of_a_request_gives_the_same_request(
    request_: ReportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[object] = []

    def record(atlas: object, out: Path, request: ReportRequest, **how: object) -> dict[str, object]:
        got.extend((out, request))
        return {}

    monkeypatch.setattr(run_module, "report", record)
    monkeypatch.setattr("locatlas.query.atlas.open_atlas", lambda path: path)
    words = shlex.split(request_.command("an atlas", "an out"))
    done = CliRunner().invoke(group, [*words[1:], "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    out, request = got
    assert str(out) == "an out"
    assert isinstance(request, ReportRequest)
    assert request.command("a", "b") == request_.command("a", "b")
    assert request.proteins == request_.proteins


def test_what_is_as_usual_is_left_out() -> None:
    assert ReportRequest().command("a", "b c") == "locatlas report --atlas a --out 'b c'"


def test_the_shown_k_is_ten_or_the_largest_below_it_and_belongs_to_the_sweep() -> None:
    assert ReportRequest().sizes is None
    assert ReportRequest().shown_k((1, 3, 5, 10, 20)) == 10
    assert ReportRequest().shown_k((1, 3)) == 3
    assert ReportRequest().shown_k((20, 50)) == 20
    assert ReportRequest(ks=(1, 5), k=7).sizes == (1, 5, 7)
    assert ReportRequest(k=7).sizes is None
    assert ReportRequest(k=7).shown_k((1, 3, 5, 10)) == 7


def test_what_no_report_can_show_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="level of a report 'protein'"):
        ReportRequest(level="protein")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pictures = 0"):
        ReportRequest(pictures=0)
