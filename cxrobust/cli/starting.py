"""The tables of a study file to start from, filled with what holds for its kind of data."""

import tomllib
from importlib.resources import files
from string import Template
from typing import get_args

from cxrobust.errors import StudyError, nearest


def data_table(kind: str) -> str:
    """Return the [data] table of a kind of data.

    Raises
    ------
    StudyError
        When there is none of that name.
    """
    return _table("data", kind, option="--data", what="kind of data")


def regime_table(family: str, *, kind: str) -> str:
    """Return the table of a regime, whose findings and training images are those of a kind of data.

    Raises
    ------
    StudyError
        When no family has that name.
    """
    from cxrobust.inference.datasets import dataset

    table = _table("models", family, option="--model", what="family of models")
    train = "\n# ".join(f"train.{line}" for line in _learnt(kind))
    return Template(table).substitute(dataset[kind].example._asdict(), train=train)


def preferences_table(kind: str) -> str:
    """Return the table of preference data, which learns from other images than those that are tested on."""
    text = files("cxrobust.templates").joinpath("preferences.toml").read_text(encoding="utf-8")
    return Template(text).substitute(learn="\n".join(_learnt(kind)))


def _learnt(kind: str) -> tuple[str, ...]:
    """Return a line for each key of [data] by which images to learn from differ from those that are tested on."""
    from cxrobust.inference.datasets import dataset

    fields = dataset[kind].model_fields
    if "split" in fields and (fields["split"].annotation is str or "train" in get_args(fields["split"].annotation)):
        return ('split = "train"',)
    if "list" in fields:
        return ('list = "train.txt"',)  # one image a line
    members = tomllib.loads(data_table(kind))["data"]["members"]
    return tuple(
        f'members.{name} = {{ kind = "{one["kind"]}", root = "{one["root"]}", {", ".join(_learnt(one["kind"]))} }}'
        for name, one in members.items()
    )


def _table(folder: str, name: str, *, option: str, what: str) -> str:
    """Return the table of a study file that stands in a folder of templates."""
    tables = {file.name: file for file in files("cxrobust.templates").joinpath(folder).iterdir()}
    known = sorted(file.removesuffix(".toml") for file in tables if file.endswith(".toml"))
    if name not in known:
        raise StudyError(f"{option} {name}: unknown {what}{nearest(name, known)}: known are {', '.join(known)}")
    return tables[f"{name}.toml"].read_text(encoding="utf-8")
