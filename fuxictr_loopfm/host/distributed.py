"""The processes that ``torchrun`` starts: joining them, waiting for artifacts, gathering rows.

An ordinary process is rank 0 of 1.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from fuxictr_loopfm.errors import ConfigError, ProvenanceError

# A rank that stops answering ends the others after this long; one that dies, at once.
TIMEOUT = timedelta(minutes=10)
# Rank 0 may have a teacher to train first. If it fails instead, the others end with it.
BUILD_TIMEOUT = timedelta(days=7)


def rank() -> int:
    """This process's number, from 0; rank 0 alone writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share() -> tuple[int, int]:
    """(rank, world size), what a loader needs to read this rank's part of every batch."""
    return rank(), world_size()


@contextmanager
def joined(gpu: int) -> Iterator[int]:
    """Join the other processes of ``torchrun``; without it, or with one process, do nothing.

    Args:
        gpu: index of the GPU, -1 for the CPU. With several processes any index of 0 or more means
            a GPU per process, numbered by ``LOCAL_RANK``.
    Yields:
        The index of this process's GPU, -1 for the CPU.
    Raises:
        ConfigError: a GPU is asked for that this machine does not have.
    """
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield gpu
        return
    if gpu >= 0:
        gpu = _own_gpu()
        torch.cuda.set_device(gpu)
    dist.init_process_group("gloo" if gpu < 0 else "nccl", timeout=TIMEOUT)
    yield gpu
    # Not after an error: closing would wait for ranks that wait for this one.
    dist.destroy_process_group()


def _own_gpu() -> int:
    local_rank, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local_rank >= found:
        raise ConfigError(
            f"--gpu with torchrun: expected a CUDA device for each of the "
            f"{os.environ['LOCAL_WORLD_SIZE']} processes of this machine, found {found}. Start as "
            "many processes as there are devices (--nproc_per_node), or use --gpu -1."
        )
    return local_rank


def launcher() -> str:
    """How to start the processes again, as the first words of a command line."""
    if world_size() == 1:
        return "python"
    per_node = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = "" if per_node == world_size() else f"--nnodes {world_size() // per_node} "
    return f"torchrun {nodes}--nproc_per_node {per_node}"


@contextmanager
def chief_first() -> Iterator[None]:
    """Run the block on rank 0, then on the other ranks, which find what rank 0 has built."""
    if world_size() == 1:
        yield
        return
    waiting = dist.new_group(backend="gloo", timeout=BUILD_TIMEOUT)
    if rank() > 0:
        dist.barrier(group=waiting)
    yield
    if rank() == 0:
        dist.barrier(group=waiting)


def require_same(values: Mapping[str, str], device: torch.device) -> None:
    """Compare what several ranks are about to train on; call it on all of them.

    Args:
        values: fingerprints by name, the same names on every rank.
        device: where the process group exchanges tensors.
    Raises:
        ProvenanceError: on every rank, if a value differs between two of them.
    """
    digests = [hashlib.sha256(value.encode()).digest()[:8] for value in values.values()]
    own = torch.from_numpy(np.frombuffer(b"".join(digests), dtype="<i8").copy()).to(device)
    low, high = own.clone(), own.clone()
    dist.all_reduce(low, op=dist.ReduceOp.MIN)
    dist.all_reduce(high, op=dist.ReduceOp.MAX)
    differing = [
        name for name, same in zip(values, (low == high).tolist(), strict=True) if not same
    ]
    if differing:
        raise ProvenanceError(
            f"torchrun: {', '.join(differing)}: expected the same on every rank, found several. "
            f"Rank {rank()} has { {name: values[name] for name in differing} }. Give all machines "
            "one shared folder for data_root, and the same code and configuration."
        )


def gathered(
    rows: Mapping[str, np.ndarray], batches: Any, device: torch.device
) -> dict[str, np.ndarray]:
    """Rows of all ranks in loader order, on every rank.

    Args:
        rows: (M,) values of this rank's rows by name, in the order in which it read them.
        batches: what they were read from. Only a ``LoopFMDataLoader`` that was given a share is
            gathered; anything else was read whole by every rank.
        device: where the process group exchanges tensors.
    """
    if getattr(batches, "share", (0, 1))[1] == 1:
        return dict(rows)
    places = torch.from_numpy(batches.own_rows()).to(device)
    found = {}
    for name, values in rows.items():
        part = torch.from_numpy(values).to(device)
        limits = torch.finfo(part.dtype) if part.is_floating_point() else torch.iinfo(part.dtype)
        whole = part.new_full((batches.num_samples,), limits.min)
        whole[places] = part
        # The largest, not the sum: a batch too short to divide was read by every rank.
        dist.all_reduce(whole, op=dist.ReduceOp.MAX)
        found[name] = whole.cpu().numpy()
    return found


def gathered_rows(rows: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and gradients of all ranks end to end, by rank; gradients divided by their number.

    Args:
        rows: (U,) int64 of this rank; U may differ between ranks.
        grad: (U, w) float32.
    """
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world_size())]
    dist.all_gather(counts, count)
    sizes = [int(each) for each in counts]
    found = []
    for part in (rows, grad / world_size()):
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        every = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(every, padded)
        found.append(torch.cat([each[:size] for each, size in zip(every, sizes, strict=True)]))
    return found[0], found[1]
