"""Make again what a repair took out: vectors, where their encoder and images are at hand, and FAISS indices. I/O."""

import shlex
from collections.abc import Mapping

from locatlas.errors import LocatlasError
from locatlas.indexer.embed import refill
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.store.encoders import StoredEncoder, stored_encoders
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify import losses
from locatlas.models.spec import EncoderSpec

__all__ = ["rebuild", "renew"]


def renew(folder: AtlasFolder, progress: Progress | None) -> list[str]:
    """Embed what repairs took out, with the encoders that made it; of what cannot be made it is said what to run.

    Args:
        folder: The atlas; no lock of it is held.
        progress: Told of what goes on.

    Returns:
        What was done, or is to be run.
    """
    store, done = Store(folder, as_is=True), list[str]()
    if not (noted := losses.read(folder)):
        return done
    for encoder in stored_encoders(store):
        loss = noted.get(encoder.table)
        if loss is not None and not encoder.is_imported and losses.missing(store, encoder.table, loss):
            done.append(_renewed(store, encoder, loss, progress))
    with folder.writer("verify --repair"):
        losses.settle(store)
    return done


def _renewed(store: Store, encoder: StoredEncoder, loss: losses.Loss, progress: Progress | None) -> str:
    atlas, level = store.folder.path, encoder.level
    command = f"locatlas verify --repair --atlas {shlex.quote(str(atlas))}"
    known = loss.lost is not None and loss.lost == len(loss.ids)
    if encoder.state != "current" and not known:
        at = ["--atlas", str(atlas), "--level", level]
        asked, then = ["reembed", *at, "--encoder", encoder.fingerprint[:12]], "makes it current"
        if encoder.state == "beside":
            asked, then = ["embed", *at, *_asks_for(encoder.spec), "--no-switch"], "leaves what is current"
        return (
            f"{encoder.table}: of an encoder in the state {encoder.state}, which need not have had every vector; "
            f"`{shlex.join(['locatlas', *asked])}` makes all of them, and {then}"
        )
    if level == "fov" and not known and _searched(store, loss):
        # those that were only searched for cells have none, and look like those that lost theirs
        again = "run the same `locatlas index` again"
        return f"{encoder.table}: not every field had a vector, and which had is not known any more; {again}"
    try:
        summary = refill(
            atlas=atlas, level=level, fingerprint=encoder.fingerprint, needed=set(loss.ids), progress=progress
        )
    except LocatlasError as error:
        return f"{encoder.table}: its vectors could not be made again ({error}); then run `{command}` again"
    return f"{encoder.table}: {summary.embedded} vectors made again"


def _asks_for(spec: EncoderSpec) -> list[str]:
    """Options of `embed` that mean an encoder."""
    asked = ["--encoder", spec.name, "--channels", spec.mapping, "--passes", spec.passes, "--storage", spec.storage]
    asked += ["--stains", ",".join(spec.stains)] if spec.stains else []
    asked += ["--plan-seed", str(spec.mapping_seed)] if spec.mapping_seed is not None else []
    # to name its precision would ask for what rounds less than an earlier version did
    asked += ["--precision", spec.precision] if spec.residual == "fp32" else []
    if (crop := spec.crop) is not None:
        size = f"{crop.size_px}px" if crop.size_um is None else f"{crop.size_um:.9f}".rstrip("0").rstrip(".") + "um"
        asked += ["--crop", size, "--crop-centre", crop.centre, "--border", crop.border]
        asked += ["--blank" if crop.blank else "--no-blank"]
    return asked


def _searched(store: Store, loss: losses.Loss) -> bool:
    """Whether some of the fields were searched for cells, and so need not have had a vector."""
    rows = store.read_rows("fovs", loss.ids, ["id", "segmenter"])
    return bool(rows["segmenter"].null_count < len(rows))


def rebuild(folder: AtlasFolder, kinds: Mapping[str, str]) -> list[str]:
    """Build the FAISS indices of encoders that are current; others have none.

    Args:
        folder: The atlas; no lock of it is held.
        kinds: Type of index by table, or "auto": one if the number of vectors calls for it.

    Returns:
        What look-ups use now.
    """
    if not kinds:
        return []
    done: list[str] = []
    for encoder in stored_encoders(Store(folder, as_is=True)):
        if encoder.table in kinds and encoder.state == "current":
            try:
                said = refresh(folder.path, kinds[encoder.table], levels=(encoder.level,))[encoder.level]
            except LocatlasError as error:
                said = f"its index could not be built ({error}); `locatlas reembed --atlas {folder.path}` builds it"
            done.append(f"{encoder.table}: {said}")
    return done
