"""Look at an atlas that lies in an object store: its objects there, then a copy of it on this machine. Network, I/O."""

import time
from pathlib import Path

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup.record import BackupRecord
from locatlas.indexer.published.check import CHANGED, MISSING, bad_objects, exchange
from locatlas.indexer.published.mirror import mirrored
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import RECORD, name_of, record_of
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.verify.files import Told
from locatlas.indexer.verify.finding import Finding, finding
from locatlas.indexer.verify.look import look
from locatlas.indexer.verify.report import VerifyReport

__all__ = ["look_at_published", "mend_published"]

_MEND = "`locatlas verify --repair` on a machine that has a copy of this state sends them again; else publish a backup"


def look_at_published(uri: str, *, quick: bool, told: Told | None = None) -> VerifyReport:
    """Compare every object with its digest, in the store, and look at the atlas that they make.

    Args:
        uri: The address.
        quick: Presence and sizes of objects, and a quick look at the atlas.
        told: Called with what is done, bytes so far and in all.

    Raises:
        InputError: If nothing is published there, or the store cannot be reached.
    """
    objects, record = _record(uri)
    if isinstance(record, Finding):
        return VerifyReport(path=uri, quick=quick, findings=[record])
    began = time.perf_counter()
    bad, n_bytes = bad_objects(objects, record, quick=quick, told=told)
    seconds = time.perf_counter() - began
    found = [*_findings(record, bad)]
    try:
        report = look(mirrored(uri), quick=quick, told=told).report
        if report.damage and not bad:
            # what is published is good: the copy is not
            report = look(mirrored(uri, anew=True), quick=quick, told=told).report
    except StoreDamagedError as error:
        if not bad:
            raise
        report = VerifyReport(path=uri, quick=quick)
        means = f"the atlas in these objects was not looked at: {error}"
        found.append(finding("note", "not looked at", uri, means, "again when its objects are whole"))
    report.path, report.findings = uri, [*found, *report.findings]
    report.bytes_read += n_bytes
    report.seconds += seconds
    return report


def mend_published(uri: str, copy: Path, *, told: Told | None = None) -> list[str]:
    """Let store and copy give each other what one of them has and the other lost; what was done, in words.

    Args:
        uri: The address, which this process writes.
        copy: The copy that is written.
        told: Called with what is done, bytes so far and in all.

    Raises:
        InputError: If the store cannot be reached.
    """
    objects, record = _record(uri)
    if isinstance(record, Finding):
        raise StoreDamagedError(f"{record.where}: {record.means}")
    bad, _ = bad_objects(objects, record, quick=False, told=told)
    return exchange(objects, record, bad, AtlasFolder(copy))


def _record(uri: str) -> tuple[Objects, BackupRecord | Finding]:
    objects = Objects.at(uri)
    found = objects.read(RECORD)
    if found is None:
        message = f"{uri}: no atlas is there (no {RECORD})"
        raise InputError(message)
    try:
        return objects, record_of(uri, found.data)
    except InputError as error:
        do = "publish a backup elsewhere, or put back what this object was"
        return objects, finding(
            "damage", "record damaged", f"{uri}/{RECORD}", f"nobody can read this atlas ({error})", do
        )


def _findings(record: BackupRecord, bad: dict[str, str]) -> list[Finding]:
    found = []
    for how, means in (
        (MISSING, "the published state needs objects that are not there: who has no copy cannot fetch it"),
        (CHANGED, "objects have other bytes than were published: they are refused by whoever fetches them"),
    ):
        of = [f"{name_of(file.digest)} ({file.path})" for file in record.files if bad.get(file.digest) == how]
        if of:
            found.append(finding("damage", f"object {how}", "files", means, _MEND, of=of))
    return found
