"""Whether the device that was asked for is there: FuxiCTR takes the CPU if it is not."""

from __future__ import annotations

import torch

from fuxictr_loopfm.errors import ConfigError


def require_device(gpu: int) -> None:
    """Refuse a GPU that this machine does not have.

    Args:
        gpu: index, -1 for the CPU.
    Raises:
        ConfigError: there is no such device.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if -1 <= gpu < found:
        return
    expected = f"-1 to {found - 1}" if found else "-1"
    raise ConfigError(
        f"--gpu {gpu}: expected {expected}, found {found or 'no'} CUDA device"
        f"{'s' * (found > 1)}; use --gpu -1 for the CPU"
    )
