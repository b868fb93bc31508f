"""Asking a server, with patience: paced, repeated where that can help, never from https to http. Uses the network."""

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from fetching.errors import FetchError, NotThereError, Stopped
from fetching.pace import Pace, backoff_s, retry_after_s

__all__ = ["RETRIED", "Session", "length_of", "reason_of"]

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same question may be answered. RFC 9110, sections 15.5 and 15.6; RFC 8470."""

_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_NOT_THERE = frozenset({404, 410})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DOCUMENT_LIMIT = 64 << 20
"""Bytes of a listing or page that is read whole; HPA's page of one gene has some MB."""

AGENT = "locatlas-fetch (research; one user; resumes and keeps a pace)"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but not from a protected address to an unprotected one."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """As the base class, which follows at most ten."""
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            message = f"{req.full_url}: redirects to the unprotected {newurl}"
            raise FetchError(message)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Give the answer that says where the file is, not the file."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """None: the answer becomes an HTTPError, which holds its headers."""
        return


class Session:
    """Requests that share a pace, a patience and a proxy (of the environment, as urllib knows it).

    Args:
        pace: How fast.
        timeout_s: Longest silence of a server in seconds.
        retries: Failures in a row that are forgiven.
        tell: Told in words of what is tried again.
    """

    def __init__(
        self,
        pace: Pace,
        *,
        timeout_s: float = 30,
        retries: int = 6,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.pace = pace
        self.timeout_s = timeout_s
        self.retries = retries
        self.tell = tell
        self.stopped = pace.stopped
        self._opener = urllib.request.build_opener(_Redirects())
        self._straight = urllib.request.build_opener(_NoRedirects())

    @contextmanager
    def ask(
        self, url: str, *, headers: Mapping[str, str] | None = None, method: str = "GET", follow: bool = True
    ) -> Iterator[Any]:
        """One answer, not tried again; a redirect is an HTTPError unless it is followed.

        Raises:
            NotThereError: If there is nothing.
            FetchError: If the address is of another kind.
            Stopped: If `stopped` is set, which also ends the waits between tries.
            urllib.error.HTTPError, OSError, http.client.HTTPException: As they come.
        """
        if urlsplit(url).scheme not in ("http", "https"):
            message = f"{url}: not an http or https address"
            raise FetchError(message)
        self.pace.wait()
        if self.stopped.is_set():
            raise Stopped
        request = urllib.request.Request(url, headers={"User-Agent": AGENT, **(headers or {})}, method=method)
        try:
            answer = (self._opener if follow else self._straight).open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _NOT_THERE:
                message = f"{url}: {error.code} {error.reason}"
                raise NotThereError(message) from error
            raise
        with answer:
            yield answer

    def patiently(self, url: str, once: Callable[[int], Any]) -> Any:
        """Call until it works.

        Args:
            url: Named in the error.
            once: Tries once; is given the number of failures in a row. An error with a true attribute `came_further`
                says that it got further than ever, which forgives the failures before.

        Raises:
            FetchError: If there have been too many failures in a row, or trying again cannot help.
        """
        failures = 0
        while True:
            try:
                return once(failures)
            except FetchError:
                raise
            except (OSError, http.client.HTTPException) as error:
                wait = _wait_of(error)
                if _lasts(error):
                    raise FetchError(f"{url}: {reason_of(error)}") from error
                failures = 1 if getattr(error, "came_further", False) else failures + 1
                if failures > self.retries:
                    message = f"{url}: {reason_of(error)}, {failures} times in a row"
                    raise FetchError(message) from error
                self.tell(f"{url}: {reason_of(error)}; trying again")
            if wait is not None:
                self.pace.hold(wait)
            else:
                self.pace.sleep(backoff_s(failures))

    def read(self, url: str) -> bytes:
        """A listing or page, whole.

        Raises:
            NotThereError, FetchError: As `patiently`.
        """

        def once(_: int) -> bytes:
            with self.ask(url) as answer:
                announced = length_of(answer.headers)
                body: bytes = answer.read(_DOCUMENT_LIMIT + 1)
            if len(body) > _DOCUMENT_LIMIT:
                message = f"{url}: more than {_DOCUMENT_LIMIT >> 20} MiB, no page is so long"
                raise FetchError(message)
            if announced is not None and len(body) != announced:
                raise http.client.IncompleteRead(body, announced - len(body))
            return body

        found: bytes = self.patiently(url, once)
        return found

    def headers(self, url: str, *, follow: bool = True) -> Message:
        """Headers of a file (HEAD); unless redirects are followed, those of the first answer.

        Raises:
            NotThereError, FetchError: As `patiently`.
        """

        def once(_: int) -> Message:
            try:
                with self.ask(url, method="HEAD", follow=follow) as answer:
                    found: Message = answer.headers
            except urllib.error.HTTPError as error:
                if follow or error.code not in _REDIRECTS:
                    raise
                found = error.headers
            return found

        result: Message = self.patiently(url, once)
        return result


def length_of(headers: Message, name: str = "Content-Length") -> int | None:
    """Bytes that a header announces; None where it announces none, or what is no number (`10, 10`)."""
    value = (headers.get(name) or "").strip()
    return int(value) if value.isdecimal() else None


def _lasts(error: Exception) -> bool:
    """Whether the answer would be the same the next time: refused, no such name, a certificate that is not accepted."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in RETRIED
    reason = getattr(error, "reason", None)
    if isinstance(reason, socket.gaierror):  # not so where the name's server could not be asked (EAI_AGAIN)
        return reason.errno in _NO_SUCH_NAME
    return isinstance(reason, ssl.SSLCertVerificationError)


def _wait_of(error: Exception) -> float | None:
    headers = getattr(error, "headers", None)
    return retry_after_s(headers.get("Retry-After")) if headers is not None else None


def reason_of(error: Exception) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return "the server fell silent"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer broke off"
    reason = getattr(error, "reason", None)
    if isinstance(reason, socket.gaierror):
        return "no server is found under this name"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted ({reason.strerror or reason})"
    return str(reason or error) or type(error).__name__
