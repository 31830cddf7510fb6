"""What `cxrobust list` shows: the registered names of one kind, with a line on each."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrobust.errors import StudyError, nearest
from cxrobust.registry import Registry


def kinds() -> Mapping[str, Callable[[], dict[str, str]]]:
    """Return how to list each kind: its names, and the first sentence on each."""
    return {
        "datasets": _datasets,
        "models": _models,
        "attacks": lambda: _perturbations("attack"),
        "corruptions": lambda: _perturbations("corruption"),
        "metrics": _metrics,
        "scores": _scores,
        "judges": _judges,
    }


def listed(kind: str) -> dict[str, str]:
    """Return the names of a kind with a line on each.

    Raises
    ------
    StudyError
        When there is no such kind.
    """
    known = kinds()
    if kind not in known:
        raise StudyError(f"cxrobust list {kind}: unknown kind{nearest(kind, known)}: known are {', '.join(known)}")
    return known[kind]()


def show(names: Mapping[str, str]) -> None:
    """Print names and lines as a table."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, line in names.items():
        table.add_row(escape(name), escape(line))
    Console().print(table)


def _datasets() -> dict[str, str]:
    from cxrobust.inference.datasets import dataset

    return _lines(dataset)


def _models() -> dict[str, str]:
    from cxrobust.inference.models import model_family

    return _lines(model_family)


def _metrics() -> dict[str, str]:
    from cxrobust.analysis.metrics import metric

    return _lines(metric)


def _scores() -> dict[str, str]:
    from cxrobust.radiology_reports.scores import CONTROLLED, scorer

    found = {name: one.says for key in scorer for name, one in scorer[key].measures.items()}
    found |= {f"{scorer[key].prefix}NAME": _first_sentence(scorer[key]) for key in scorer if scorer[key].prefix}
    return {
        **found,
        f"{CONTROLLED}SCORE": "Any of these that is a mean in [0, 1], over how many times too long reports are.",
    }


def _judges() -> dict[str, str]:
    from cxrobust.radiology_reports.judges import judge

    return _lines(judge)


def _perturbations(chooser: str) -> dict[str, str]:
    from cxrobust.inference.perturbations import perturbation

    return {name: line for name, line in _lines(perturbation).items() if chooser in perturbation[name].model_fields}


def _lines(registry: Registry[Any]) -> dict[str, str]:
    return {name: _first_sentence(registry[name]) for name in registry}


def _first_sentence(item: Any) -> str:
    """Return the first line of what documents a class, or the class of an object."""
    text = (item if isinstance(item, type) else type(item)).__doc__ or ""
    return text.strip().splitlines()[0] if text.strip() else ""
