"""What was tried and what was found. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Report"]


@dataclass(slots=True)
class Report:
    """Counts over all episodes.

    Attributes:
        seed: Of the whole run.
        episodes: Atlases that were made.
        operations: Operations that ended, by kind.
        runs: Calls of commands, the interrupted ones with them.
        kills: By kind of operation.
        faults: Errors, full disks and limits that were set, by kind.
        bitten: Of these, how many ended the command with an error.
        looks: Comparisons of the atlas with the model.
        rows: Rows and vectors that were compared.
        readings: Looks while another process wrote.
        refused: Second writers that were refused.
        flips: Bits that were flipped, by kind of file.
        undetected: Of these, those that verify did not find.
        repairs: Repairs of a flipped bit that were compared with the model.
        lost: Rows that were not there.
        duplicated: Ids more than once.
        wrong: Rows with other contents, or that nobody wrote.
        problems: All that was not as it must be, in words.
        left_out: What could not be tried here, and why.
        seconds: Of the whole run.
    """

    seed: int
    episodes: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    bitten: int = 0
    looks: int = 0
    rows: int = 0
    readings: int = 0
    refused: int = 0
    flips: Counter[str] = field(default_factory=Counter)
    undetected: int = 0
    repairs: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether all was as it must be."""
        return not (self.problems or self.lost or self.duplicated or self.wrong or self.undetected)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out: dict[str, Any] = {"ok": self.ok}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            out[name] = dict(sorted(value.items())) if isinstance(value, Counter) else value
        return {**out, "seconds": round(self.seconds, 1)}

    def text(self) -> str:
        """For people."""

        def listed(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {n}" for name, n in counts.most_common()) or "none"

        lines = [
            f"seed {self.seed}, {self.episodes} atlases, {self.seconds:.0f} s",
            f"operations   {self.operations.total()} ({listed(self.operations)}) in {self.runs} runs",
            f"kills        {self.kills.total()} ({listed(self.kills)})",
            f"faults       {self.faults.total()}, of which {self.bitten} ended a command ({listed(self.faults)})",
            f"comparisons  {self.looks} of {self.rows} rows; {self.readings} while another process wrote; "
            f"{self.refused} second writers refused",
            f"flips        {self.flips.total()} ({listed(self.flips)}), {self.repairs} repaired and compared",
            f"rows lost {self.lost}, duplicated {self.duplicated}, wrong {self.wrong}; "
            f"undetected flips {self.undetected}",
        ]
        lines += [f"left out: {what}" for what in self.left_out]
        lines += [f"PROBLEM {problem}" for problem in self.problems]
        return "\n".join(lines)
