"""What a model wants done to an image before it sees it; torch is not needed to know."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError, require
from cxrobust.inference.checkpoints import one_line

WHITEST, ROUNDING = 255, 1e-6
USUAL = 0.5
"""Mean and standard deviation where no file tells them."""
NORMALISING = ("do_normalize", "image_mean", "image_std")
"""Keys of which an absent one has the value that the class of the processor has."""
SCALING = ("do_rescale", "rescale_factor", "rescale_offset", "include_top")
INTERPOLATIONS = {0: "nearest-exact", 2: "bilinear", 3: "bicubic", 4: "area"}
"""Torch's words for Pillow's numbers, as `preprocessor_config.json` has them."""
_NEAREST_TO = {1: "bicubic", 5: "bilinear"}
"""What comes nearest to Lanczos and Hamming, which torch lacks."""
PILLOW = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
"""Pillow's numbers for timm's words."""
TIMM: Mapping[str, Any] = {
    "input_size": [3, 224, 224],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bicubic",
}
"""What timm takes where a model's `pretrained_cfg` does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What a model wants done to an image in [0, 1]."""

    image_size: tuple[int, int] | None
    """Height and width; None where the model takes any."""
    mean: tuple[float, ...]
    """One a channel: what is taken off, of an image in [0, 1]."""
    std: tuple[float, ...]
    """One a channel: what the rest is divided by; whatever scale the model's file puts pixels to is in both."""
    interpolation: str
    """A mode of `torch.nn.functional.interpolate`."""


def read_preprocessing(folder: Path, config: Any) -> Preprocessing:
    """Return how a model wants its images, from `preprocessor_config.json`, and its configuration where that is silent.

    A file that does not tell the normalisation, but names a class of transformers, means that of the class.
    A model of timm has no such file: its configuration tells all in `pretrained_cfg`, of which the crop is left out.

    Parameters
    ----------
    config
        The network's configuration: an object of transformers, or the table of `config.json`. Where it holds a
        `vision_config`, that says channels, and the size where the file names none.

    Raises
    ------
    DataError
        When a file is no JSON, mean and standard deviation do not fit the channels, or a setting makes no sense.
    """
    settings, file = _read_processor(folder)
    vision = _asked(config, "vision_config") or config
    n_channels = int(_asked(vision, "num_channels") or 3)
    if isinstance(of_timm := _asked(config, "pretrained_cfg"), Mapping):
        file = file if settings else folder / "config.json"
        n_channels, told = _read_timm(of_timm, _asked(config, "model_args") or {}, file)
        settings = told | settings
    normalises = settings.get("do_normalize", True)
    mean = _per_channel(settings.get("image_mean", USUAL) if normalises else 0.0, n_channels, file)
    std = _per_channel(settings.get("image_std", USUAL) if normalises else 1.0, n_channels, file)
    if min(std) <= 0:
        raise DataError(f"{file}: image_std is {std}, and must be above 0: correct it")
    mean, std = _of_unit_scale(mean, std, settings, file)
    own = _height_and_width(_asked(vision, "image_size"))
    crop = settings.get("crop_size") if settings.get("do_center_crop", True) else None
    resizes = settings.get("do_resize", True)
    prepared = _height_and_width(crop) or _height_and_width(settings.get("size")) or own
    resample = settings.get("resample", 2)
    interpolation = {**INTERPOLATIONS, **_NEAREST_TO}.get(resample) if isinstance(resample, int) else None
    if interpolation is None:
        raise DataError(f"{file}: resample is {resample!r}, expected a number from 0 to 5: correct it")
    return Preprocessing(
        image_size=prepared if resizes else _height_and_width(crop),
        mean=mean,
        std=std,
        interpolation=interpolation,
    )


def _read_timm(told: Mapping[str, Any], arguments: Mapping[str, Any], file: Path) -> tuple[int, dict[str, Any]]:
    """Return the channels of a model of timm, and its preprocessing by the keys of `preprocessor_config.json`."""
    size, mean, std, interpolation = (told.get(key) or usual for key, usual in TIMM.items())
    if not isinstance(size, list) or len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise DataError(f"{file}: input_size is {size!r}, expected channels, height and width: correct it")
    resample = PILLOW.get(str(interpolation))
    if resample is None:
        raise DataError(f"{file}: interpolation is {interpolation!r}, expected one of {', '.join(PILLOW)}: correct it")
    settings = {"image_mean": mean, "image_std": std, "size": size[1:], "resample": resample}
    return int(arguments.get("in_chans") or size[0]), settings


