import hashlib
import os
from pathlib import Path

import pytest
from fetching.errors import FetchError, NotThereError, Stopped
from fetching.plan import Remote
from fetching.transfer import fetch, is_here
from flaky_server import (
    hang_up,
    other,
    serve,
    stall,
    status,
    truncate,
    without_ranges,
)

BODY = bytes(range(256)) * 4096  # 1 MiB
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"


@pytest.fixture
def remote(server) -> Remote:
    server.files["/a.tif"] = BODY
    return Remote(f"{server.url}/a.tif", "raw/a.tif", len(BODY), MD5)


def bare(remote: Remote) -> Remote:
    """The same file, of which nothing was announced."""
    return Remote(remote.url, remote.path)


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob(".*"))


def test_a_file_arrives_whole_under_its_name_and_leaves_nothing_beside_it(remote, session, tmp_path) -> None:
    told: list[int] = []
    path = fetch(remote, tmp_path, session, got=told.append)
    assert path == tmp_path / "raw" / "a.tif"
    assert path.read_bytes() == BODY
    assert sum(told) == len(BODY)
    assert left_over(tmp_path) == []
    assert is_here(remote, tmp_path)


def test_an_answer_that_breaks_off_is_gone_on_with_from_where_it_ended(server, remote, session, tmp_path) -> None:
    server.behaviours["/a.tif"] = [truncate(300_000), truncate(200_000)]
    told: list[int] = []
    assert fetch(bare(remote), tmp_path, session, got=told.append).read_bytes() == BODY
    assert server.ranges("/a.tif") == [None, "bytes=300000-", "bytes=500000-"]
    assert sum(told) == len(BODY)


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, remote, session, tmp_path) -> None:
    server.behaviours["/a.tif"] = [truncate(300_000), without_ranges]
    told: list[int] = []
    assert fetch(remote, tmp_path, session, got=told.append).read_bytes() == BODY
    assert server.ranges("/a.tif") == [None, "bytes=300000-"]
    assert sum(told) == len(BODY)


def test_a_file_that_changes_between_two_tries_is_never_put_together_from_both(
    server, remote, session, tmp_path
) -> None:
    newer = BODY[::-1]
    server.behaviours["/a.tif"] = [truncate(300_000)]
    begun: list[int] = []

    def change(n_bytes: int) -> None:
        begun.append(n_bytes)
        if sum(begun) >= 300_000:
            server.files["/a.tif"] = newer

    assert fetch(bare(remote), tmp_path, session, got=change).read_bytes() == newer


def test_silence_is_a_failure_and_the_rest_comes_with_the_next_try(server, remote, make_session, tmp_path) -> None:
    server.behaviours["/a.tif"] = [stall(400_000)]
    said: list[str] = []
    impatient = make_session(timeout_s=1.5, tell=said.append)
    assert fetch(remote, tmp_path, impatient).read_bytes() == BODY
    assert server.ranges("/a.tif") == [None, "bytes=400000-"]
    assert "fell silent" in said[0]


def test_errors_of_the_server_are_waited_out_and_waits_grow(server, remote, session, slept, tmp_path) -> None:
    server.behaviours["/a.tif"] = [status(503), hang_up, status(500), status(502)]
    assert fetch(remote, tmp_path, session).read_bytes() == BODY
    waits = [seconds for seconds in slept if seconds > 0.1]
    for seconds, longest in zip(waits, (1, 2, 4, 8), strict=True):
        assert longest / 2 <= seconds <= longest


def test_a_server_that_asks_for_patience_gets_it(server, remote, session, slept, tmp_path) -> None:
    server.behaviours["/a.tif"] = [status(429, Retry_After="17")]
    fetch(remote, tmp_path, session)
    assert max(slept) == pytest.approx(17, abs=1)


def test_after_too_many_failures_one_line_names_the_address(server, remote, make_session, tmp_path) -> None:
    server.behaviours["/a.tif"] = [status(503)] * 3
    with pytest.raises(FetchError, match=r"/a\.tif: 503 Service Unavailable, 3 times in a row$"):
        fetch(remote, tmp_path, make_session(retries=2))


def test_progress_forgives_the_failures_before_it(server, remote, make_session, tmp_path) -> None:
    server.behaviours["/a.tif"] = [truncate(100_000)] * 8
    assert fetch(remote, tmp_path, make_session(retries=1)).read_bytes() == BODY
    assert len(server.ranges("/a.tif")) == 9


def test_a_server_that_always_breaks_off_at_one_place_is_given_up(server, remote, make_session, tmp_path) -> None:
    server.forever = True
    server.behaviours["/a.tif"] = [truncate(1000, ranges=False)]
    with pytest.raises(FetchError, match="broke off, 4 times in a row"):
        fetch(remote, tmp_path, make_session(retries=3))


