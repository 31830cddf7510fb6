"""Pictures that models of images are shown, and the same as tensors."""

import numpy as np
import torch
from PIL import Image


def picture(side: int = 32, seed: int = 0) -> np.ndarray:
    """A smooth picture of 8 bits, so that resizing by two libraries differs by rounding alone."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def as_images(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)[:, None].astype(np.float32) / 255)
