"""Encoders whose vectors a user wants deleted, by name. Reads the store."""

from collections.abc import Sequence

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store.encoders import StoredEncoder, shown, stored_encoders
from locatlas.indexer.store.tables import Store

__all__ = ["named_encoders"]


def named_encoders(store: Store, names: Sequence[str]) -> list[StoredEncoder]:
    """The encoders that are meant, at every level at which they are not current.

    Args:
        store: The atlas.
        names: Names, or fingerprints of at least six digits.

    Raises:
        UnknownNameError: If the atlas has none such.
        InputError: If a name fits several, or one that is current.
    """
    known, found = stored_encoders(store), dict[tuple[str, str], StoredEncoder]()
    for name in names:
        fits = [e for e in known if e.is_called(name)]
        if not fits:
            named = {f"{e.spec.name} ({e.fingerprint[:12]})" for e in known}
            raise UnknownNameError("encoder in this atlas", name, named)
        if len({e.fingerprint for e in fits}) > 1:
            listed = ", ".join(f"{shown(e.spec)} {e.state} at level {e.level}" for e in fits)
            message = f"encoder {name!r} is in this atlas several times; name one by fingerprint: {listed}"
            raise InputError(message)
        unused = [e for e in fits if e.state != "current"]
        if not unused:
            message = (
                f"{store.folder.path}: {shown(fits[0].spec)} is current at level {fits[0].level}, so its vectors stay; "
                f"`locatlas reembed --encoder NAME` makes another one current"
            )
            raise InputError(message)
        found |= {(e.level, e.fingerprint): e for e in unused}
    return list(found.values())
