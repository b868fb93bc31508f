"""Commands that are killed at any step at which something is written, and run again, end as if nothing had been."""

from pathlib import Path

import pytest
from torturing.worker import Ended, Fault
from torturing.zygote import Zygote

from tests.indexer.faults.prepared import COMMANDS, Matrix, Prepared

pytestmark = pytest.mark.skipif("sys.platform == 'win32'")


def killed_or_shorter(ended: Ended, step: int) -> None:
    """It died at the step, or this run had fewer: how often a table is written follows the clock."""
    assert ended.how == "killed" or (ended.how == "ok" and len(ended.steps) < step)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_some_steps_continues_to_the_same_atlas(
    name: str, zygote: Zygote, prepared: Prepared, tmp_path: Path
) -> None:
    matrix = Matrix(zygote, prepared, name, tmp_path)
    assert len(matrix.steps) > 5
    for n, step in enumerate(matrix.sampled(2)):
        killed_or_shorter(matrix.survives(Fault("kill", step=step, after=bool(n % 2))), step)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_every_step_continues_to_the_same_atlas(
    name: str, after: bool, zygote: Zygote, prepared: Prepared, tmp_path: Path
) -> None:
    matrix = Matrix(zygote, prepared, name, tmp_path)
    for step in range(1, len(matrix.steps) + 1):
        killed_or_shorter(matrix.survives(Fault("kill", step=step, after=after)), step)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_random_moments_continues_to_the_same_atlas(
    name: str, zygote: Zygote, prepared: Prepared, tmp_path: Path
) -> None:
    matrix = Matrix(zygote, prepared, name, tmp_path)
    taken_ms = max(1, round(1000 * matrix.call(Fault()).seconds))
    for share in range(1, 13):
        matrix.survives(Fault("timer", number=max(1, share * taken_ms // 10)))