@pytest.mark.parametrize(("code", "kind"), [(404, NotThereError), (410, NotThereError), (403, FetchError)])
def test_what_is_not_given_is_not_asked_for_again(server, remote, session, tmp_path, code, kind) -> None:
    server.behaviours["/a.tif"] = [status(code)]
    with pytest.raises(kind, match=rf"/a\.tif: {code}"):
        fetch(remote, tmp_path, session)
    assert len(server.asked) == 1


def test_a_wrong_digest_is_fetched_once_more_and_then_refused(server, remote, session, tmp_path) -> None:
    wrong = b"x" * len(BODY)
    server.behaviours["/a.tif"] = [other(wrong)]
    told: list[int] = []
    assert fetch(remote, tmp_path, session, got=told.append).read_bytes() == BODY
    assert sum(told) == len(BODY)
    (tmp_path / "raw/a.tif").unlink()
    server.behaviours["/a.tif"] = [other(wrong), other(wrong)]
    with pytest.raises(FetchError, match=f"its md5 is {hashlib.md5(wrong).hexdigest()}, .* was announced"):
        fetch(remote, tmp_path, session)
    assert list(tmp_path.rglob("*.tif")) == []
    assert left_over(tmp_path) == []


def test_a_file_of_another_size_than_announced_is_refused(server, remote, session, tmp_path) -> None:
    server.files["/a.tif"] = BODY[:-1]
    with pytest.raises(FetchError, match=f"has {len(BODY) - 1} bytes, {len(BODY)} were announced"):
        fetch(remote, tmp_path, session)


def test_redirects_are_followed_with_the_range(server, remote, session, tmp_path) -> None:
    server.files["/moved.tif"] = b""
    server.forever = True
    server.behaviours["/moved.tif"] = [status(302, Location="/a.tif")]
    server.behaviours["/a.tif"] = [truncate(300_000), serve]
    moved = Remote(f"{server.url}/moved.tif", "raw/a.tif", len(BODY), MD5)
    assert fetch(moved, tmp_path, session).read_bytes() == BODY
    assert server.ranges("/a.tif") == [None, "bytes=300000-"]


def test_redirects_in_a_circle_end(server, remote, make_session, tmp_path) -> None:
    server.forever = True
    server.behaviours["/a.tif"] = [status(302, Location="/a.tif")]
    with pytest.raises(FetchError, match="redirect"):
        fetch(remote, tmp_path, make_session(retries=0))


def test_what_was_stopped_goes_on_in_another_run(server, remote, session, tmp_path) -> None:
    with pytest.raises(Stopped):
        fetch(remote, tmp_path, session, got=lambda _: session.stopped.set())
    session.stopped.clear()
    assert not is_here(remote, tmp_path)
    kept = (tmp_path / "raw" / ".a.tif.part").stat().st_size
    assert 0 < kept < len(BODY)
    assert fetch(remote, tmp_path, session).read_bytes() == BODY
    assert server.ranges("/a.tif") == [None, f"bytes={kept}-"]


def test_a_part_that_was_whole_but_never_renamed_is_not_fetched_again(server, remote, session, tmp_path) -> None:
    total: list[int] = []

    def at_the_end(n_bytes: int) -> None:
        total.append(n_bytes)
        if sum(total) == len(BODY):
            session.stopped.set()

    for announced in (remote, bare(remote)):
        with pytest.raises(Stopped):
            fetch(announced, tmp_path, session, got=at_the_end)
        session.stopped.clear()
        assert fetch(announced, tmp_path, session).read_bytes() == BODY
        assert server.ranges("/a.tif")[0] is None
        assert server.ranges("/a.tif")[1:] in ([], [f"bytes={len(BODY)}-"])  # the second answer is 416
        (tmp_path / "raw/a.tif").unlink()
        server.asked.clear()
        total.clear()


def test_a_damaged_file_is_not_here_and_is_replaced(remote, session, tmp_path) -> None:
    path = fetch(remote, tmp_path, session)
    path.write_bytes(b"\xff" + BODY[1:])
    assert not is_here(remote, tmp_path)
    assert fetch(remote, tmp_path, session).read_bytes() == BODY


def test_a_part_that_somebody_else_cut_while_it_came_is_not_taken_for_whole(server, remote, session, tmp_path) -> None:
    told: list[int] = []

    def cut(n_bytes: int) -> None:
        told.append(n_bytes)
        if sum(told) == len(BODY) and server.ranges("/a.tif") == [None]:
            os.truncate(tmp_path / "raw" / ".a.tif.part", 1000)

    assert fetch(bare(remote), tmp_path, session, got=cut).read_bytes() == BODY


def test_a_disk_error_is_told_at_once(remote, session, tmp_path) -> None:
    (tmp_path / "raw" / ".a.tif.part").mkdir(parents=True)
    with pytest.raises(FetchError, match="Is a directory"):
        fetch(remote, tmp_path, session)


def test_an_address_that_is_no_web_address_is_refused(session, tmp_path) -> None:
    with pytest.raises(FetchError, match="not an http"):
        fetch(Remote("file:///etc/passwd", "a"), tmp_path, session)
