"""A server of one application in a thread, with the protocol that cuts off who is slow."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from locatlas.query.serve import connection
from locatlas.query.serve.connection import PatientProtocol


@contextmanager
def patient_server(app: Any, **limits: float) -> Iterator[int]:
    """Its port; `limits` are constants of `connection`, for this server."""
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as bound:
        for name, value in limits.items():
            patch.setattr(connection, name, value)
        config = uvicorn.Config(app, http=PatientProtocol, lifespan="off", ws="none", log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join(10)
