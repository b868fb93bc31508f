"""Commands that are killed at any step at which something is written, and run again, end as if nothing had been."""

from collections.abc import Callable

import pytest
from torturing.worker import Ended, Fault

from tests.indexer.faults.prepared import COMMANDS, Matrix
from tests.quick import some

pytestmark = pytest.mark.skipif("sys.platform == 'win32'")


def killed_or_shorter(ended: Ended, step: int) -> None:
    """It died at the step, or this run had fewer: how often a table is written follows the clock."""
    assert ended.how == "killed" or (ended.how == "ok" and len(ended.steps) < step)


# in the default run others meet errors of the system, and the rest is killed by quicker tests
@pytest.mark.parametrize("name", some(COMMANDS, 0, 3, 6, 9, 12))
def test_a_command_killed_at_some_steps_continues_to_the_same_atlas(name: str, matrix: Callable[[str], Matrix]) -> None:
    commanded = matrix(name)
    assert len(commanded.steps) > 5
    for n, step in enumerate([*commanded.sampled(1), len(commanded.steps)]):
        killed_or_shorter(commanded.survives(Fault("kill", step=step, after=bool(n % 2))), step)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_every_step_continues_to_the_same_atlas(
    name: str, after: bool, matrix: Callable[[str], Matrix]
) -> None:
    commanded = matrix(name)
    for step in range(1, len(commanded.steps) + 1):
        killed_or_shorter(commanded.survives(Fault("kill", step=step, after=after)), step)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_random_moments_continues_to_the_same_atlas(
    name: str, matrix: Callable[[str], Matrix]
) -> None:
    commanded = matrix(name)
    taken_ms = max(1, round(1000 * commanded.call(Fault()).seconds))
    for share in range(1, 13):
        commanded.survives(Fault("timer", number=max(1, share * taken_ms // 10)))
