"""Verify an atlas, and on request repair it. I/O."""

from pathlib import Path

from locatlas.errors import InputError, LocatlasError, StoreDamagedError
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.published.objects import uri_of
from locatlas.indexer.published.writing import writing
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify import losses
from locatlas.indexer.verify.aside import Aside
from locatlas.indexer.verify.files import Told
from locatlas.indexer.verify.look import look
from locatlas.indexer.verify.published import look_at_published, mend_published
from locatlas.indexer.verify.renew import rebuild, renew
from locatlas.indexer.verify.repair import Repair
from locatlas.indexer.verify.report import VerifyReport

__all__ = ["verify"]

_ROUNDS = 5
"""A repair may bring to light what stood behind: an older version of a table has other files."""


def verify(
    *,
    atlas: str | Path,
    quick: bool = False,
    repair: bool = False,
    accept_losses: bool = False,
    told: Told | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compare an atlas with the digests of its files, its tables with each other, and its indices with both.

    Without `repair` nothing is written and no lock is taken: an atlas that may only be read can be verified, and one
    that is being written, of which what is not committed yet is left out.

    Of an atlas in an object store the objects are compared with their digests there, and then a copy is looked at. What
    is to be repaired is repaired in the copy that is written, and published.

    Args:
        atlas: Atlas folder, or address.
        quick: Sizes, presence, newest versions and ids only, not every byte.
        repair: Mend what can be mended, holding both locks; vectors that were taken out are made again afterwards where
            their encoder is the current one and the images are at hand, and indices that were removed are built anew.
        accept_losses: Do not tell any more of rows that repairs took out and that are not there again.
        told: Called with what is done, bytes so far and in all.
        progress: Told of the re-embedding.

    Returns:
        What was found; after a repair, what is left and what was done.

    Raises:
        InputError: If there is no atlas, or it is to be repaired and cannot be written.
        AtlasLockedError: If it is to be repaired and another process writes or re-embeds.
        StoreDamagedError: If a repair cannot be written.
    """
    if (uri := uri_of(atlas)) is not None:
        if not (repair or accept_losses):
            return look_at_published(uri, quick=quick, told=told)
        with writing(uri, "verify --repair" if repair else "verify --accept-losses") as written:
            exchanged = mend_published(uri, written.path, told=told) if repair else []
            how = {"quick": quick, "repair": repair, "accept_losses": accept_losses}
            report = verify(atlas=written.path, told=told, progress=progress, **how)
        after = look_at_published(uri, quick=quick, told=told)
        after.repaired = [*exchanged, *report.repaired]
        return after
    folder = _folder(Path(atlas))
    done: list[str] = []
    if accept_losses:
        with folder.writer("verify --accept-losses"):
            done += [f"{table}: what was taken out of it is not waited for any more" for table in losses.accept(folder)]
    if not repair:
        report = look(folder, quick=quick, told=told).report
        report.repaired = done
        return report
    indices: dict[str, str] = {}
    store = Store(folder, as_is=True)
    with folder.reembedding("verify --repair"), folder.writer("verify --repair"):
        for _ in range(_ROUNDS):
            round_ = Repair(store, look(folder, quick=quick, told=told), Aside(folder, store.digests))
            try:
                round_.run()
            except OSError as error:
                if isinstance(error, LocatlasError):
                    raise
                message = f"{error.filename or folder.path}: cannot be repaired ({error.strerror or error})"
                raise StoreDamagedError(message) from error
            done += round_.done
            indices |= round_.indices
            if not round_.done:
                break
    for make in (lambda: renew(folder, progress), lambda: rebuild(folder, indices)):
        try:
            done += make()
        except LocatlasError as error:  # of a table that is still damaged; what was done must be told all the same
            done.append(f"what was taken out is not made again yet: {error}")
    report = look(folder, quick=quick, told=told).report
    report.repaired = done
    return report


def _folder(path: Path) -> AtlasFolder:
    """The folder, whose `atlas.json` may be what is damaged."""
    folder = AtlasFolder(path.expanduser().resolve())
    if folder.info_path.exists() or folder.journal_path.exists() or any(folder.db.glob("*.lance")):
        return folder
    message = f"{path}: not an atlas ({'no atlas.json in it' if folder.path.is_dir() else 'no such folder'})"
    raise InputError(message)
