"""Who may ask: a token, where it goes, and what it opens."""

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")
from starlette.testclient import TestClient

from locatlas.errors import InputError
from locatlas.query.serve.app import create_app
from locatlas.query.serve.run import listening

TOKEN = "a-token-of-a-user"


@pytest.fixture
def locked(made: Path) -> TestClient:
    app = create_app(made, token=TOKEN, hosts=["localhost"])
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/thumb/d/10", "/page/index.html", "/api/v1/openapi.json"])
def test_nothing_is_answered_without_the_token(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 401
    for wrong in ("", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"):
        refused = locked.get(path, headers={"authorization": wrong.encode()})
        assert refused.status_code == 401
        assert TOKEN not in refused.text
    assert locked.get(path, params={"token": "wrong"}).status_code == 401


def test_the_token_goes_into_a_header_or_from_the_address_into_a_cookie(locked: TestClient) -> None:
    assert locked.get("/api/v1/status", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    # below /api it is not taken from the address, which ends in logs and histories
    assert locked.get("/api/v1/status", params={"token": TOKEN}).status_code == 401
    moved = locked.get("/", params={"token": TOKEN, "protein": "P1"})
    assert moved.status_code == 303
    assert moved.headers["location"] == "/?protein=P1"
    cookie = moved.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert locked.get("/api/v1/status").status_code == 200  # the client keeps cookies


@pytest.mark.parametrize(
    "other", ['cfg={"a": 1}; x[y]=3', "foo", "name=with spaces", "ü=ä", "=", 'q="a', "locatlas_token=x", "a=b=c; ;"]
)
def test_cookies_of_other_programs_of_the_host_do_not_lock_out(locked: TestClient, other: str) -> None:
    cookie = locked.get("/", params={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    locked.cookies.clear()
    for sent in (f"{other}; {cookie}", f"{cookie};{other}"):
        assert locked.get("/api/v1/status", headers={"cookie": sent.encode()}).status_code == 200
    assert locked.get("/api/v1/status", headers={"cookie": other.encode()}).status_code == 401


def test_two_servers_of_a_host_keep_apart_in_one_browser_and_no_cookie_is_a_token(made: Path) -> None:
    jar: dict[str, str] = {}
    for token in (TOKEN, TOKEN[::-1]):
        client = TestClient(create_app(made, token=token), base_url="http://localhost", follow_redirects=False)
        cookie = client.get("/", params={"token": token}).headers["set-cookie"].partition(";")[0]
        name, _, value = cookie.partition("=")
        assert token not in cookie
        client.cookies.clear()
        assert client.get("/api/v1/status", headers={"authorization": f"Bearer {value}"}).status_code == 401
        jar[name] = value
    both = {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
    for token in (TOKEN, TOKEN[::-1]):
        asked = TestClient(create_app(made, token=token), base_url="http://localhost")
        assert asked.get("/api/v1/status", headers=both).status_code == 200


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "has spaces in the middle", "semi;colons;are;many", "ü" * 20])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(made: Path, token: str) -> None:
    with pytest.raises(InputError, match="token"):
        create_app(made, token=token)


def test_others_can_ask_with_a_token_only(made: Path) -> None:
    with listening(made, host="127.0.0.1", port=0) as alone:
        assert alone.token is None
        assert alone.notice is None
        assert alone.address.startswith("http://127.0.0.1:")
    with listening(made, host="0.0.0.0", port=0) as shared:
        assert shared.token is not None
        assert len(shared.token) >= 40
        assert shared.token in shared.page
        assert shared.notice is not None
        client = TestClient(shared._app, headers={"authorization": f"Bearer {shared.token}"})
        # an address cannot be rebound, a name can
        assert client.get("http://192.168.0.7/api/v1/suggest").status_code == 200
        assert client.get("http://evil.example/api/v1/suggest").status_code == 400
    with listening(made, host="0.0.0.0", port=0, token=TOKEN, names=["atlas.lab"]) as named:
        assert named.token == TOKEN
        client = TestClient(named._app, headers={"authorization": f"Bearer {TOKEN}"})
        assert client.get("http://atlas.lab/api/v1/suggest").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost"])
def test_the_address_that_is_printed_opens_the_page(made: Path, host: str) -> None:
    with listening(made, host=host, port=0, token=TOKEN) as server:
        opened = TestClient(server._app, base_url=server.address).get(server.page)
        assert opened.status_code == 200, opened.text
        assert [moved.status_code for moved in opened.history] == [303]
        assert "text/html" in opened.headers["content-type"]


def test_a_name_that_a_proxy_is_asked_by_makes_a_token(made: Path) -> None:
    with listening(made, host="127.0.0.1", port=0, names=["atlas.lab.org"]) as proxied:
        assert proxied.token is not None
        assert proxied.notice is not None
        assert "atlas.lab.org" in proxied.notice
        asked = TestClient(proxied._app, base_url="https://atlas.lab.org")
        assert asked.get("/api/v1/status").status_code == 401
        assert asked.get("/api/v1/status", headers={"authorization": f"Bearer {proxied.token}"}).status_code == 200
        # through such a server, other addresses of this machine are no names
        assert asked.get("/api/v1/status", headers={"host": "192.168.0.7"}).status_code == 400
    with listening(made, host="127.0.0.1", port=0, names=["localhost", "127.0.0.2"]) as alone:
        assert alone.token is None


def test_the_token_leaves_the_address_of_who_may_ask_already(made: Path) -> None:
    client = TestClient(create_app(made, token=TOKEN), base_url="http://localhost", follow_redirects=False)
    cookie = client.get("/", params={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    for given, renewed in ((TOKEN, True), ("of-another-server-1", False)):
        again = client.get("/", params={"token": given, "a": "1"}, headers={"cookie": cookie})
        assert (again.status_code, again.headers["location"]) == (303, "/?a=1")
        assert ("set-cookie" in again.headers) == renewed
    assert client.get("/", headers={"cookie": cookie}).status_code == 200
    client.cookies.clear()
    assert client.get("/", params={"token": "of-another-server-1"}).status_code == 401
    # a server without a token, opened by the address of one that had one
    bare = TestClient(create_app(made), base_url="http://localhost", follow_redirects=False)
    assert bare.get("/", params={"token": TOKEN}).headers["location"] == "/"


def test_no_token_can_be_asked_for_where_nobody_else_can_ask(made: Path) -> None:
    with listening(made, host="127.0.0.1", port=0, token="none") as alone:
        assert alone.token is None
    for how in ({"host": "0.0.0.0"}, {"host": "127.0.0.1", "names": ["atlas.lab"]}):
        with (
            pytest.raises(InputError, match="--token none: others than this machine can ask at"),
            listening(made, port=0, token="none", **how),
        ):
            pass
