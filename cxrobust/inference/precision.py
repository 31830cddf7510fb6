"""In which precision models compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


@contextmanager
def in_precision(device: str, precision: Literal["fp32", "bf16"]) -> Iterator[None]:
    """Compute in fp32, or in bf16 where torch's autocast takes it.

    Convolutions of a GPU that stay in fp32 round as fp32 does: torch would let some of them use TF32, and which ones
    depends on the size of a batch.
    """
    import torch

    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
