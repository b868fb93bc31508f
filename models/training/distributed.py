"""Several processes that train one network, as torchrun starts them; or one, for which all of this is nothing."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from locatlas.errors import InputError
from locatlas.models.hardware import usable_device

__all__ = ["Processes", "is_first_process", "processes", "share"]


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Its number, from 0; 0 writes.
        world: How many there are.
        device: Where this one runs.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward averages gradients over the processes; itself where there is one."""
        if self.world == 1:
            return module
        # blocks behind the one whose tokens are taken have no gradient, which is no mistake (torch warns where there
        # are none, once); buffers are those of process 0
        return DistributedDataParallel(
            module,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            find_unused_parameters=True,
        )

    def apart(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within it backward keeps a wrapped module's gradients in this process; the next one outside adds up all."""
        if isinstance(module, DistributedDataParallel):
            return module.no_sync()
        return nullcontext()

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes, of a float tensor on this process' device."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def from_first(self, values: Sequence[float]) -> list[float]:
        """The values of process 0, the same number everywhere."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, src=0)
        out: list[float] = tensor.tolist()
        return out

    def wait(self) -> None:
        """Until all processes are here."""
        self.from_first([0.0])

    def agree_on(self, value: int, otherwise: str) -> None:
        """See that all processes have the same value.

        Raises:
            InputError: In those that do not have that of process 0, with the words of `otherwise`.
        """
        first = round(self.from_first([value])[0])
        if first != value:
            message = f"{otherwise} (step {first} in process 0, step {value} in process {self.rank})"
            raise InputError(message)


def share(indices: Sequence[int], part: int, n_parts: int) -> Sequence[int]:
    """One of nearly equal contiguous parts, sizes as numpy.array_split; together they are the whole, in order."""
    size, more = divmod(len(indices), n_parts)
    start = part * size + min(part, more)
    return indices[start : start + size + (part < more)]


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the only one or, under torchrun, the one that writes."""
    return int(environment.get("RANK", "0")) == 0


@contextmanager
def processes(device: str, environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """Join the processes that torchrun started; leave them at the end.

    Args:
        device: `auto` (CUDA if there is one, else the CPU), or torch's name of one. With several processes a CUDA
            device without a number is that of LOCAL_RANK.
        environment: Where torchrun's RANK, WORLD_SIZE and LOCAL_RANK are.

    Raises:
        InputError: If the device does not exist here.
    """
    joined = dist.is_available() and dist.is_initialized()
    world = dist.get_world_size() if joined else int(environment.get("WORLD_SIZE", "1"))
    name = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    if world > 1 and name == "cuda":
        name = f"cuda:{environment.get('LOCAL_RANK', '0')}"
    place = usable_device(name)
    if world == 1:
        yield Processes(0, 1, place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if not joined:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world, place)
    finally:
        if not joined:
            dist.destroy_process_group()
