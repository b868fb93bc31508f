"""Errors of the system at the n-th step at which something is written, for n = 1, 2, ... until a run passes."""

import errno
from collections.abc import Callable

import pytest
from torturing.worker import Fault

from tests.indexer.faults.prepared import COMMANDS, ERRORS, Matrix
from tests.quick import some

pytestmark = pytest.mark.skipif("sys.platform == 'win32'")


# in the default run others are killed
@pytest.mark.parametrize("name", some(COMMANDS, 1, 4, 7, 10))
def test_a_command_that_meets_an_error_of_the_system_at_some_steps_ends_in_one_line_and_can_be_run_again(
    name: str, matrix: Callable[[str], Matrix]
) -> None:
    commanded = matrix(name)
    # the first error is another one for each command, so that all come
    for n, step in enumerate(commanded.sampled(1, seed=1), start=list(COMMANDS).index(name)):
        commanded.survives(Fault("error", step=step, number=ERRORS[n % len(ERRORS)], stays=bool(n % 2)))


@pytest.mark.slow
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", COMMANDS)
def test_errors_of_the_system_at_every_step_end_in_one_line_and_the_command_can_be_run_again(
    name: str, number: int, matrix: Callable[[str], Matrix]
) -> None:
    commanded = matrix(name)
    stays = number in (errno.ENOSPC, errno.EACCES)  # the others come and go
    step = 0
    while True:
        step += 1
        ended = commanded.survives(Fault("error", step=step, number=number, stays=stays))
        if ended.how == "ok" and len(ended.steps) < step:
            break
    assert step > len(commanded.steps)


@pytest.mark.parametrize("kind", some(["nofile", "fsize"], 0))
def test_a_limit_of_the_process_ends_a_command_in_one_line_and_it_can_be_run_again(
    kind: str, matrix: Callable[[str], Matrix]
) -> None:
    commanded = matrix("index")
    limits = (1, 4, 8) if kind == "nofile" else (0, 1024, 16384)
    ends = {commanded.survives(Fault(kind, number=limit)).how for limit in limits}
    assert "failed" in ends
