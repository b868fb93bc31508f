"""Make again what a repair took out: vectors, where their encoder and images are at hand, and FAISS indices. I/O."""

from collections.abc import Mapping

from locatlas.errors import LocatlasError
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoders import EncoderRequest, StoredEncoder, stored_encoders
from locatlas.indexer.faiss_index import refresh
from locatlas.indexer.layout import AtlasFolder
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.store import Store
from locatlas.indexer.verify.owed import images, read_rows, settle_rows

__all__ = ["rebuild", "renew"]


def renew(folder: AtlasFolder, progress: Progress | None) -> list[str]:
    """Embed what repairs took out with the encoders that are current; of others the command is said.

    Args:
        folder: The atlas; no lock of it is held.
        progress: Told of what goes on.

    Returns:
        What was done, or is to be run.
    """
    store = Store(folder, as_is=True)
    settle_rows(store)
    if not (noted := read_rows(folder)):
        return []
    done = [_renewed(store, encoder, progress, noted) for encoder in stored_encoders(store) if encoder.table in noted]
    settle_rows(store)
    return done


def _renewed(store: Store, encoder: StoredEncoder, progress: Progress | None, noted: Mapping[str, int]) -> str:
    atlas, level = store.folder.path, encoder.level
    command = f"locatlas reembed --atlas {atlas} --encoder {encoder.fingerprint[:12]} --level {level}"
    if encoder.state != "current":  # with its last vector it would be
        return f"{encoder.table}: of an encoder that is {encoder.state}; `{command}` makes its vectors again"
    if level == "fov" and noted[encoder.table] < images(store, encoder.table):
        # those that were only searched for cells have none, and look like those that lost theirs
        again = "run the same `locatlas index` again"
        return f"{encoder.table}: not every field had a vector, and which had is not known any more; {again}"
    try:
        if level == "fov":
            summary = embed(atlas=atlas, request=EncoderRequest(), levels=(level,), progress=progress)
        else:
            summary = reembed(atlas=atlas, encoder=encoder.fingerprint, levels=(level,), progress=progress)
    except LocatlasError as error:
        return f"{encoder.table}: its vectors could not be made again ({error}); then run `{command}`"
    return f"{encoder.table}: {summary.embedded} vectors made again"


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
    done = []
    for encoder in stored_encoders(Store(folder, as_is=True)):
        if encoder.table in kinds and encoder.state == "current":
            try:
                said = refresh(folder.path, kinds[encoder.table], levels=(encoder.level,))[encoder.level]
            except LocatlasError as error:
                said = f"its index could not be built ({error}); `locatlas reembed --atlas {folder.path}` builds it"
            done.append(f"{encoder.table}: {said}")
    return done
