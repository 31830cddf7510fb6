"""Files of a folder of predictions by name, for what should not load what reads tables."""

from collections.abc import Mapping
from typing import Any

INDEX = "index.json"
IMAGES = "images.parquet"
VALIDATION_IMAGES = "validation.parquet"


def parts_of(index: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what an index says of the test images and, where there are any, of the validation images.

    Each by the name of its table of images.
    """
    validation = index.get("validation")
    return {IMAGES: index, VALIDATION_IMAGES: validation} if validation else {IMAGES: index}
