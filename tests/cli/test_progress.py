"""What long commands show: lines now and then, JSON for programs, rates and remaining times that are right."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.cli import main, progress
from locatlas.cli.pace import WINDOW_S, Pace, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(
    style: str, steps: list[tuple[float, str, int, int]], clock: list[float], capsys: pytest.CaptureFixture[str]
) -> list[str]:
    progress.choose_style(style)  # type: ignore[arg-type]
    try:
        with progress.progress_bar() as tell:
            assert tell is not None
            for seconds, *told in steps:
                clock[0] += seconds
                tell(*told)  # type: ignore[arg-type]
    finally:
        progress.choose_style("auto")
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_a_log_has_a_line_every_half_minute_and_the_last_of_a_long_stage(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [(0.0, "embedding", 0, 8000), *((1.0, "embedding", 100 * n, 8000) for n in range(1, 81))]
    assert shown("lines", steps, clock, capsys) == [
        "embedding: 3,000 of 8,000 (37 %), 100.0/s, 50 s left",
        "embedding: 6,000 of 8,000 (75 %), 100.0/s, 20 s left",
        "embedding: 8,000 of 8,000 (100 %), 100.0/s, took 1 min 20 s",
    ]


def test_a_short_stage_leaves_no_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("lines", [(0.0, "reading", 0, 10), (9.0, "reading", 10, 10)], clock, capsys) == []


def test_json_lines_have_the_first_and_the_last_of_each_stage_and_one_a_second(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [(0.0, "reading", 0, 4), (0.5, "reading", 1, 4), (0.5, "reading", 2, 4), (0.25, "reading", 4, 4)]
    lines = [json.loads(line) for line in shown("json", [*steps, (0.0, "embedding", 1, 1)], clock, capsys)]
    assert [(line["stage"], line["done"], line["total"]) for line in lines] == [
        ("reading", 0, 4),
        ("reading", 2, 4),
        ("reading", 4, 4),
        ("embedding", 1, 1),
    ]
    assert lines[1] == {
        "stage": "reading",
        "done": 2,
        "total": 4,
        "rate_per_s": 2.0,
        "elapsed_s": 1.0,
        "remaining_s": 1.0,
    }
    assert lines[3]["rate_per_s"] is lines[3]["remaining_s"] is None


def test_a_stage_ends_once_and_begins_anew_at_another_level(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [(0.0, "embedding", 0, 2), (1.0, "embedding", 2, 2), (0.1, "embedding", 2, 2), (0.1, "embedding", 2, 2)]
    steps += [(5.0, "embedding", 0, 4), (2.0, "embedding", 4, 4)]
    lines = [json.loads(line) for line in shown("json", steps, clock, capsys)]
    assert [(line["done"], line["total"], line["elapsed_s"]) for line in lines] == [
        (0, 2, 0.0),
        (2, 2, 1.0),
        (0, 4, 0.0),
        (4, 4, 2.0),
    ]


def test_a_stage_takes_the_time_before_its_first_report_too(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    # a stage that is told of when its first part is done began when the one before was over, or with the command
    steps = [(40.0, "reading", 5, 10), (40.0, "reading", 10, 10), (60.0, "heads", 1, 1)]
    assert shown("lines", steps, clock, capsys) == [
        "reading: 5 of 10 (50 %)",
        "reading: 10 of 10 (100 %), 0.1/s, took 1 min 20 s",
        "heads: 1 of 1 (100 %), took 1 min 0 s",
    ]
    lines = [json.loads(line) for line in shown("json", steps, clock, capsys)]
    assert [line["elapsed_s"] for line in lines] == [40.0, 80.0, 60.0]


def test_the_bar_counts_the_time_before_the_first_report_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.progress import Progress

    bars: list[Progress] = []
    monkeypatch.setattr(Progress, "__enter__", lambda self: bars.append(self) or self)
    progress.choose_style("bar")
    try:
        with progress.progress_bar() as tell:
            assert tell is not None
            begun = progress.time.monotonic()
            while progress.time.monotonic() < begun + 0.05:
                pass
            tell("reading", 1, 2)
            tell("heads", 0, 2)
        elapsed = {task.description: task.elapsed or 0.0 for task in bars[0].tasks}
    finally:
        progress.choose_style("auto")
    assert elapsed["reading"] - elapsed["heads"] >= 0.05


def test_the_rate_is_that_of_the_last_minute() -> None:
    pace = Pace(0.0)
    for n in range(200):
        pace.tell(float(n), 10 if n < 100 else 10 + 5 * (n - 99))  # it stood still for the first 100 seconds
    assert pace.rate == pytest.approx(5.0, rel=0.02)
    assert pace.remaining_s(10 + 5 * 100 + 50) == pytest.approx(10, rel=0.02)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 1000)), min_size=2, max_size=50))
def test_the_rate_is_what_was_done_in_the_time_that_is_looked_at(steps: list[tuple[float, int]]) -> None:
    pace, now, done, told = Pace(0.0), 0.0, 0, []
    for seconds, more in steps:
        now, done = now + seconds, done + more
        pace.tell(now, done)
        told.append((now, done))
    looked_at = [one for one in told if now - one[0] <= WINDOW_S]
    if len(looked_at) >= 2 and looked_at[0][1] < done:
        assert pace.rate == pytest.approx((done - looked_at[0][1]) / (now - looked_at[0][0]))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (273600, "3 d 4 h")],
)
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize("by_environment", [False, True])
def test_the_style_is_chosen_for_every_command(
    by_environment: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if by_environment:
        monkeypatch.setenv("LOCATLAS_PROGRESS", "none")
    with pytest.raises(SystemExit) as ended:
        main([*([] if by_environment else ["--progress", "none"]), "datasets", "list"])
    assert ended.value.code == 0
    assert progress._chosen == "none"
    with progress.progress_bar() as tell:
        assert tell is None
    with pytest.raises(SystemExit) as ended:
        main(["--progress", "loud", "datasets", "list"])
    assert ended.value.code == 2
    monkeypatch.delenv("LOCATLAS_PROGRESS", raising=False)
    with pytest.raises(SystemExit):
        main(["datasets", "list"])
    assert progress._chosen == "auto"
