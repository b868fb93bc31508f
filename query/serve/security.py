"""Who may ask a server, and what browsers may do with its answers. An ASGI layer around the app; no I/O."""

import hmac
import ipaddress
import json
import secrets
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from locatlas.errors import InputError, one_line

__all__ = ["HEADERS", "LEAST_TOKEN", "LOOPBACK", "Guard", "allowed_name", "host_name", "is_loopback", "made_token"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names under which a server on this machine alone is asked."""

LEAST_TOKEN = 16
"""Characters of a token that a user gives: fewer could be guessed."""

HEADERS = {
    # nothing from anywhere else, no inline scripts or styles, in no frame
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # the first address may hold the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer."""

_READING = ("GET", "HEAD")
_PORTS = {"http": 80, "https": 443}


def made_token() -> str:
    """A new token, 43 characters."""
    return secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Whether a server bound to the address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_name(header: str) -> str | None:
    """The name in a Host header or an origin, without its port; None where it is none.

    >>> host_name("localhost:8765"), host_name("[::1]:80"), host_name("a b")
    ('localhost', '::1', None)
    """
    if not header or any(c in header for c in "@/?#\\ ,") or not header.isascii() or not header.isprintable():
        return None
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # a port that is none
        return parts.hostname
    except ValueError:
        return None


def allowed_name(given: str) -> str:
    """A name that a user allows, without a port: the server answers a name whatever the port that a proxy has.

    >>> allowed_name("atlas.example.org:443"), allowed_name("[fe80::1]:80"), allowed_name("fe80::1")
    ('atlas.example.org', 'fe80::1', 'fe80::1')

    Raises:
        InputError: If it is no host name.
    """
    try:
        return str(ipaddress.ip_address(given.strip("[]")))
    except ValueError:
        name = host_name(given)
    if name is None:
        message = f"--allow-host {one_line(given)}: no host name; name one as in atlas.example.org, without http://"
        raise InputError(message)
    return name


class Guard:
    """Refuses what a browser could be tricked into, and whoever lacks the token.

    A page of another site cannot ask a server on 127.0.0.1 under its own name (DNS rebinding), because only the names
    in `hosts` are answered; nor can it post, because a browser says where a form comes from.

    Args:
        app: What is guarded.
        hosts: Names that the server is called by.
        addresses: Whether any IP address will do as a name; a rebound name is never one.
        token: What must be shown, in a header, a cookie, or once in the address of the page; None for no such.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Iterable[str], addresses: bool = False, token: str | None = None
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.strip("[]").lower() for host in hosts)
        self._addresses = addresses
        self._token = None if token is None else token.encode()
        if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
            message = f"token: at least {LEAST_TOKEN} plain characters needed; --token auto makes one"
            raise InputError(message)
        if token is not None and any(c in token for c in ' ;,"\\'):
            message = (
                "token: no spaces, commas, semicolons, quotes or backslashes, which addresses and headers do not take"
            )
            raise InputError(message)
        self._cookie = None if token is None else _cookie_of(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing else is served: a websocket is turned down
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered[name] = value
                if "cache-control" not in answered:
                    answered["Cache-Control"] = "no-store"
            await send(message)

        if (refusal := self._refusal(scope, headers)) is not None:
            await _answer(guarded, *refusal)
            return
        if await self._took_token(scope, headers, guarded):
            return
        if self._token is not None and not self._shown(headers):
            reason = (
                "a token is needed: open the address that `locatlas serve` printed, or send Authorization: Bearer TOKEN"
            )
            await _answer(guarded, 401, reason, **{"www-authenticate": 'Bearer realm="locatlas"'})
            return
        await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and reason to turn a request down, whoever sends it."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_mine(host_name(hosts[0])):
            return 400, "this server is not called by that host name; `locatlas serve --allow-host NAME` adds one"
        # another port of this host is another site, whose pages get the same cookies
        origin = headers.get("origin")
        if origin is not None and not _is_from(origin, hosts[0]):
            return 403, "requests from pages of other sites are refused"
        site = headers.get("sec-fetch-site", "none")
        if scope["method"] in _READING:
            # a link may lead to the page; pictures and answers are not for pages of others, nor is what they cost
            if site in ("same-origin", "none") or (
                scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
            ):
                return None
            return 403, "requests from pages of other sites are refused"
        if site not in ("same-origin", "none"):
            return 403, "requests from pages of other sites are refused"
        return None

    def _is_mine(self, name: str | None) -> bool:
        if name is None:
            return False
        if name.rstrip(".") in self._hosts:
            return True
        if not self._addresses:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _shown(self, headers: Headers) -> bool:
        """Whether the token, or the cookie that stands for it, is in the headers."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._fits(given.strip()):
            return True
        return any(self._is_cookie(name, value) for name, value in _cookies(headers.getlist("cookie")))

    def _fits(self, candidate: str) -> bool:
        return self._token is not None and _equal(candidate, self._token.decode())

    def _is_cookie(self, name: str, value: str) -> bool:
        return self._cookie is not None and name == self._cookie[0] and _equal(value, self._cookie[1])

    async def _took_token(self, scope: Scope, headers: Headers, send: Send) -> bool:
        """Take a token out of the page's address, into a cookie; whoever may ask anyway loses it from the address, too.

        Returns:
            Whether the browser was sent on.
        """
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if scope["path"] != "/" or scope["method"] != "GET" or not given:
            return False
        fits = len(given) == 1 and self._fits(given[0])
        if not fits and self._token is not None and not self._shown(headers):
            return False
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        moved = {"location": f"/?{rest}" if rest else "/"}
        if fits:
            assert self._cookie is not None
            moved["set-cookie"] = f"{'='.join(self._cookie)}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
        await _answer(send, 303, "the address needs no token from now on", **moved)
        return True


def _is_from(origin: str, host: str) -> bool:
    """Whether a page of this origin was given by the very server that is asked: name and port.

    A proxy with TLS has another scheme than the server behind it, whose Host header it passes on.
    """
    scheme, found, rest = origin.partition("://")
    if not found or scheme not in _PORTS:  # "null", or no page of the web
        return False
    name, asked = host_name(rest), host_name(host)
    return name is not None and name == asked and _port(rest, scheme) == _port(host, scheme)


def _port(place: str, scheme: str) -> int:
    """Of a place that `host_name` takes."""
    return urlsplit(f"//{place}").port or _PORTS[scheme]


def _cookies(headers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each cookie as it stands.

    Those of other programs on the same host come along and may hold anything; `http.cookies` gives up at the first that
    is not by the book.
    """
    for part in (part for header in headers for part in header.split(";")):
        name, _, value = part.strip().partition("=")
        yield name, value


def _cookie_of(token: str) -> tuple[str, str]:
    """Name and value of the cookie that stands for a token.

    Cookies know no port: all servers of a host get them. So that two of ours can be looked at in one browser, each
    token has a name of its own; and the others see no token.
    """
    name, value = (hmac.digest(token.encode(), said, "sha256").hex() for said in (b"name", b"cookie"))
    return f"locatlas_{name[:8]}", value


def _equal(given: str, wanted: str) -> bool:
    """Compared in a time that does not tell how much of it fits."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


async def _answer(send: Send, status: int, reason: str, **headers: str) -> None:
    body = json.dumps({"error": reason}).encode()
    said: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    said += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": said})
    await send({"type": "http.response.body", "body": body})
