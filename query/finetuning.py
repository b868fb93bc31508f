"""Fine-tune an encoder on an atlas, or pretrain one: which images, then the training. Reads and writes the store."""

from functools import partial
from pathlib import Path
from typing import Any

from locatlas.indexer.published.writing import writes
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.indexer.training.run import FinetuneResult, train_encoder
from locatlas.query.training_rows import training_rows

__all__ = ["finetune", "pretrain"]


@writes("finetune")
def finetune(*, atlas: str | Path, request: FinetuneRequest | None = None, **how: Any) -> FinetuneResult | None:
    """Train an encoder on images of an atlas, register it as a new one, and re-embed the atlas with it.

    The same call again continues what was killed, and does nothing where the training is finished.

    Args:
        atlas: Atlas folder.
        request: What is trained, on what, for how long; None for the current encoder on its annotated images.
        how: Further arguments of `indexer.finetune.train_encoder`: `name`, `follow` (re-embed; default True), `folder`,
            `device`, `workers`, `tensorboard`, `progress`.

    Returns:
        What came out; None under torchrun in the processes that do not write.

    Raises:
        InputError: If there is nothing to train on, or the folder of the run holds another training.
        TrainingStoppedError: If the training diverged or collapsed.
    """
    asked = request or FinetuneRequest()
    rows = partial(
        training_rows,
        group=asked.group,
        where=asked.where,
        label_source=asked.label_source,
        map_labels=asked.map_labels,
    )
    return train_encoder(atlas, asked, rows, **how)


def pretrain(*, atlas: str | Path, request: FinetuneRequest | None = None, **how: Any) -> FinetuneResult | None:
    """Train an encoder without labels from random weights, on images of an atlas; otherwise as `finetune`.

    Args:
        atlas: Atlas folder.
        request: With `from_scratch`; its encoder gives slots, transforms and, unless another is named, architecture.
        how: As in `finetune`.

    Returns:
        As `finetune`.

    Raises:
        InputError: As `finetune`.
        TrainingStoppedError: As `finetune`.
    """
    return finetune(atlas=atlas, request=request or FinetuneRequest(objective="dino", from_scratch=True), **how)
