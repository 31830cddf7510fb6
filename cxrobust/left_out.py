"""The images that no cell holds, by id with the reason: a list for who ran the study, whose documents name none."""

from pathlib import Path

from cxrobust.errors import some
from cxrobust.files import atomic_write_text
from cxrobust.predictions import Skipped, skipped_images
from cxrobust.results import to_csv

LEFT_OUT = "left-out.csv"
COLUMNS = ("split", "image", "reason", "detail")
MOST_NAMED = 10


def write_left_out(predictions: Path, out: Path) -> tuple[Skipped, ...]:
    """Write `OUT/left-out.csv`, a row for each image that `on_error = "skip"` left out; no file where there is none."""
    found = skipped_images(predictions)
    if found:
        atomic_write_text(
            out / LEFT_OUT, to_csv(COLUMNS, [(one.split, one.image, one.reason, one.detail) for one in found])
        )
    else:
        (out / LEFT_OUT).unlink(missing_ok=True)
    return found


def named(skipped: tuple[Skipped, ...]) -> str:
    """Name the first ten images, each with what was found.

    Examples
    --------
    >>> named((Skipped(split="test", image="i7", reason="whose file cannot be read", detail="i7.png: it is empty"),))
    'i7 (i7.png: it is empty)'
    """
    return some((f"{one.image} ({one.detail or one.reason})" for one in skipped), most=MOST_NAMED)
