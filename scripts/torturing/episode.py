"""One atlas, from nothing, through operations that are killed, starved and resumed, compared with the model. I/O."""

import errno
import random
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torturing import commands
from torturing.disk import Disk
from torturing.faults import ERRORS
from torturing.flips import flip_some
from torturing.model import Difference, Plans, between, differences
from torturing.operations import Operation, World, next_operation
from torturing.report import Report
from torturing.sources import Sources
from torturing.worker import Ended, Fault, Worker

__all__ = ["TorturedError", "run_episode"]

FAULTY = 0.6
"""Share of the operations that are killed or starved."""

RESUMES = 4
"""After so many faults the next run is left in peace."""


class TorturedError(Exception):
    """Something is not as it must be; the rest of the episode would say nothing new."""


class Episode:
    """Operations on one atlas.

    Args:
        folder: Everything is below it; made.
        atlas: Where the atlas is to be.
        disk: That the atlas is on and that can be filled; None where there is none.
        seed: Decides the operations and faults.
        plans: Fingerprints by plan.
        report: Is filled in.
        workers: A first, which does the work, and a second for what goes on beside.
        say: Told of each operation.
    """

    def __init__(
        self,
        folder: Path,
        atlas: Path,
        disk: Disk | None,
        seed: str,
        plans: Plans,
        report: Report,
        workers: tuple[Worker, Worker],
        say: Callable[[str], None],
    ) -> None:
        self.chance = random.Random(seed)
        self.world = World(folder, atlas, Sources(folder / "sources"), plans)
        self.disk, self.report, self.say = disk, report, say
        self.worker, self.beside = workers
        self._steps: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._ops = 0

    def run(self, operations: int, is_over: Callable[[], bool]) -> None:
        """Do so many operations, or stop at the end of one once it is over.

        Raises:
            TorturedError: Once something was found.
        """
        while self._ops < operations and not is_over():
            operation = next_operation(self.world, self.chance)
            self._ops += 1
            if operation.writes and self.world.model.fresh["fov"] and self.chance.random() < 0.08:
                self._raced(operation)
            else:
                self._tortured(operation)
            self._settle(operation)
            if self.chance.random() < 0.25:
                flip_some(self.world, self.worker, self.chance, self.report, self.problem)

    def problem(self, text: str) -> None:
        """Note it and end the episode."""
        self.report.problems.append(text)
        raise TorturedError(text)

    def _tortured(self, operation: Operation) -> None:
        """Run it, with faults, until it ends."""
        faulty = operation.writes and self.chance.random() < FAULTY
        for n in range(RESUMES + 1):
            fault = (
                self._fault(operation) if faulty and n < RESUMES and (n == 0 or self.chance.random() < 0.4) else Fault()
            )
            ended = self._call(operation, fault)
            self.say(f"{self._ops} {operation.kind} {operation.args[1:]} [{fault}] {ended.how} {ended.error}")
            if ended.how == "ok":
                if wrong := operation.check(ended.value):
                    self.problem(f"{operation.kind}: {wrong}")
                return
            if fault.kind == "none":
                self.problem(
                    f"{operation.kind} {operation.args}: {ended.how} without a fault: {ended.error}\n{ended.trace}"
                )
            self._judge(operation, fault, ended)
            self._look_in_between(operation, fault)
            if self.chance.random() < 0.3:
                self._meanwhile()
        self.problem(f"{operation.kind}: did not end")

    def _call(self, operation: Operation, fault: Fault) -> Ended:
        self.report.runs += 1
        filled = self.disk.full(fault.number) if self.disk and fault.kind == "full" else nullcontext()
        with filled:
            ended = self.worker.call(
                operation.function,
                self.world.atlas,
                *operation.args,
                watch=self.world.atlas,
                fault=fault,
                **operation.options,
            )
        if ended.how == "killed":
            self.report.kills[operation.kind] += 1
        elif fault.kind not in ("none", "kill", "timer"):
            self.report.faults[_name(fault)] += 1
            self.report.bitten += ended.how != "ok"
        if ended.how == "ok" and fault.kind == "none":
            self._steps[operation.kind] = len(ended.steps)
            self._seconds[operation.kind] = ended.seconds
        return ended

    def _fault(self, operation: Operation) -> Fault:
        chance = self.chance
        step = chance.randint(1, self._steps.get(operation.kind, 40) + 3)
        kind = chance.choices(("kill", "timer", "error", "fsize", "nofile", "full"), (4, 2, 2, 0.7, 0.7, 1.5))[0]
        if kind == "full" and self.disk is None:
            kind = "error"
        if kind == "kill":
            return Fault("kill", step=step, after=chance.random() < 0.5)
        if kind == "timer":
            return Fault("timer", number=max(1, round(1000 * chance.random() * self._seconds.get(operation.kind, 1.0))))
        if kind == "error":
            return Fault("error", step=step, number=chance.choice(ERRORS), stays=chance.random() < 0.5)
        if kind == "nofile":
            return Fault("nofile", number=chance.randint(1, 12))
        return Fault(kind, number=chance.choice((0, 1, 4, 16, 64, 256)) * 1024)

    def _judge(self, operation: Operation, fault: Fault, ended: Ended) -> None:
        """Whether it ended as it may."""
        if ended.how in ("hung", "crashed"):
            self.problem(f"{operation.kind} [{fault}] {ended.how}: {ended.error}\n{ended.trace}")
        if ended.how == "failed" and ("\n" in ended.error.strip() or len(ended.error) > 700):
            self.problem(f"{operation.kind} [{fault}]: told in more than one line: {ended.error}")

    def _look_in_between(self, operation: Operation, fault: Fault) -> None:
        rows, findings = self._look(quick=self.chance.random() < 0.5)
        self._compare(
            between(self.world.model.expected(), operation.after.expected(), rows["rows"], rows["duplicates"]),
            f"after {operation.kind} [{fault}]",
        )
        if findings["damage"]:
            self.problem(f"damage after {operation.kind} [{fault}]: {findings['damage']}")

    def _meanwhile(self) -> None:
        """Somebody else looks, or tidies up, before what was interrupted goes on."""
        if not (self.world.atlas / "atlas.json").is_file():
            return
        function, options = self.chance.choice(
            [(commands.verified, {"quick": True}), (commands.tidy, {"drop": False}), (commands.repair, {})]
        )
        ended = self.worker.call(function, self.world.atlas, watch=self.world.atlas, **options)
        self.say(f"  meanwhile {function.__name__}: {ended.how} {ended.error}")
        if ended.how != "ok":
            self.problem(f"{function.__name__} after a fault: {ended.how}: {ended.error}\n{ended.trace}")
        if function is commands.verified and ended.value["damage"]:
            self.problem(f"verify after a fault: {ended.value['damage']}")

    def _raced(self, operation: Operation) -> None:
        """Run it while another process reads, verifies and tries to write."""
        self.report.runs += 1
        atlas = self.world.atlas
        before, after = self.world.model.expected(), operation.after.expected()
        self.worker.start(operation.function, atlas, *operation.args, watch=atlas, **operation.options)
        for n in range(2):
            ended = self.beside.call(commands.look, atlas, watch=atlas, quick=bool(n))
            if ended.how != "ok":
                self.problem(f"reading during {operation.kind}: {ended.error}\n{ended.trace}")
            rows, findings = ended.value
            self.report.readings += 1
            self._compare(between(before, after, rows["rows"], rows["duplicates"]), f"during {operation.kind}")
            if findings["damage"]:
                self.problem(f"damage during {operation.kind}: {findings['damage']}")
        second = self.beside.call(commands.tidy, atlas, watch=atlas, drop=False)
        ended = self.worker.wait()
        self.say(f"{self._ops} {operation.kind} raced: {ended.how} {ended.error}; second: {second.how} {second.error}")
        if second.how == "failed" and "AtlasLockedError" in second.error:
            self.report.refused += 1
        elif second.how != "ok":
            self.problem(f"maintain during {operation.kind}: {second.error}\n{second.trace}")
        if ended.how == "failed" and "AtlasLockedError" in ended.error and second.how == "ok":
            self._tortured(operation)  # it came second
        elif ended.how != "ok":
            self.problem(f"{operation.kind} beside others: {ended.how}: {ended.error}\n{ended.trace}")

    def _settle(self, operation: Operation) -> None:
        """It ended: all must be as the model says, and nothing must be damaged or left."""
        self.world.model = operation.after
        rows, findings = self._look(quick=self.chance.random() < 0.3)
        self._compare(
            differences(operation.after.expected(), rows["rows"], rows["duplicates"]), f"after {operation.kind} ended"
        )
        if findings["damage"] or findings["warning"]:
            self.problem(f"after {operation.kind} ended: {findings['damage'] + findings['warning']}")
        self.world.digests = rows["digests"]
        self.report.operations[operation.kind] += 1

    def _look(self, *, quick: bool) -> tuple[dict[str, Any], dict[str, list[str]]]:
        atlas = self.world.atlas
        if not (atlas / "atlas.json").is_file() and not any((atlas / "db").glob("*.lance")):  # killed while it was made
            return {"rows": {}, "duplicates": {}, "digests": {}, "runs": []}, {"damage": [], "warning": [], "note": []}
        ended = self.worker.call(commands.look, self.world.atlas, watch=self.world.atlas, quick=quick)
        if ended.how != "ok":
            self.problem(f"the atlas cannot be read: {ended.how}: {ended.error}\n{ended.trace}")
        self.report.looks += 1
        self.report.rows += len(ended.value[0]["rows"])
        value: tuple[dict[str, Any], dict[str, list[str]]] = ended.value
        return value

    def _compare(self, found: list[Difference], when: str) -> None:
        for one in found:
            counter = {"lost": "lost", "duplicated": "duplicated"}.get(one.kind, "wrong")
            setattr(self.report, counter, getattr(self.report, counter) + 1)
        if found:
            said = "; ".join(f"{one.kind} {one.text}" for one in found[:6])
            self.problem(f"{when}: {len(found)} rows: {said}")


def _name(fault: Fault) -> str:
    return errno.errorcode[fault.number] if fault.kind == "error" else fault.kind


def run_episode(
    base: Path,
    disk: Disk | None,
    seed: str,
    plans: Plans,
    report: Report,
    workers: tuple[Worker, Worker],
    *,
    operations: int,
    is_over: Callable[[], bool],
    say: Callable[[str], None],
    keep: bool = False,
) -> None:
    """One episode in folders of its own, which are removed unless something was found.

    Raises:
        TorturedError: Once something was found.
    """
    folder, atlas = base / "work", (disk.path if disk else base) / "atlas"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(atlas, ignore_errors=True)
    folder.mkdir(parents=True)
    report.episodes += 1
    Episode(folder, atlas, disk, seed, plans, report, workers, say).run(operations, is_over)
    if not keep:
        shutil.rmtree(folder)
        shutil.rmtree(atlas, ignore_errors=True)
