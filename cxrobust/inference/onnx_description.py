"""What an ONNX file tells of itself; torch is not needed to know."""

import math
from dataclasses import dataclass
from pathlib import Path

from cxrobust.errors import DataError, require
from cxrobust.inference.checkpoints import one_line

GROUP = "onnx"
"""The group of dependencies."""
CHANNELS = (1, 3)
"""How many an image has: no image is so wide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """What an ONNX file tells of itself."""

    input_name: str
    batch: int | None
    """Images that it takes at once; None where that is free."""
    n_channels: int | None
    image_size: tuple[int, int] | None
    outputs: tuple[str, ...]
    n_parameters: int
    data_files: tuple[Path, ...]
    """Files beside it that hold its weights."""


def describe(file: Path) -> Described:
    """Return what an ONNX file tells of itself, without its weights.

    Raises
    ------
    DataError
        When it is no such file, or its input is not images in float32, channels before height and width.
    MissingGroupError
        When onnx is not installed.
    """
    onnx = require("onnx", group=GROUP)
    if not file.is_file():
        raise DataError(f"{file}: there is no such file: export the model there, or correct model")
    try:
        model = onnx.load(file, load_external_data=False)
        held = {one.name for one in model.graph.initializer}
        (taken, *others) = [one for one in model.graph.input if one.name not in held]
        sizes = [one.dim_value or None for one in taken.type.tensor_type.shape.dim]
    except Exception as error:  # protobuf raises errors of its own, and a file without inputs ValueError
        raise DataError(f"{file}: it is no ONNX model ({one_line(error, most=160)}): export it again") from error
    if len(sizes) != 4 or others:
        raise DataError(
            f"{file}: it takes {1 + len(others)} inputs, the first of {len(sizes)} dimensions, and should take images "
            f"alone, (n, channels, height, width): export it so"
        )
    kind = taken.type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        raise DataError(
            f"{file}: it takes numbers of type {onnx.TensorProto.DataType.Name(kind)}, and should take FLOAT, of 32 "
            f"bits: export it so"
        )
    batch, n_channels, height, width = sizes
    if width in CHANNELS and height not in CHANNELS:
        raise DataError(
            f"{file}: its input has {width} as last dimension, as channels that come last have, and should be (n, "
            f"channels, height, width): export it so (tf2onnx: --inputs-as-nchw {taken.name})"
        )
    data = {entry.value for one in model.graph.initializer for entry in one.external_data if entry.key == "location"}
    return Described(
        input_name=taken.name,
        batch=batch,
        n_channels=n_channels,
        image_size=(height, width) if height and width else None,
        outputs=tuple(one.name for one in model.graph.output),
        n_parameters=sum(math.prod(one.dims) for one in model.graph.initializer if one.dims),
        data_files=tuple(sorted(file.parent / name for name in data)),
    )
