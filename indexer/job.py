"""What `index` and `embed` share: the job in hand, and embedding of what is pending. I/O."""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.indexer.commits import Commits
from locatlas.indexer.engines import Engine
from locatlas.indexer.files.decoders import decoders
from locatlas.indexer.files.limits import VARIABLE
from locatlas.indexer.files.read_ahead import readers
from locatlas.indexer.pipeline import COMMIT_ROWS, Pending, Progress, Throttle, embed_pending
from locatlas.indexer.pixel_cache.segments import segments
from locatlas.indexer.profile import Profile
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store import encoders
from locatlas.indexer.store.disk import bytes_of_images, require_space
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.ledger import FROM_PACK, Run, versions
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.sources import is_cut
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import FREED, MERGED, REMOVED, tidy
from locatlas.indexer.summary import IndexSummary, Maintained
from locatlas.models.encode import Encoder, load_encoder
from locatlas.models.running import USUAL, Running
from locatlas.models.runtimes import runtime_version

__all__ = ["Job"]


def _program() -> str:
    given = os.environ.get(VARIABLE, "")
    return versions().get("locatlas", "") + (f" {given}" if given else "")


@dataclass(slots=True)
class Job:
    """A writing run over one atlas, with the writer lock held throughout, or taken for each commit.

    Attributes:
        store: The atlas.
        run: Its ledger entry.
        quarantine: What cannot be used.
        roots: Declared folders by name; the first is the one that is indexed.
        progress: Told of what goes on.
        commit_rows: Images a commit.
        summary: What was done so far.
        program: Version of locatlas, and the limits it was given: another may read what this one cannot.
        beside: Whether others may write between the commits (`writing`).
        throttle: Rests after each batch.
        profile: Takes the seconds of each stage of embedding; None for none.
        running: How the encoder's network is run.
        engine: Embeds elsewhere; None for here.
    """

    store: Store
    run: Run
    quarantine: Quarantine
    roots: Mapping[str, Path]
    progress: Progress | None = None
    commit_rows: int = COMMIT_ROWS
    summary: IndexSummary = field(default_factory=IndexSummary)
    program: str = field(default_factory=_program)
    beside: bool = False
    throttle: Throttle | None = None
    profile: Profile | None = None
    running: Running = USUAL
    engine: Engine | None = None
    _loaded: dict[str, Encoder] = field(default_factory=dict)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The writer lock for the length of a block; where the run holds it throughout, nothing is to be done.

        Waits for other writers as long as it takes, and knows the quarantine as they left it.
        """
        if not self.beside:
            yield
            return
        with ExitStack() as held:
            with self.run.timed("wait"):
                held.enter_context(self.store.folder.writer(self.run.command, brief=True, patient=True))
            self.quarantine.read_again()
            yield

    def pending(
        self, position: int, record: ImageRecord, row: Mapping[str, Any], stat: str, encoder: StoredEncoder
    ) -> Pending:
        """A record to be embedded, with a digest of all that decides whether it can be: a new attempt needs a change.

        Args:
            position: In the sorted list of records.
            record: What to read.
            row: Its row without what its pixels tell.
            stat: Size and time of its sources.
            encoder: Which is to take it.
        """
        planes = [(source["path"], source["channels"]) for source in row["sources"]]
        decides = [stat, planes, row["row"], row["pixel_size_um"], encoder.fingerprint, self.program]
        if is_cut(row):
            decides.append(row["source_digest"])  # found anew, a cell may be cut where it could not be before
        tried = hashlib.blake2b(json.dumps(decides).encode(), digest_size=16).hexdigest()
        return Pending(position, record, row, stat, tried)

    def invalidate(self, level: str, redeclared: Collection[str], rescaled: Collection[str]) -> None:
        """Delete vectors of pixels that are to be read in another way, before the rows say so.

        A vector knows the digest of its files only. Were it not deleted, a kill between row and vector, or another
        encoder, would keep the vector of swapped channels.

        Args:
            level: "fov" or "cell".
            redeclared: Ids whose channels, or whose row of a stacked file, are others.
            rescaled: Ids whose pixel size is another, which matters to encoders that rescale.
        """
        for encoder in encoders.stored_encoders(self.store, level):
            wrong = {*redeclared, *(rescaled if encoder.spec.pixel_size_um is not None else ())}
            if not encoder.is_imported and (there := sorted(wrong & self.digests(encoder).keys())):
                self.run.touched()
                self.store.delete(encoder.table, there)

    def digests(self, encoder: StoredEncoder) -> dict[str, str]:
        """Digest of the source that each vector of an encoder was made from, by id."""
        if not self.store.has(encoder.table):
            return {}
        rows = self.store.read(encoder.table, ["id", "source_digest"])
        return dict(zip(rows["id"].to_pylist(), rows["source_digest"].to_pylist(), strict=True))

    def embed(self, encoder: StoredEncoder, work: Collection[Pending]) -> None:
        """Embed what is pending and commit it; a new encoder is written first, in its state.

        Raises:
            InputError: If the encoder's vectors were imported, or the disk has no room for what will be written.
        """
        if not work:
            return
        if encoder.is_imported:
            message = f"encoder {encoder.spec.name} was imported, so no image can be embedded with it; name another"
            raise InputError(message)
        require_space(self.store.folder.path, bytes_of_images(len(work), encoder.spec.dim))
        self.run.runtime = runtime_version(self.running.runtime)
        if self.engine is None and not any(segments(self.store.folder.decoded)):
            # they import what they need while this process loads the network
            decoders().start(min(readers(), len(work)))
        loaded = None if self.engine is not None else self._load(encoder, len(work))
        self.run.level, self.run.fingerprint = encoder.level, encoder.fingerprint
        if not self.knows(encoder):
            with self.writing():
                if not self.knows(encoder):
                    self.run.touched()
                    encoders.put(self.store, encoder)
        commits = self.commits(encoder)
        if loaded is None:
            assert self.engine is not None
            self.engine.embed(commits, work, encoder.spec, roots=self.roots.values(), progress=self.progress)
            return
        self.run.ran_on.add(loaded.ran_on)
        embed_pending(
            commits,
            work,
            loaded,
            progress=self.progress,
            commit_rows=self.commit_rows,
            crop=encoder.spec.crop,
            throttle=self.throttle,
            profile=self.profile,
        )

    def _load(self, encoder: StoredEncoder, n: int) -> Encoder:
        if encoder.fingerprint not in self._loaded:
            if self.progress:
                self.progress("loading encoder", 0, n)
            with self.run.timed("load encoder"):
                self._loaded = {encoder.fingerprint: load_encoder(encoder.spec, **self.running.chosen)}
        return self._loaded[encoder.fingerprint]

    def commits(self, encoder: StoredEncoder) -> Commits:
        """Commits of an encoder's vectors."""
        writing = self.writing if self.beside else None
        return Commits(
            self.store,
            encoder.level,
            encoder.fingerprint,
            self.run,
            self.quarantine,
            writing,
            storage=encoder.spec.storage,
        )

    def knows(self, encoder: StoredEncoder) -> bool:
        """Whether the atlas has the encoder at its level, in whatever state."""
        return any(e.fingerprint == encoder.fingerprint for e in encoders.stored_encoders(self.store, encoder.level))

    def finish(self) -> IndexSummary:
        """Commit the quarantine, tidy tables that are above a limit, and fill in the summary.

        A run beside others closes its ledger entry with that; if it changed nothing, it waits for nobody.
        """
        if not self.beside:
            self._tidy()
            return self._summed_up()
        if self.run.has_written:
            with self.writing():
                self._tidy()
                self._summed_up()
                self.run.close()
        return self._summed_up()

    def _tidy(self) -> None:
        self.quarantine.commit(self.run)
        tidy(self.store, self.store.tables(), self.run)

    def _summed_up(self) -> IndexSummary:
        summary = self.summary
        summary.quarantined = sorted(self.quarantine.seen.values(), key=lambda r: r.source)
        counts = self.run.counts
        summary.embedded, summary.from_pack = counts["embedded"], counts.get(FROM_PACK, 0)
        summary.maintained = Maintained(counts.get(MERGED, 0), counts.get(REMOVED, 0), counts.get(FREED, 0))
        for name, word in (("qc", "qc "), ("cell_qc", "cell qc ")):
            flags = {k.removeprefix(word): n for k, n in sorted(self.run.counts.items()) if k.startswith(word)}
            setattr(summary, name, flags)
        summary.fovs, summary.cells = self.store.count("fovs"), self.store.count("cells")
        self.run.counts["skipped"], self.run.counts["updated"] = summary.skipped, summary.updated
        summary.profile = None if self.profile is None else self.profile.to_dict()
        summary.timings_s = {stage: round(seconds, 3) for stage, seconds in self.run.timings_s.items()}
        return summary
