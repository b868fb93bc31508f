"""When an encoder becomes current."""

from dataclasses import replace

from locatlas.indexer.job import Job
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import Rejection
from locatlas.indexer.switching import complete
from tests.indexer.store.test_encoders import spec
from tests.indexer.test_job import NEW, images, job, put

__all__ = ["job"]


def test_an_encoder_is_current_once_every_image_has_its_vector(job: Job) -> None:
    images(job, "a", "b")
    encoders.put(job.store, StoredEncoder("fov", spec(0), "current"), NEW)
    complete(job, NEW)
    put(job, NEW, "a")
    complete(job, NEW)
    assert encoders.current(job.store, "fov") == StoredEncoder("fov", spec(0), "current")
    put(job, NEW, "b")
    complete(job, NEW)
    assert encoders.current(job.store, "fov") == replace(NEW, state="current")
    assert job.summary.encoders["fov"].state == "current"


def test_images_in_quarantine_lost_or_without_a_file_are_not_waited_for(job: Job) -> None:
    images(job, "a", "held", "lost")
    images(job, "imported", sources=[], root=None)
    (job.roots["r"] / "lost.tif").unlink()
    put(job, NEW, "a")
    complete(job, NEW)
    assert encoders.current(job.store, "fov") is None
    job.quarantine.put(Rejection(dataset="d", root="r", source="held.tif", reason="bad"))
    complete(job, NEW)
    assert encoders.current(job.store, "fov") == replace(NEW, state="current")
