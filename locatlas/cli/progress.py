"""What long commands show of themselves on stderr: a bar, a line now and then, or JSON lines for programs."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import rich_click as click

from locatlas.cli.pace import Pace, duration

__all__ = ["STYLES", "Style", "choose_style", "progress_bar"]

Tell = Callable[[str, int, int], None]

Style = Literal["auto", "bar", "lines", "json", "none"]
STYLES: tuple[str, ...] = get_args(Style)

LINES_EVERY_S = 30.0
JSON_EVERY_S = 1.0

_chosen: Style = "auto"


def choose_style(style: Style) -> None:
    """How this command line shows progress: "auto" is a bar on a terminal, else a line every half minute."""
    global _chosen
    _chosen = style


@contextmanager
def progress_bar() -> Iterator[Tell | None]:
    """A callback (stage, done, total) that shows it on stderr; None if nothing is to be shown."""
    style = ("bar" if sys.stderr.isatty() else "lines") if _chosen == "auto" else _chosen
    if style == "none":
        yield None
    elif style == "bar":
        with _bar() as tell:
            yield tell
    else:
        yield (
            _Lines(JSON_EVERY_S, _as_json, whole=True)
            if style == "json"
            else _Lines(LINES_EVERY_S, _as_line, whole=False)
        )


@contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}
        begin = _Begin()

        def tell(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            began_s = begin.of_stage(now, done)
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, rate="")
                task = next(task for task in bar.tasks if task.id == tasks[what])
                task.start_time = bar.get_time() - (now - began_s)
            bar.update(tasks[what], completed=done, total=total)
            speed = next(task.speed for task in bar.tasks if task.id == tasks[what])
            bar.update(tasks[what], rate=f"{speed:,.1f}/s" if speed else "")

        yield tell


class _Begin:
    """When a stage began that is told of for the first time."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def of_stage(self, now_s: float, done: int) -> float:
        """Now, where nothing is done yet; else when the stage before was last told of, or the command began."""
        before, self._last_s = self._last_s, now_s
        return before if done else now_s


class _Lines:
    """Lines of text, so far apart that a log of hours stays short, or of JSON, of which each stage has its last."""

    def __init__(self, every_s: float, said: Callable[[str, int, int, float, Pace], str], *, whole: bool) -> None:
        self._every_s, self._said, self._whole = every_s, said, whole
        self._paces: dict[str, Pace] = {}
        self._told_s: dict[str, float] = {}
        self._ended: set[str] = set()
        self._begin = _Begin()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        began_s = self._begin.of_stage(now, done)
        known = self._paces.get(what)
        if known is not None and known.seen and done < known.seen[-1][1]:  # the same stage of another level
            del self._paces[what], self._told_s[what]
        self._ended -= {what} if done < total else set()
        is_new = what not in self._paces
        pace = self._paces.setdefault(what, Pace(began_s))
        pace.tell(now, done)
        since_s = now - self._told_s.setdefault(what, pace.began_s)
        ends = done >= total and what not in self._ended and (self._whole or now - pace.began_s >= self._every_s)
        if since_s >= self._every_s or ends or (is_new and self._whole):
            self._told_s[what] = now
            self._ended |= {what} if done >= total else set()
            click.echo(self._said(what, done, total, now, pace), err=True)


def _as_line(what: str, done: int, total: int, now: float, pace: Pace) -> str:
    words = [f"{what}: {done:,} of {total:,}" + (f" ({100 * done // total} %)" if total else "")]
    if pace.rate is not None:
        words.append(f"{pace.rate:,.1f}/s")
    if done >= total:
        words.append(f"took {duration(now - pace.began_s)}")
    elif (left := pace.remaining_s(total)) is not None:
        words.append(f"{duration(left)} left")
    return ", ".join(words)


def _as_json(what: str, done: int, total: int, now: float, pace: Pace) -> str:
    left = pace.remaining_s(total)
    line = {
        "stage": what,
        "done": done,
        "total": total,
        "rate_per_s": None if pace.rate is None else round(pace.rate, 3),
        "elapsed_s": round(now - pace.began_s, 3),
        "remaining_s": None if left is None else round(left, 1),
    }
    return json.dumps(line)
