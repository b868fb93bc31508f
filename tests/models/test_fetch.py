"""Downloads from a server in this process; every way in which they can go wrong."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from locatlas.errors import WeightsError
from locatlas.models.fetch import download, url_of

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "/whole")
            if self.path.endswith("/promised"):
                self.send_header("X-Linked-ETag", f'"{DIGEST}"')
            if self.path.endswith("/other"):
                self.send_header("X-Linked-ETag", f'"{"0" * 64}"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/truncated" else CONTENT)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("LOCATLAS_OFFLINE", raising=False)


@pytest.mark.parametrize("path", ["/whole", "/redirect", "/redirect/promised"])
def test_a_file_arrives_whole_directly_and_after_a_redirect(path: str, server: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "w.pth"
    download(server + path, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("path", "sha256", "reason"),
    [
        ("/whole", "f" * 64, f"sha256 is {DIGEST}, expected ffff"),
        ("/truncated", DIGEST, "bytes arrived of 1280000|IncompleteRead"),
        ("/missing", DIGEST, "404"),
    ],
)
def test_what_is_not_as_announced_leaves_nothing_behind(
    path: str, sha256: str, reason: str, server: str, tmp_path: Path
) -> None:
    (tmp_path / "w.pth").write_bytes(b"old")
    with pytest.raises(WeightsError, match=reason):
        download(server + path, tmp_path / "w.pth", sha256=sha256)
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]
    assert (tmp_path / "w.pth").read_bytes() == b"old"


@pytest.mark.parametrize(("path", "right"), [("/redirect/promised", True), ("/redirect/other", False)])
def test_the_digest_that_the_hub_promises_is_checked_where_none_is_known(
    path: str, right: bool, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the local server has no certificate: let this one host pass as protected
    from locatlas.models import fetch

    real = fetch.urlsplit
    monkeypatch.setattr(fetch, "urlsplit", lambda url: real(url.replace("http://127", "https://127")))
    target = tmp_path / "w.pth"
    if right:
        download(server + path, target)
        assert target.read_bytes() == CONTENT
    else:
        with pytest.raises(WeightsError, match="expected 0000"):
            download(server + path, target)
        assert not target.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/w.pth", "ftp://host/w.pth", "file:///etc/passwd"])
def test_an_unprotected_address_without_digest_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not https and there is no digest"):
        download(url, tmp_path / "w.pth")


def test_a_file_address_is_refused_even_with_a_digest(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not https"):
        download((tmp_path / "x").as_uri(), tmp_path / "w.pth", sha256=DIGEST)


def test_a_machine_without_the_server_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"http://127.0.0.1:9/w.pth: ") as error:
        download("http://127.0.0.1:9/w.pth", tmp_path / "w.pth", sha256=DIGEST, timeout_s=2)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_offline_nothing_is_tried(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCATLAS_OFFLINE", "1")
    with pytest.raises(WeightsError, match="LOCATLAS_OFFLINE is set"):
        download(server + "/whole", tmp_path / "w.pth", sha256=DIGEST)


def test_addresses_follow_from_the_source(make_spec: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    dino = make_spec(source="timm:vit_small_patch16_224.dino")
    assert url_of(dino) == "https://huggingface.co/timm/vit_small_patch16_224.dino/resolve/main/model.safetensors"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert url_of(dino) == "https://mirror.example/timm/vit_small_patch16_224.dino/resolve/main/model.safetensors"
    assert url_of(make_spec(source="https://zenodo.org/x.pth")) == "https://zenodo.org/x.pth"
    assert url_of(make_spec(source="file: ask")) is None
    assert url_of(make_spec(source="")) is None
