"""What every section of the study file is made of: a frozen, strict model, and the types of its paths and sizes."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from cxrobust.conditions import parse_number

GREY_LEVELS = 255
"""Steps from black to white of images of 8 bits."""


class Section(BaseModel):
    """A frozen part of the study file; an unknown key is an error, and no value is converted in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def _against(base: str) -> BeforeValidator:
    def resolve(value: object, info: ValidationInfo) -> object:
        folder = (info.context or {}).get(base)
        return str(Path(folder) / value) if isinstance(value, str) and folder is not None else value

    return BeforeValidator(resolve)


def _read_eps(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_number(value)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f'{value!r} is not a size: write "4/255" or 0.0157') from None
    if isinstance(value, int | float) and 1 < value <= GREY_LEVELS:
        raise ValueError(
            f"Input should be less than or equal to 1, since pixels are in [0, 1]: for {value:g} of {GREY_LEVELS} grey "
            f'levels write "{value:g}/{GREY_LEVELS}"'
        )
    return value


StudyPath = Annotated[Path, _against("study_folder")]
"""A path that is relative to the study file."""
DataPath = Annotated[Path, _against("data_root")]
"""A path of data: relative to `--data-root` when given, else to the study file."""
Epsilon = Annotated[float, BeforeValidator(_read_eps), Field(gt=0, le=1)]
"""Size of a perturbation in pixels of [0, 1], before normalisation; `4/255` may be written as text."""
