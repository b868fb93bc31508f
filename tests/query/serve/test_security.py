"""What a server refuses: other hosts, other sites, no token, paths; and what it sends with every answer."""

import itertools
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")
from starlette.testclient import TestClient

from locatlas.errors import InputError
from locatlas.query.serve.app import create_app
from locatlas.query.serve.failures import without_paths
from locatlas.query.serve.run import listening
from locatlas.query.serve.security import Guard, host_name, is_loopback
from tests.quick import some

ROUTES = ["/thumb/", "/api/v1/images/", "/api/v1/proteins/", "/page/", "/"]
TRAVERSALS = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252fetc%252fpasswd",
    "..\\..\\etc\\passwd",
    "..%5c..%5cetc%5cpasswd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "C:%5cWindows%5cwin.ini",
    "file:///etc/passwd",
    "d/10%00.png",
    "%00",
    "d/10/..%2f..%2f..%2fatlas.json",
    "..%c0%af..%c0%afetc/passwd",
    "%ef%bc%8e%ef%bc%8e/etc/passwd",
    "%e2%80%a5/etc/passwd",
    "d/10'%20OR%20'1'='1",
    "x" * 400,
    "x" * 600,
    "atlas.json",
    "db/fovs.lance",
]


@pytest.mark.parametrize(
    ("route", "path"),
    # each way up under one or two of the five
    some(itertools.product(ROUTES, TRAVERSALS), *range(0, len(ROUTES) * len(TRAVERSALS), 3)),
)
def test_no_path_leads_to_a_file(client: TestClient, made: Path, route: str, path: str) -> None:
    # as bytes on the wire, which a client would tidy up
    target = (route + path).encode()
    if b"\\" in target:
        target = target.replace(b"\\", b"%5C")
    answer = client.get("http://localhost" + quote(target, safe="/%:'=-._"))
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    for secret in ("root:", str(made), "schema_version"):
        assert secret not in answer.text


def test_the_page_has_files_of_a_fixed_list_only(client: TestClient) -> None:
    assert client.get("/").headers["content-type"].startswith("text/html")
    assert client.get("/page/index.html").content == client.get("/").content
    assert client.get("/page/../app.py").status_code == 404
    assert client.get("/page/__init__.py").status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/nothing", "/api/v1/neighbors?k=x", "/thumb/d/10"])