def known_size(folder: Path, config: Mapping[str, Any]) -> list[int] | None:
    """Return height and width at which a model works, from its folder's files alone; None where they do not tell."""
    try:
        size = read_preprocessing(folder, config).image_size
    except DataError:
        return None
    return None if size is None else list(size)


def assumed_normalisation(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return what is taken for the normalisation that no file of a folder tells, and why; None where all is told.

    `config` is the table of `config.json`.
    """
    try:
        settings, file = _read_processor(folder)
    except DataError:  # whoever loads the network is told
        return None
    if not settings.get("do_normalize", True) or isinstance(config.get("pretrained_cfg"), Mapping):
        return None
    absent = [key for key in ("image_mean", "image_std") if key not in settings]
    if not absent:
        return None
    why = f"has no {' and no '.join(absent)}" if file.is_file() else "is missing"
    return f"{' and '.join(absent)} {USUAL}, since {file.name} {why}"


def _of_unit_scale(
    mean: tuple[float, ...], std: tuple[float, ...], settings: Mapping[str, Any], file: Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation for pixels in [0, 1]; the file's are for 0 to 255 times its factor.

    `rescale_offset` takes 1 off before they are used; EfficientNet's `include_top` divides by the deviation once more.
    """
    factor = settings.get("rescale_factor", 1 / WHITEST) if settings.get("do_rescale", True) else 1.0
    if not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise DataError(f"{file}: rescale_factor is {factor}, and must be a number above 0: correct it")
    scale, offset = WHITEST * factor, 1.0 if settings.get("rescale_offset") else 0.0
    if abs(scale - 1) < ROUNDING:  # 1/255 as files have it, rounded
        scale = 1.0
    again = std if settings.get("include_top") else (1.0,) * len(std)
    return (
        tuple((one + offset) / scale for one in mean),
        tuple(one * more / scale for one, more in zip(std, again, strict=True)),
    )


def _asked(config: Any, key: str) -> Any:
    return config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)


def _read_processor(folder: Path) -> tuple[dict[str, Any], Path]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
            settings = settings.get("image_processor", settings)
            settings.keys()
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{file}: it is no JSON table ({one_line(error)}): get or save it again") from error
        return _of_class(settings, file) | settings, file
    return {}, folder / "preprocessor_config.json"


def _of_class(settings: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return how the class that a file names normalises by itself; nothing where the file tells all, or none is known.

    Older files name a feature extractor, and some a fast processor, whose class has lost that part of its name.
    """
    absent = [key for key in NORMALISING if key not in settings]
    named = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    kind = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast")
    if not absent or settings.get("do_normalize") is False or not kind.endswith("ImageProcessor"):
        return {}
    try:
        processor = getattr(require("transformers", group="inference"), kind)()
    except (AttributeError, TypeError):  # a class of the model's own, or one that nothing can be asked of
        return {}
    except (ImportError, RuntimeError) as error:
        raise DataError(
            f"{file}: it has no {' and no '.join(absent)}, and {kind} of transformers, which it names, does not load "
            f"({one_line(error)}): write them into it"
        ) from error
    own = {key: getattr(processor, key, None) for key in ("image_mean", "image_std", *SCALING)}
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items() if value is not None}
    return {"do_normalize": bool(getattr(processor, "do_normalize", False)), **told}


def _per_channel(value: Any, n_channels: int, file: Path) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if len(values) == 1:
        values = values * n_channels
    if len(values) == 3 and n_channels == 1 and len(set(values)) == 1:
        values = values[:1]
    if len(values) != n_channels or not all(isinstance(number, int | float) for number in values):
        raise DataError(f"{file}: {value} is not one number for each of {n_channels} channels: correct it")
    return tuple(float(number) for number in values)


def _height_and_width(size: Any) -> tuple[int, int] | None:
    if isinstance(size, dict):
        if "longest_edge" in size:  # a range, within which the size follows the image
            return None
        side = size.get("shortest_edge")
        size = (size.get("height", side), size.get("width", side))
    if isinstance(size, int):
        size = (size, size)
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        return None
    return int(size[0]), int(size[1])
