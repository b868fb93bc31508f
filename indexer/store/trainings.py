"""The `trainings` table: what the encoders of an atlas were trained on. I/O, apart from `group_value`."""

import pyarrow as pa

from locatlas.indexer.store.schema import TRAININGS
from locatlas.indexer.store.tables import Store
from locatlas.models import registry
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest

__all__ = ["group_value", "known_training", "put_known_trainings", "put_training", "training_of", "trainings_named"]

_SAME_EVERYWHERE = ("protein", "ensembl_id", "antibody")
"""Columns whose values mean the same in every data set."""


def group_value(column: str, dataset: str, value: str) -> str:
    """A group's value as training manifests hold it: plate 1 of one data set is not plate 1 of another.

    Args:
        column: E.g. "protein", "plate", "fov", or a group column of a manifest.
        dataset: Of the image.
        value: Of the image, not empty.
    """
    return value if column in _SAME_EVERYWHERE else f"{dataset}/{value.removeprefix(f'{dataset}/')}"


def put_training(store: Store, manifest: TrainingManifest) -> None:
    """Write down what an encoder was trained on; the writer lock is held."""
    row = {
        "id": manifest.weights_sha256,
        "name": manifest.encoder,
        "parent": manifest.parent,
        "manifest": manifest.to_json(),
    }
    store.upsert("trainings", pa.Table.from_pylist([row], schema=TRAININGS))


def put_known_trainings(store: Store, spec: EncoderSpec) -> None:
    """Write down what an encoder that was trained on this machine saw, in an atlas that does not know it yet.

    So that an atlas is told of what it was trained on in another. The writer lock is held.
    """
    if training_of(store, spec.weights_sha256) is None:
        manifest = known_training(store, spec.weights_sha256)
        if manifest is not None:
            put_training(store, manifest)


def training_of(store: Store, weights_sha256: str | None) -> TrainingManifest | None:
    """What the weights of that digest were trained on, None where the atlas does not know."""
    if weights_sha256 is None or not store.has("trainings"):
        return None
    rows = store.read_rows("trainings", [weights_sha256], ["id", "manifest"]).to_pylist()
    return TrainingManifest.from_json(rows[0]["manifest"]) if rows else None


def trainings_named(store: Store, name: str) -> list[TrainingManifest]:
    """What encoders of a name were trained on, as far as the atlas knows, though it may have forgotten these."""
    if not store.has("trainings"):
        return []
    rows = store.read("trainings", ["id", "name", "manifest"]).to_pylist()
    return [TrainingManifest.from_json(row["manifest"]) for row in rows if row["name"] == name]


def known_training(store: Store, weights_sha256: str | None) -> TrainingManifest | None:
    """The same as far as the atlas or this machine knows: weights may be used in another atlas, under another name."""
    if weights_sha256 is None:
        return None
    return training_of(store, weights_sha256) or registry.training_by_weights(weights_sha256)