def test_every_answer_forbids_other_hosts_and_guessing_of_types(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    allowed = {word for words in policy.values() for word in words.split()}
    assert allowed <= {"'none'", "'self'", "data:", "blob:"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765", "LOCALHOST"])
def test_it_answers_to_its_own_names(client: TestClient, host: str) -> None:
    assert client.get("/api/v1/suggest", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8765",
        "evil.example:127.0.0.1",
        "localhost@evil.example",
        "evil.example#localhost",
        "192.168.0.7",
        "0.0.0.0",
        "",
        "localhost:x",
        "ＬＯＣＡＬＨＯＳＴ".encode().decode("latin-1"),
    ],
)
def test_it_does_not_answer_to_other_names(client: TestClient, host: str) -> None:
    answer = client.get("/api/v1/status", headers={"host": host.encode("latin-1")})
    assert answer.status_code == 400
    assert "host name" in answer.json()["error"]


def test_only_reading_is_possible_but_for_the_upload(client: TestClient) -> None:
    routes = client.get("/api/v1/openapi.json").json()["paths"]
    changing = {(path, method) for path, said in routes.items() for method in said if method not in ("get", "head")}
    assert changing == {("/api/v1/query", "post")}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/api/v1/status", "/api/v1/proteins/P1", "/thumb/d/10", "/"):
            assert client.request(method, path).status_code == 405
    assert client.options("/api/v1/status", headers={"origin": "http://localhost"}).status_code == 405


def test_asking_changes_no_file_of_the_atlas(client: TestClient, made: Path) -> None:
    before = {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in made.rglob("*") if p.is_file()}
    for path in ("status", "proteins", "neighbors?protein=P1", "classify?id=d/10", "sweep?ks=1", "resemblance"):
        assert client.get(f"/api/v1/{path}").status_code == 200
    assert {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in made.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "http://127.0.0.1"},
        {"origin": "ftp://localhost"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_form_of_another_site_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    files = {"files": ("a.png", b"x")}
    answer = client.post("/api/v1/query", files=files, data={"channels": "protein"}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost", "localhost"),
        ("http://localhost:8765", "localhost:8765"),
        ("https://localhost", "localhost"),  # a proxy with TLS before it, which passes the Host header on
        ("https://localhost:443", "localhost"),
        ("http://[::1]:8765", "[::1]:8765"),
    ],
)
def test_a_form_of_the_page_itself_is_taken(client: TestClient, origin: str, host: str) -> None:
    headers = {"origin": origin, "host": host}
    answer = client.post("/api/v1/query", files={"files": ("a.png", b"x")}, data={"channels": ""}, headers=headers)
    assert answer.status_code == 422  # of the form, not of where it comes from


def test_a_page_of_another_port_reads_nothing(client: TestClient) -> None:
    assert client.get("/api/v1/status", headers={"origin": "http://localhost:9999"}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_can_link_to_the_page_and_no_more(client: TestClient, site: str) -> None:
    asked = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=asked).status_code == 200
    for path in ("/api/v1/status", "/thumb/d/10", "/api/v1/sweep"):
        assert client.get(path, headers=asked).status_code == 403
        assert client.get(path, headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get("/api/v1/suggest", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_taken_port_is_told(made: Path) -> None:
    with listening(made, host="127.0.0.1", port=0) as first:
        port = int(first.address.rpartition(":")[2])
        with pytest.raises(InputError, match="cannot listen there"), listening(made, host="127.0.0.1", port=port):
            pass


def test_a_websocket_is_turned_down(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/v1/status"):
        pass


def test_addresses_of_this_machine_are_known() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.7", "atlas.lab"))
    assert host_name("[::1]") == "::1"
    assert host_name("a/b") is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ada/my atlas: no vectors yet", "lab: no vectors yet"),
        ("/data/images/a/b.tif: no such file", "b.tif: no such file"),
        ("x: file:///etc/passwd, '/srv/q/p.tif'", "x: file:///etc/passwd, 'p.tif'"),
        ("opencell/FID1 and hpa/2_A1/17 stay", "opencell/FID1 and hpa/2_A1/17 stay"),
        ("two\nlines", "two lines"),
        ("`locatlas map --atlas /home/ada/my atlas -e x` makes it", "`locatlas map --atlas lab -e x` makes it"),
    ],
)
def test_a_message_loses_its_folders_only(text: str, shown: str) -> None:
    assert without_paths(text, [("/home/ada/my atlas", "lab")]) == shown


def test_an_unexpected_error_is_one_line_and_goes_to_the_log(
    made: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("/home/ada/secret")

    monkeypatch.setattr("locatlas.query.serve.routes_names._status", broken)
    client = TestClient(create_app(made), base_url="http://localhost", raise_server_exceptions=False)
    answer = client.get("/api/v1/status")
    assert answer.status_code == 500
    assert answer.json() == {"error": "an error that was not expected; the server's log has it"}
    assert "ZeroDivisionError" in caplog.text
    assert "content-security-policy" in answer.headers


def test_the_guard_refuses_everything_that_is_not_http(made: Path) -> None:
    import asyncio

    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    async def app(*_: object) -> None:
        raise AssertionError

    guard = Guard(app, hosts=["localhost"])
    asyncio.run(guard({"type": "websocket", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_name_is_allowed_with_the_port_of_a_proxy_and_no_address(made: Path) -> None:
    with listening(made, host="127.0.0.1", port=0, names=["atlas.lab:443", "[::1]:80"]) as proxied:
        assert proxied.token is not None
        headers = {"authorization": f"Bearer {proxied.token}"}
        for base in ("https://atlas.lab", "http://atlas.lab:8080"):
            assert TestClient(proxied._app, base_url=base, headers=headers).get("/api/v1/status").status_code == 200
    with listening(made, host="127.0.0.1", port=0, names=["localhost:9000"]) as alone:
        assert alone.token is None
    for name in ("https://atlas.lab", "atlas lab", "a/b", "", "atlas.lab:port"):
        with (
            pytest.raises(InputError, match=r"--allow-host .*: no host name"),
            listening(made, host="127.0.0.1", port=0, names=[name]),
        ):
            pass
