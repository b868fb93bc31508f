"""Answers that are not what HTTP says, and failures that last."""

import socket
import ssl
import urllib.error
import urllib.request

import pytest
from fetching.errors import FetchError
from fetching.plan import Remote
from fetching.transfer import fetch, is_here
from flaky_server import Behaviour, Handler, tag, truncate, web_page

BODY = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def remote(server) -> Remote:
    """A file of which nothing was announced."""
    server.files["/a.tif"] = BODY
    return Remote(f"{server.url}/a.tif", "raw/a.tif")


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_a_part_of_a_newer_file_is_not_put_behind_that_of_an_older(server, remote, session, tmp_path, header) -> None:
    newer = BODY[::-1]

    def version(whole: bytes, mark: str, send: int) -> Behaviour:
        """Ranges are known here, and `If-Range` is not."""

        def answer(handler: Handler, _: bytes) -> None:
            start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
            handler.send_response(206 if start else 200)
            if start:
                handler.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
            handler.send_header("Content-Length", str(len(whole) - start))
            handler.send_header(header, mark)
            handler.end_headers()
            handler.wfile.write(whole[start : start + send])
            handler.close_connection = True

        return answer

    marks = ('"a"', '"b"') if header == "ETag" else ("Tue, 24 Nov 2026 08:00:00 GMT", "Wed, 25 Nov 2026 08:00:00 GMT")
    later = version(newer, marks[1], len(newer))
    server.behaviours["/a.tif"] = [version(BODY, marks[0], 300_000), later, later]
    told: list[int] = []
    assert fetch(remote, tmp_path, session, got=told.append).read_bytes() == newer
    assert server.ranges("/a.tif") == [None, "bytes=300000-", None]
    assert sum(told) == len(newer)


def lengthless(value: str) -> Behaviour:
    """The file, with a Content-Length that is no number."""

    def answer(handler: Handler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


@pytest.mark.parametrize("value", ["{0}, {0}", "", "\xb2", "-1", "many"])
def test_a_length_that_is_no_number_is_none(server, remote, session, tmp_path, value: str) -> None:
    announced = value.format(len(BODY))
    server.behaviours["/a.tif"] = [lengthless(announced), lengthless(announced)]
    assert fetch(remote, tmp_path, session).read_bytes() == BODY
    assert session.read(remote.url) == BODY


def test_a_part_of_a_file_whose_length_is_not_told_is_read_to_its_own_end(server, remote, session, tmp_path) -> None:
    def part_of_unknown(handler: Handler, body: bytes) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 300000-{len(body) - 1}/*")
        handler.send_header("Content-Length", str(len(body) - 300_000))
        handler.send_header("ETag", tag(body))
        handler.end_headers()
        handler.wfile.write(body[300_000:400_000])
        handler.close_connection = True

    server.behaviours["/a.tif"] = [truncate(300_000), part_of_unknown]
    assert fetch(remote, tmp_path, session).read_bytes() == BODY
    assert server.ranges("/a.tif") == [None, "bytes=300000-", "bytes=400000-"]


def test_a_web_page_in_place_of_a_file_is_refused_and_a_begun_file_stays(server, remote, session, tmp_path) -> None:
    server.behaviours["/a.tif"] = [truncate(300_000), web_page]
    with pytest.raises(FetchError, match=r"/a\.tif: answered with a web page in place of the file$"):
        fetch(remote, tmp_path, session)
    assert not is_here(remote, tmp_path)
    assert fetch(remote, tmp_path, session).read_bytes() == BODY
    assert server.ranges("/a.tif") == [None, "bytes=300000-", "bytes=300000-"]


@pytest.mark.parametrize(
    ("reason", "n", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), 1, "no server is found under this name$"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), 3, "3 times in a row$"),
        (ssl.SSLCertVerificationError(1, "self-signed"), 1, r"certificate is not accepted \(self-signed\)$"),
        (ssl.SSLEOFError(8, "EOF occurred"), 3, "3 times in a row$"),
    ],
)
def test_what_lasts_is_not_tried_again_and_what_may_pass_is(
    make_session, monkeypatch: pytest.MonkeyPatch, reason: OSError, n: int, told: str
) -> None:
    asked: list[str] = []

    def fail(_: object, request: urllib.request.Request, timeout: float) -> None:
        asked.append(request.full_url)
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", fail)
    with pytest.raises(FetchError, match=told):
        make_session(retries=2).read("https://a.example/x")
    assert len(asked) == n
