"""A training in a process of its own: `main()`, the folder as its argument, settings as JSON in the environment."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from locatlas.models.training import loop
from locatlas.models.training.plan import TrainingPlan
from tests.models.training.regression import Regression


def main(*_: str) -> None:
    torch.set_num_threads(1)
    settings = json.loads(os.environ["RUN"])
    folder = Path(sys.argv[1])

    def progress(_what: str, done: int, _total: int) -> None:
        if done == settings.get("kill_after"):
            os.kill(os.getpid(), signal.SIGKILL)

    objective = Regression(**settings.get("objective", {}))
    loop.draw_curve = lambda *_: None  # takes longer than the training
    loop.train(objective, TrainingPlan(**settings["plan"]), folder, progress=progress)
    torch.save(objective.module.state_dict(), folder / f"rank{os.environ.get('RANK', '0')}.pt")
