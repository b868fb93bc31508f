"""An HTTP server on this machine that fails on command: errors, silence, truncation, redirects, ranges ignored."""

import hashlib
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; the first behaviour that is queued for a path answers instead."""

    protocol_version = "HTTP/1.1"
    server: "FlakyServer"

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Range")))
        body = self.server.files.get(self.path)
        queued = self.server.behaviours.get(self.path, [])
        if queued:
            behaviour = queued.pop(0) if len(queued) > 1 or not self.server.forever else queued[0]
            behaviour(self, body or b"")
        elif body is None:
            status(404)(self, b"")
        else:
            serve(self, body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


class FlakyServer(ThreadingHTTPServer):
    """Attributes: files (body by path), behaviours (queue by path), asked (method, path, Range) in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviours: dict[str, list[Behaviour]] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.released = threading.Event()
        self.forever = False  # whether the last behaviour of a queue stays

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ranges(self, path: str) -> list[str | None]:
        return [found for method, asked, found in self.asked if asked == path and method == "GET"]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hung up is part of the tests


def tag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def serve(handler: Handler, body: bytes, *, ranges: bool = True, send: int | None = None) -> None:
    """The file, or the part asked for; `send` bytes only, and then hang up."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    same = handler.headers.get("If-Range") == tag(body)
    start = int(asked[1]) if asked and ranges and same else 0
    if start and start >= len(body):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(body)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("ETag", tag(body))
    handler.end_headers()
    if handler.command == "HEAD":
        return
    part = body[start:]
    handler.wfile.write(part if send is None else part[:send])
    if send is not None:
        handler.close_connection = True


def status(code: int, **headers: str) -> Behaviour:
    def answer(handler: Handler, _: bytes) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def truncate(n_bytes: int, *, ranges: bool = True) -> Behaviour:
    return lambda handler, body: serve(handler, body, ranges=ranges, send=n_bytes)


def without_ranges(handler: Handler, body: bytes) -> None:
    serve(handler, body, ranges=False)


def stall(n_bytes: int) -> Behaviour:
    def answer(handler: Handler, body: bytes) -> None:
        serve(handler, body, send=n_bytes)
        handler.wfile.flush()
        handler.server.released.wait(10)

    return answer


def hang_up(handler: Handler, _: bytes) -> None:
    handler.close_connection = True


def web_page(handler: Handler, _: bytes) -> None:
    """A page that says something to people, with the code of success."""
    page = b"<!doctype html><html>We will be back soon</html>"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.send_header("Content-Length", str(len(page)))
    handler.end_headers()
    handler.wfile.write(page)


def other(replacement: bytes) -> Behaviour:
    return lambda handler, _: serve(handler, replacement)
