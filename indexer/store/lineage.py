"""Which encoder descends from which. Pure."""

from collections.abc import Mapping, Sequence

from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.models.training.manifest import TrainingManifest

__all__ = ["lineage"]


def lineage(
    encoder: StoredEncoder, known: Sequence[StoredEncoder], trainings: Mapping[str, TrainingManifest]
) -> tuple[str, ...]:
    """Names from the oldest ancestor that is known to the encoder itself.

    Args:
        encoder: Whose.
        known: All encoders of the atlas, at any level.
        trainings: What weights were trained on, by their sha256.

    Returns:
        At least the encoder's own name. An ancestor that neither the atlas nor a training names is told by the first
        12 digits of its fingerprint.
    """
    specs = {e.fingerprint: e.spec for e in known}
    trained = {manifest.encoder: manifest for manifest in trainings.values()}
    names, seen = [encoder.spec.name], {encoder.fingerprint}
    parent, manifest = encoder.spec.parent, trainings.get(encoder.spec.weights_sha256 or "")
    while parent is not None and parent not in seen:
        seen.add(parent)
        if (spec := specs.get(parent)) is not None:
            name, manifest = spec.name, trainings.get(spec.weights_sha256 or "")
            parent = spec.parent
        elif manifest is not None and manifest.parent == parent and manifest.parent_name is not None:
            # not embedded with here; its own training may be known nevertheless
            name, manifest = manifest.parent_name, trained.get(manifest.parent_name)
            parent = None if manifest is None else manifest.parent
        else:
            name, parent = parent[:12], None
        names.append(name)
    return tuple(reversed(names))
