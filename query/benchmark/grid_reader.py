"""Values out of a grid's TOML, checked for type and refused by file and key. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from locatlas.errors import InputError
from locatlas.query.benchmark.settings import Setting

__all__ = ["Reader"]

Texts = tuple[str, ...]


class Reader:
    """Takes values out of a table, and tells what is wrong with them, or left over, by file and key."""

    def __init__(self, where: str, raw: dict[str, Any]) -> None:
        self._where, self._raw, self._met = where, raw, set[str]()

    def _refuse(self, key: str, why: str) -> None:
        message = f"{self._where}: {key} {why}"
        raise InputError(message)

    def _take(self, key: str, kind: type | tuple[type, ...], *, needed: bool = False) -> Any:
        self._met.add(key)
        if key not in self._raw:
            if needed:
                self._refuse(key, "is missing")
            return None
        value = self._raw[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._refuse(key, f"= {value!r}: another type needed")
        return value

    def text(self, key: str, *, needed: bool = False) -> str:
        """A text; "" where it is missing."""
        return self._take(key, str, needed=needed) or ""

    def texts(self, key: str, allowed: Sequence[str] = (), *, needed: bool = False, empty: bool = False) -> Texts:
        """Distinct texts of a list; () where the key is missing.

        Args:
            key: Of the list.
            allowed: What may stand in it; () for anything.
            needed: Whether it must be there.
            empty: Whether it may be there with nothing in it.
        """
        values = self._list(key, needed=needed, empty=empty)
        for value in values:
            if not isinstance(value, str) or (allowed and value not in allowed):
                self._refuse(key, f"holds {value!r}: {', '.join(allowed) if allowed else 'text'} needed")
        return tuple(dict.fromkeys(values))

    def numbers(self, key: str, kind: type, *, least: float, most: float | None = None) -> tuple[Any, ...]:
        """Distinct numbers of a list that is not empty; () where the key is missing."""
        values = self._list(key)
        for value in values:
            fits = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
            if not fits or value < least or (most is not None and not least < value <= most):
                limits = f"from {least} on" if most is None else f"in ({least}, {most}]"
                self._refuse(key, f"holds {value!r}: numbers {limits} needed")
        return tuple(dict.fromkeys(kind(value) for value in values))

    def _list(self, key: str, *, needed: bool = False, empty: bool = False) -> list[Any]:
        values: list[Any] | None = self._take(key, list, needed=needed)
        if values == [] and not empty:
            self._refuse(key, "is empty: leave it out for what is usual")
        return values or []

    def number(self, key: str) -> int | None:
        """A whole number; None where it is missing."""
        value: int | None = self._take(key, int)
        return value

    def table(self, key: str) -> dict[str, Any]:
        """A table; empty where it is missing."""
        return self._take(key, dict) or {}

    def tables(self, key: str) -> list[dict[str, Any]]:
        """A list of tables; empty where it is missing."""
        values = self._take(key, list) or []
        for value in values:
            if not isinstance(value, dict):
                self._refuse(key, "must be tables, [[encoders]]")
        return values

    def values(self, known: Mapping[str, Setting]) -> dict[str, Any]:
        """All values of a table of known keys."""
        found = {key: self._take(key, setting.kind) for key, setting in known.items() if key in self._raw}
        self.done(known)
        return found

    def done(self, known: Mapping[str, Any] | None = None) -> None:
        """Refuse what nobody asked for.

        Raises:
            InputError: If a key is unknown.
        """
        if over := sorted(set(self._raw) - self._met):
            message = f"{self._where}: unknown key {over[0]!r}; known: {', '.join(sorted(known or self._met))}"
            raise InputError(message)
