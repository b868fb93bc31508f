"""Channels of images that an encoder looks past. Reads the store."""

from collections import Counter

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.models.channels import used_channels

__all__ = ["unread_channels"]


def unread_channels(store: Store, encoder: StoredEncoder) -> dict[str, int]:
    """Channels that no pass of the encoder takes, by name, with how many images of its level have them.

    An encoder whose stains were named was told so and has none. Images of which it takes no channel at all are not
    counted: they are in quarantine.
    """
    if encoder.spec.stains:
        return {}
    sets = Counter(tuple(row) for row in store.read(image_table(encoder.level), ["channels"])["channels"].to_pylist())
    unread: Counter[str] = Counter()
    for channels, n in sets.items():
        try:
            used = used_channels(encoder.spec, channels)
        except (ImageRejectedError, InputError):
            continue
        unread.update({name: n for name in channels if name not in used})
    return dict(sorted(unread.items()))
