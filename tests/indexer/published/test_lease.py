"""Who may write at an address, and stores that take puts whose conditions do not hold."""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.index import index
from locatlas.indexer.published import lease as leases
from locatlas.indexer.published.lease import LOCK, Lease, WriterNote, require_conditions, writer_at
from locatlas.indexer.published.objects import Objects, OvertakenError
from tests.indexer.published.stores import BUCKET, keys, served


def test_a_store_that_honors_conditions_is_taken_and_nothing_is_left_of_the_trial(uri: str, client: Any) -> None:
    require_conditions(Objects.at(uri))
    assert keys(client, uri) == {}


App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@contextmanager
def serving(change: Callable[[App], App], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a server that is another in one way, which the environment names for the length of a block."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = change(DomainDispatcherApplication(create_backend_app))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.port}")
    yield served("127.0.0.1", running.port)
    running.shutdown()
    thread.join()


@pytest.fixture(params=["If-None-Match", "If-Match"])
def ignoring(request: pytest.FixtureRequest, client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """A server that does not look at one of the headers, and which."""

    def deaf(moto: App) -> App:
        def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            environ.pop("HTTP_" + request.param.upper().replace("-", "_"), None)
            return moto(environ, start)

        return app

    with serving(deaf, monkeypatch) as server:
        yield request.param, server


def test_a_store_without_conditional_writes_is_refused_in_one_line_that_says_what_it_lacks(
    plain: None, source: Path, uri: str, ignoring: tuple[str, Any]
) -> None:
    name, client = ignoring
    with pytest.raises(InputError, match=f"takes a put that does not meet the condition `{name}") as error:
        index(source, atlas=uri, dataset="opencell")
    assert "\n" not in str(error.value)
    assert keys(client, uri) == {}


def test_a_store_that_knows_no_conditions_is_refused_likewise(
    uri: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(moto: App) -> App:
        def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            if "HTTP_IF_NONE_MATCH" in environ:
                start("501 Not Implemented", [("Content-Type", "application/xml")])
                return [b"<Error><Code>NotImplemented</Code></Error>"]
            return moto(environ, start)

        return app

    monkeypatch.setattr("locatlas.indexer.published.objects.RETRIES", 0)
    with serving(refusing, monkeypatch), pytest.raises(InputError, match="refuses every put with the condition"):
        require_conditions(Objects.at(uri))


def test_a_lease_is_held_by_one_and_free_once_it_is_released(uri: str) -> None:
    objects = Objects.at(uri)
    with Lease.taken(objects, "index", token="a") as held:
        held.ensure()
        there = writer_at(objects)
        assert there is not None
        assert (there.command, there.token) == ("index", "a")
        with pytest.raises(AtlasLockedError, match="taken for dead"), Lease.taken(objects, "embed", token="b"):
            pass
        held.ensure()  # which the refused one did not disturb
    assert writer_at(objects) is None
    with Lease.taken(objects, "embed", token="b"):
        pass


def test_a_lease_of_a_dead_process_of_this_machine_is_taken_at_once(uri: str) -> None:
    objects = Objects.at(uri)
    objects.write(LOCK, WriterNote(command="index", token="dead").to_bytes())
    with pytest.raises(AtlasLockedError), Lease.taken(objects, "index", token="b", mine="another"):
        pass
    with Lease.taken(objects, "index", token="b", mine="dead"):
        pass


def test_a_lease_of_a_process_that_lives_is_not_taken_by_who_has_its_token(uri: str) -> None:
    """A copy of `LOCATLAS_HOME` has it as well."""
    objects = Objects.at(uri)
    alive = WriterNote(command="index", token="before", pid=os.getppid())
    objects.replace(LOCK, alive.to_bytes(), tag=None)
    with pytest.raises(AtlasLockedError, match="another writer"), Lease.taken(objects, "b", token="two", mine="before"):
        pass


@pytest.mark.parametrize("lock", [b"", b"{}", b'{"command": "x", "token": 3}', b"[]"])
def test_a_lock_that_cannot_be_read_is_waited_for_as_well(
    uri: str, lock: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Objects.at(uri)
    objects.write(LOCK, lock)
    with pytest.raises(AtlasLockedError, match="whose lock cannot be read"), Lease.taken(objects, "x", token="b"):
        pass
    monkeypatch.setattr(leases, "LEASE_S", -1)
    with Lease.taken(objects, "x", token="b"):
        pass


def test_who_renews_is_told_once_somebody_else_took_it(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects.at(uri)
    with Lease.taken(objects, "index", token="a") as first:
        monkeypatch.setattr(leases, "LEASE_S", -1)
        with Lease.taken(objects, "embed", token="b") as second:
            with pytest.raises(AtlasLockedError, match="taken over by `embed`"):
                first.ensure()
            second.ensure()
    assert first.lost is not None
    assert writer_at(objects) is None


def test_it_is_renewed_while_its_owner_works(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    objects, renewed = Objects.at(uri), threading.Event()
    real = Objects.replace

    def watched(self: Objects, name: str, data: bytes, **kwargs: Any) -> Any:
        done = real(self, name, data, **kwargs)
        if b'"renewed": 2' in data:
            renewed.set()
        return done

    monkeypatch.setattr(Objects, "replace", watched)
    with Lease.taken(objects, "index", token="a"):
        assert renewed.wait(60)


def test_an_answer_that_was_lost_on_the_way_is_no_other_writer(uri: str) -> None:
    """A client sends a put again where no answer came, and finds what it has put itself."""
    objects = Objects.at(uri)
    tag = objects.replace("object", b"mine", tag=None)
    assert objects.replace("object", b"mine", tag=None) == tag
    second = objects.replace("object", b"mine 2", tag=tag)
    assert objects.replace("object", b"mine 2", tag=tag) == second
    with pytest.raises(OvertakenError):
        objects.replace("object", b"other", tag=tag)


def test_the_bucket_is_named_where_there_is_none(client: Any) -> None:
    with pytest.raises(InputError, match="no such bucket"):
        require_conditions(Objects.at("s3://no-such-bucket/atlas"))
    assert BUCKET != "no-such-bucket"
