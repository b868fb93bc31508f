"""Give every image of an atlas its vector by an encoder, beside those it has, and switch when complete. I/O.

Nothing is held while images are read and embedded: the writer lock is taken for each commit, under which what others
changed since is left out and listed again, until nothing is missing; then the encoder is made current under the same
lock, so that no image comes between.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer import encoder_choice
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.engines import Engine, require_local
from locatlas.indexer.follow import drop_outdated, embed_missing, follow, follow_aside
from locatlas.indexer.job import Job
from locatlas.indexer.levels_in_use import levels_in_use
from locatlas.indexer.missing import check_scale, list_missing
from locatlas.indexer.pipeline import COMMIT_ROWS, Progress, Throttle
from locatlas.indexer.profile import Profile
from locatlas.indexer.published.writing import writes
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.indexer.summary import IndexSummary
from locatlas.indexer.switching import complete
from locatlas.models.running import USUAL, Running

__all__ = ["check_scale", "embed", "embed_stored", "reembed", "stored_channels"]


@writes("embed")
def embed(
    *,
    atlas: str | Path,
    request: EncoderRequest,
    levels: Iterable[str] | None = None,
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
    busy: float = 1.0,
    switch: bool = True,
    profile: bool = False,
    running: Running = USUAL,
    engine: Engine | None = None,
) -> IndexSummary:
    """Give every image of an atlas its vector by an encoder, beside those it has, and switch when complete.

    Queries use the encoder before until the last vector is committed. Others may write meanwhile.

    Args:
        atlas: Atlas folder.
        request: Encoder and plan; empty for the current one, to complete what is missing.
        levels: Image levels to embed; those without images are passed over. None for those that have vectors, by any
            encoder, or for all where none has (`levels_in_use`).
        progress: Told of what goes on.
        commit_rows: Images a commit.
        busy: Share of the time to work, in (0, 1]: after each batch the rest is left to others.
        switch: Make the encoder current once it is complete, unless more than 1 % of the images that answer lack a
            vector by it (`switching.switch_to`). Otherwise the current one stays so; where a level has none, the
            encoder becomes current nevertheless (`follow.follow_aside`).
        profile: Tell in the summary where the seconds went.
        running: How the encoder's network is run; the vectors are those of the same encoder.
        engine: Embeds elsewhere (`locatlas.indexer.cluster`); None for here.

    Raises:
        InputError: If the atlas holds no images, their folder is not there, or the encoder in use was imported.
        UnknownNameError: If no image of a level has a stain that is asked for.
        AtlasLockedError: If the atlas is being re-embedded.
    """
    asked = None if levels is None else tuple(levels)

    def work(job: Job) -> None:
        chosen = levels_in_use(job.store) if asked is None else asked
        for level in chosen if request.stains else ():
            encoder_choice.require_stains(request.stains, stored_channels(job.store, level), f"image at level {level}")
        for level in chosen:
            if (encoder := _asked_for(job.store, level, request, adding=True)) is not None:
                if switch:
                    follow(job, encoder, searched_too=True)
                else:
                    follow_aside(job, encoder)
        if not job.summary.encoders:
            named = " or ".join(chosen or ("fov", "cell"))
            message = f"{atlas}: holds no images at level {named} that could be embedded"
            raise InputError(message)

    return _beside(
        atlas,
        "embed",
        work,
        progress=progress,
        commit_rows=commit_rows,
        busy=busy,
        profile=profile,
        running=running,
        engine=engine,
    )


@writes("reembed")
def reembed(
    *,
    atlas: str | Path,
    encoder: str | None = None,
    levels: Iterable[str] = ("fov", "cell"),
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
    busy: float = 1.0,
    profile: bool = False,
    running: Running = USUAL,
    engine: Engine | None = None,
) -> IndexSummary:
    """Find what is stale in an atlas and embed that: images without a vector, changed ones, an encoder being built.

    Args:
        atlas: Atlas folder.
        encoder: Name, or fingerprint of one that the atlas knows, to be current once it is complete; by fingerprint
            however many images lack a vector by it. None for the one that is being built at each level, else the
            current one.
        levels: Image levels; those at which the atlas has no encoder are passed over.
        progress: Told of what goes on.
        commit_rows: Images a commit.
        busy: As in `embed`.
        profile: As in `embed`.
        running: As in `embed`.
        engine: As in `embed`.

    Raises:
        InputError: If there is nothing that could be embedded, several encoders are being built and none was named, or
            a folder of images is not there.
        UnknownNameError: If neither the atlas nor the registry has the encoder.
        AtlasLockedError: If the atlas is being re-embedded.
    """
    levels = tuple(levels)

    def work(job: Job) -> None:
        for target in _targets(job.store, levels, encoder):
            by_fingerprint = encoder is not None and target.spec.name != encoder and target.is_called(encoder)
            follow(job, target, searched_too=False, whatever_lacks=by_fingerprint)
        if not job.summary.encoders:
            message = (
                f"{atlas}: no encoder at level {' or '.join(levels)} whose images could be embedded; "
                "name one with --encoder"
            )
            raise InputError(message)

    return _beside(
        atlas,
        "reembed",
        work,
        progress=progress,
        commit_rows=commit_rows,
        busy=busy,
        profile=profile,
        running=running,
        engine=engine,
    )


def refill(
    *, atlas: str | Path, level: str, fingerprint: str, needed: Collection[str], progress: Progress | None = None
) -> IndexSummary:
    """Make vectors of an encoder that the atlas knows and that are missing; which encoder answers stays as it is.

    Args:
        atlas: Atlas folder.
        level: "fov" or "cell".
        fingerprint: Of the encoder.
        needed: Ids of fields that had a vector though they may have been only searched for cells.
        progress: Told of what goes on.

    Raises:
        InputError: If the images cannot be embedded, or a folder of images is not there.
        AtlasLockedError: If the atlas is being re-embedded.
    """

    def work(job: Job) -> None:
        follow(job, _named(job.store, level, fingerprint), searched_too=False, switch=False, needed=needed)

    return _beside(atlas, "reembed", work, progress=progress, commit_rows=COMMIT_ROWS, busy=1.0)


def _beside(
    atlas: str | Path,
    command: str,
    work: Callable[[Job], None],
    *,
    progress: Progress | None,
    commit_rows: int,
    busy: float,
    profile: bool = False,
    running: Running = USUAL,
    engine: Engine | None = None,
) -> IndexSummary:
    """Do some work that takes the writer lock for its commits only, and close its run."""
    require_local(engine, profile=profile, running=running, busy=busy)
    throttle = Throttle(busy) if busy != 1 else None
    store = Store.open(Path(atlas))
    with Run.record_beside(store, command) as run:
        job = Job(
            store, run, Quarantine(store), {}, progress, commit_rows, beside=True, throttle=throttle, engine=engine
        )
        job.profile, job.running = Profile() if profile else None, running
        work(job)
        return job.finish()


def _targets(store: Store, levels: Sequence[str], name: str | None) -> list[StoredEncoder]:
    """The encoder that is to be complete at each level."""
    if name is None:
        return [e for level in levels if (e := _stale(store, level)) is not None]
    known = [level for level in levels if any(e.is_called(name) for e in encoders.stored_encoders(store, level))]
    if known:
        return [_named(store, level, name) for level in known]
    # not one that the atlas knows: where it has an encoder, another of the registry
    request = EncoderRequest(name=name)
    used = [level for level in levels if encoders.stored_encoders(store, level)]
    chosen = [_asked_for(store, level, request, adding=True) for level in used]
    return [e for e in chosen if e is not None]


def _stale(store: Store, level: str) -> StoredEncoder | None:
    known = [e for e in encoders.stored_encoders(store, level) if not e.is_imported]
    building = [e for e in known if e.state == "building"]
    if len(building) > 1:
        listed = ", ".join(f"{e.spec.name} ({e.fingerprint[:12]})" for e in building)
        message = f"{store.folder.path}: several {level} encoders are being built; name one with --encoder: {listed}"
        raise InputError(message)
    return building[0] if building else next((e for e in known if e.state == "current"), None)


def _named(store: Store, level: str, name: str) -> StoredEncoder:
    found = encoders.find(store, level, name)
    if found.is_imported:
        message = f"encoder {found.spec.name} was imported, so no image can be embedded with it; name another"
        raise InputError(message)
    return found


def stored_channels(store: Store, level: str) -> Iterator[list[str]]:
    """Channels of each image of a level that can be read."""
    rows = store.read(image_table(level), ["sources", "channels"])
    return (row["channels"] for row in rows_of(rows) if row["sources"])


def _asked_for(store: Store, level: str, request: EncoderRequest, *, adding: bool) -> StoredEncoder | None:
    """The encoder that a request means at a level; None where there are no images that could be embedded."""
    columns = ["id", "sources", "channels", *(["box"] if level == "cell" else [])]
    images = store.read(image_table(level), columns)
    available = encoder_choice.usual_channels(row["channels"] for row in rows_of(images) if row["sources"])
    if not available:
        return None
    # a crop that is asked for is for cells to come, where none is cut out yet
    cuts = level == "cell" and (request.crop is not None or images["box"].null_count < len(images))
    return encoder_choice.choose(store, level, request, available=available, adding=adding, cuts=cuts)


def embed_stored(job: Job, level: str, request: EncoderRequest, *, dataset: str) -> None:
    """Embed the cells of a data set that are cut out of its fields, with the atlas' own encoder; the lock is held.

    Args:
        job: The run.
        level: "cell".
        request: What the user asked for.
        dataset: Only the images of this data set.

    Raises:
        InputError: If their folder is not there, or the encoder cannot cut them.
    """
    encoder = _asked_for(job.store, level, request, adding=False)
    if encoder is None:
        return
    missing = list_missing(job, encoder, dataset=dataset, cut_only=True)
    job.summary.skipped += missing.fresh
    job.summary.dropped += missing.dropped
    drop_outdated(job, encoder, missing)
    embed_missing(job, encoder, missing)
    complete(job, encoder)
