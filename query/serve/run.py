"""A server process: its socket, its address and token, and its end. I/O."""

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from locatlas.errors import InputError
from locatlas.indexer.files.decoders import decoders
from locatlas.interrupts import StopRequested
from locatlas.query.serve.app import create_app
from locatlas.query.serve.connection import PatientProtocol
from locatlas.query.serve.limits import ServeLimits
from locatlas.query.serve.security import LOOPBACK, allowed_name, is_loopback, made_token

__all__ = ["Listening", "listening"]

STOP_S = 3
"""Seconds that open answers are given when the server is told to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class Listening:
    """A server that is bound to its address and can be run.

    Attributes:
        atlas: Its atlas.
        address: Where it is asked, e.g. http://127.0.0.1:8765.
        token: What requests must show; None for none.
        notice: What whoever starts it should know; None for nothing.
    """

    atlas: Path
    address: str
    token: str | None
    notice: str | None
    _app: Any
    _socket: socket.socket

    @property
    def page(self) -> str:
        """Address to open; it holds the token, which the page then keeps in a cookie."""
        return f"{self.address}/" if self.token is None else f"{self.address}/?token={self.token}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"atlas": str(self.atlas), "address": self.address, "page": self.page, "token": self.token}

    def run(self) -> None:
        """Answer until a signal comes.

        Raises:
            SystemExit: When it did: with 130 for Ctrl-C, 143 for SIGTERM.
        """
        config = uvicorn.Config(
            self._app,
            log_level="warning",
            access_log=False,  # names of proteins, and the token in the first address, are nobody else's
            timeout_graceful_shutdown=STOP_S,
            timeout_keep_alive=15,
            server_header=False,
            proxy_headers=False,  # nobody in between is believed
            h11_max_incomplete_event_size=64 * 2**10,
            limit_concurrency=256,
            http=PatientProtocol,
            ws="none",
        )
        try:
            uvicorn.Server(config).run(sockets=[self._socket])
        except StopRequested as request:
            print(f"locatlas: stopped by {request}", file=sys.stderr, flush=True)
            context = self._app.state.context
            if context.quick.taken or context.heavy.taken:
                # work that no signal reaches would keep the process: nothing is written, so nothing is lost
                decoders().close()
                os._exit(request.exit_code)
            sys.exit(request.exit_code)


@contextmanager
def listening(
    atlas: Path,
    *,
    host: str,
    port: int,
    token: str | None = None,
    names: Sequence[str] = (),
    limits: ServeLimits | None = None,
) -> Iterator[Listening]:
    """A server of an atlas, bound to an address.

    Args:
        atlas: Folder of the atlas.
        host: Name or address to listen on.
        port: 0 for one that is free.
        token: What requests must show; "auto" makes one, as does None where others than this machine can ask: by the
            address, or by a name of which only a proxy or a tunnel knows. "none" says that there is none, and is
            refused there.
        names: Further names that the server is called by.
        limits: Of requests.

    Raises:
        InputError: If there is no atlas, the token is no good one, or the address cannot be had.
    """
    names = [allowed_name(name) for name in names]
    open_to_others = not is_loopback(host)
    of_others = [name for name in names if not is_loopback(name)]
    if token == "auto" or (token is None and (open_to_others or of_others)):  # noqa: S105 (no secret but the word)
        token = made_token()
    if token == "none":  # noqa: S105
        if open_to_others or of_others:
            at = host if open_to_others else of_others[0]
            message = f"--token none: others than this machine can ask at {at}; leave it out, and a token is made"
            raise InputError(message)
        token = None
    # an address that stands for all of this machine's is no name to ask by
    own = [socket.gethostname(), socket.getfqdn()] if _is_any(host) else [host]
    hosts = [*LOOPBACK, *own, *names]
    app = create_app(atlas, token=token, hosts=hosts, addresses=open_to_others, limits=limits)
    bound = _bound(host, port)
    with bound:
        number = bound.getsockname()[1]
        shown = f"[{own[0].strip('[]')}]" if ":" in own[0] else own[0]
        notice = None
        if of_others and not open_to_others:
            notice = f"whoever can reach {', '.join(of_others)} can ask this server with the token"
        elif open_to_others:
            notice = (
                "others on the network can ask this server with the token; it does not encrypt: put a proxy with TLS "
                "or an SSH tunnel in between where the network is not yours"
            )
        yield Listening(atlas, f"http://{shown}:{number}", token, notice, app, bound)


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: If the address cannot be had.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(128)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        message = f"{host}:{port}: cannot listen there ({error.strerror or error}); --port 0 takes a free port"
        raise InputError(message) from error
    return bound
