"""Preference data: several reports of each image, graded, the best against the worst, for preference fine-tuning."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from cxrobust.radiology_reports.judges import Judge
from cxrobust.study.sections import Section

FOLDER = "preferences"
"""Within the folder of all output."""
UNITS, IMAGES, ANSWERS, CACHE = "samples", "images", "answers", "cache"
"""Within the folder of a regime, beside those of judges."""
REPORTS, PEOPLE, AGREEMENT = "reports.jsonl", "for-people.csv", "agreement.json"
"""Files there."""


class PreferencesKeys(Section):
    """The keys of `[preferences]` beside its data and its judges."""

    samples: int = Field(default=4, ge=2, le=64)
    """How many reports are sampled for each image."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    margin: float = Field(default=0.0, ge=0)
    """A pair is kept where the best grade exceeds the worst by more."""
    layout: Literal["conversation", "text"] = "conversation"
    """What prompt and reports are written as: messages with a role, or plain texts."""
    prompt: str | None = Field(default=None, min_length=1)
    """What is written as the prompt; the regime's own when absent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preferences:
    """What `[preferences]` says."""

    keys: PreferencesKeys
    data: Any
    """The data set's section for the images to learn from, of the same kind, size and findings as `[data]`."""
    judges: tuple[Judge, ...]


def slug(name: str) -> str:
    """Return a name as a folder may be called.

    >>> slug("SFT, 2nd run/α")
    'SFT-2nd-run-α'
    """
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
