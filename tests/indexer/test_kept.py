"""What was kept before an upgrade outlives every run that tidies; `maintain` gives it up, and says so."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from locatlas.cli import group
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import tidy_limits
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import REMOVED, tidy
from tests.indexer.old_atlases import SCHEMAS_1, make_old
from tests.indexer.store.test_upgrade import given_back, held


@pytest.fixture
def upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An atlas whose rows were all written anew since it was upgraded, and whose limits of tidying are low."""
    monkeypatch.setattr(tidy_limits, "VERSIONS_BEFORE_CLEANING", 1)
    monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", 0)
    store = Store.open(make_old(tmp_path / "atlas", 1).path)
    for _ in range(3):
        for table in SCHEMAS_1:
            store.upsert(table, store.read(table))
    return store


def tidied(store: Store) -> int:
    run = Run(store, "index", dataset=None)
    with store.folder.writer("index"):
        tidy(store, store.tables(), run)
    return run.counts[REMOVED]


def test_a_run_that_tidies_spares_what_the_atlas_was_before_its_upgrade(upgraded: Store, tmp_path: Path) -> None:
    before = held(make_old(tmp_path / "twin", 1))
    assert tidied(upgraded) > 0
    assert held(given_back(upgraded.folder)) == before


def test_maintain_gives_up_what_was_kept_and_says_so_in_one_line(upgraded: Store) -> None:
    done = CliRunner().invoke(group, ["maintain", "--atlas", str(upgraded.folder.path)])
    said = [line for line in done.output.splitlines() if "before-upgrade/schema-1" in line]
    assert (done.exit_code, len(said)) == (0, 1)
    assert not (upgraded.folder.path / "before-upgrade").exists()
    assert maintain(atlas=upgraded.folder.path).given_up == []


def test_maintain_leaves_what_was_kept_while_its_versions_are_there(
    upgraded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", 600)
    assert maintain(atlas=upgraded.folder.path).given_up == []
    assert given_back(upgraded.folder).info()["schema_version"] == 1


def test_where_the_record_of_what_was_kept_is_damaged_no_run_removes_what_it_may_need(
    upgraded: Store, caplog: pytest.LogCaptureFixture
) -> None:
    (upgraded.folder.path / "before-upgrade" / "schema-1" / "backup.json").write_text("{")
    assert tidied(upgraded) == 0
    assert len([r for r in caplog.messages if "backup.json" in r and "`locatlas maintain`" in r]) == 1
    assert maintain(atlas=upgraded.folder.path).given_up == ["before-upgrade/schema-1"]
