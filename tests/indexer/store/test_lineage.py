"""Chains of encoders, in the atlas and beyond it."""

from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.lineage import lineage
from locatlas.models.training.manifest import TrainingManifest
from tests.indexer.store.test_encoders import spec


def encoder(name: str, parent: str | None = None) -> StoredEncoder:
    return StoredEncoder("fov", spec().with_changes(name=name, weights_sha256=name * 8, parent=parent), "superseded")


def trained(name: str, parent: str | None, parent_name: str | None) -> TrainingManifest:
    return TrainingManifest(
        encoder=name,
        weights_sha256=name * 8,
        parent=parent,
        parent_name=parent_name,
        objective="dino",
        level="fov",
        group="protein",
        images=("x",),
    )


def test_a_chain_is_told_from_the_oldest_on() -> None:
    a = encoder("a")
    b = encoder("b", a.fingerprint)
    c = encoder("c", b.fingerprint)
    known = [c, a, b]
    assert lineage(c, known, {}) == ("a", "b", "c")
    assert lineage(a, known, {}) == ("a",)


def test_ancestors_that_the_atlas_has_no_vectors_of_are_named_by_trainings() -> None:
    a = encoder("a")
    b = encoder("b", a.fingerprint)
    c = encoder("c", b.fingerprint)
    known_b = {"c" * 8: trained("c", b.fingerprint, "b")}
    assert lineage(c, [c], {}) == (b.fingerprint[:12], "c")
    assert lineage(c, [c], known_b) == ("b", "c")
    assert lineage(c, [c], {**known_b, "b" * 8: trained("b", a.fingerprint, "a")}) == ("a", "b", "c")
    assert lineage(c, [c, b], {"b" * 8: trained("b", a.fingerprint, "a")}) == ("a", "b", "c")


def test_a_circle_ends() -> None:
    a = encoder("a")
    b = encoder("b", a.fingerprint)
    own = StoredEncoder("fov", a.spec.with_changes(parent=b.fingerprint), "superseded")
    assert own.fingerprint == a.fingerprint
    assert lineage(b, [own, b], {}) == ("a", "b")
