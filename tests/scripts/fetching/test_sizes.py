import pytest
from fetching.errors import FetchError
from fetching.plan import Remote
from fetching.sizes import with_guess
from flaky_server import FlakyServer

STAINS = {"blue": 100, "red": 1000, "green": 2000, "yellow": 4000}


def fields_of(server: FlakyServer, n: int) -> list[list[Remote]]:
    """Fields whose files have the sizes of their stains."""
    for number in range(n):
        server.files |= {f"/{number}_{stain}": b"x" * size for stain, size in STAINS.items()}
    return [
        [Remote(f"{server.url}/{number}_{stain}", f"{number}_{stain}", optional=stain == "yellow") for stain in STAINS]
        for number in range(n)
    ]


@pytest.mark.parametrize("n", [1, 3, 12, 24, 48])
def test_an_estimate_asks_for_every_stain_alike(server: FlakyServer, session, n: int) -> None:
    plan = with_guess(fields_of(server, n), session)
    assert plan.volume == n * sum(STAINS.values())
    assert len(server.asked) == min(12, 4 * n)


def test_an_estimate_of_any_number_of_fields_is_near(server: FlakyServer, session) -> None:
    for n in (5, 7, 13, 29):
        volume = with_guess(fields_of(server, n), session).volume
        assert volume == pytest.approx(n * sum(STAINS.values()), rel=0.2)


def test_a_site_that_has_none_of_its_files_is_told_before_it_is_asked_for_all(server: FlakyServer, session) -> None:
    fields = fields_of(server, 30)
    server.files.clear()
    with pytest.raises(FetchError, match="nor is any other of 12 files; the site may have changed"):
        with_guess(fields, session)


def test_files_that_are_missing_count_as_empty(server: FlakyServer, session) -> None:
    fields = fields_of(server, 12)
    server.files = {path: body for path, body in server.files.items() if "yellow" not in path}
    assert with_guess(fields, session).volume == 12 * 3100
