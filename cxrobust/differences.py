"""What differs between two results: which estimate or setting, in which field, and both values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from cxrobust.results import Estimate, Results

IDENTITY = ("estimand", "metric", "regime", "reference", "condition", "finding", "subgroup", "recalibration")
"""Fields of an estimate that say what it is of; the others are what was found."""
PRESENCE = "presence"
"""The field in which something differs that only one of two results holds."""
PRESENT, ABSENT = "present", "absent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One field of two results that is not the same."""

    part: str
    """The field of the results: `estimates`, `reliability`, `data`, ..."""
    what: str
    """What it belongs to: `auroc of lora, pgd(eps=4/255), macro (value)`; empty for a setting, whose key is `field`."""
    field: str
    """The name of the field, or the key of a setting: `analysis.level`."""
    old: Any
    new: Any

    @property
    def size(self) -> float | None:
        """Absolute difference of two numbers; None where one of them is none."""
        return abs(self.new - self.old) if _is_number(self.old) and _is_number(self.new) else None

    def __str__(self) -> str:
        """Name it in one line: `estimates, auroc of lora, clean, macro (value): estimate: 0.81, now 0.82`."""
        where = ", ".join(filter(None, (self.part, self.what)))
        if self.field == PRESENCE:
            return f"{where}: {'only in the new' if self.old == ABSENT else 'only in the old'}"
        return f"{where}: {self.field}: {_shown(self.old)}, now {_shown(self.new)}"


def differences(old: Results, new: Results, *, tolerance: float = 0.0) -> tuple[Difference, ...]:
    """Return every computed field that differs, in the order of the old results; numbers when by more than `tolerance`.

    Compared are the primary condition, the counts of the data, estimates, diagrams, operating points and standard
    errors: all that an analysis computes from predictions. Settings and versions are not; see `setting_differences`.
    Counts and texts differ whenever they are not equal.
    """
    found = [
        *nested(old.primary_condition, new.primary_condition, part="data", field="primary_condition"),
        *nested(_counts(old), _counts(new), part="data", tolerance=tolerance),
    ]
    for part, named in COMPUTED.items():
        found += _of_records(part, getattr(old, part), getattr(new, part), named=named, tolerance=tolerance)
    return tuple(found)


def setting_differences(old: Results, new: Results) -> tuple[Difference, ...]:
    """Return what differs of what two results were made from: settings, data, regimes, conditions and provenance."""
    names = ("study", "data", "regimes", "conditions", "provenance")
    return tuple(
        one
        for name in names
        for one in nested(_by_name(getattr(old, name)), _by_name(getattr(new, name)), part=name, tolerance=0.0)
    )


def estimate_differences(
    old: Iterable[Estimate], new: Iterable[Estimate], *, part: str, tolerance: float = 0.0
) -> tuple[Difference, ...]:
    """Return every field in which estimates of the same name differ, of several with one name place by place."""
    return tuple(_of_records(part, old, new, named=name_of, tolerance=tolerance))


def name_of(estimate: Estimate) -> str:
    """Name an estimate by what it is of: `auroc of lora against supervised, clean, macro (regime-reference)`."""
    against = f" against {estimate.reference}" if estimate.reference is not None else ""
    places = filter(None, (estimate.condition, estimate.finding, estimate.subgroup, estimate.recalibration))
    return f"{estimate.metric} of {estimate.regime}{against}, {', '.join(places)} ({estimate.estimand})"


def nested(
    old: Any, new: Any, *, part: str, what: str = "", field: str = "", tolerance: float = 0.0
) -> list[Difference]:
    """Return where two JSON values differ, by the dotted key of each innermost value; lists by their place from 1."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys((*old, *new))
        pairs = [(f"{field}.{key}" if field else str(key), old.get(key, _NONE), new.get(key, _NONE)) for key in keys]
    elif _is_list(old) and _is_list(new) and len(old) == len(new) and not _are_plain(old, new):
        pairs = [(f"{field}[{n}]", *pair) for n, pair in enumerate(zip(old, new, strict=True), start=1)]
    else:
        same = _same(old, new, tolerance)
        return [] if same else [Difference(part=part, what=what, field=field, old=_there(old), new=_there(new))]
    return [
        one
        for key, before, after in pairs
        for one in nested(before, after, part=part, what=what, field=key, tolerance=tolerance)
    ]


_NONE = object()
"""Stands for a key that only the other value has."""


def _there(value: Any) -> Any:
    return ABSENT if value is _NONE else value


def _are_plain(*lists: Iterable[Any]) -> bool:
    """Whether lists hold texts alone, which are told as a whole."""
    return all(isinstance(one, str) for some in lists for one in some)


def _same(old: Any, new: Any, tolerance: float) -> bool:
    if _is_number(old) and _is_number(new) and (isinstance(old, float) or isinstance(new, float)):
        return bool(abs(old - new) <= tolerance)
    if _is_list(old) and _is_list(new):
        return list(old) == list(new)
    return type(old) is type(new) and bool(old == new)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _of_records(
    part: str,
    old: Iterable[Any],
    new: Iterable[Any],
    *,
    named: Callable[[Any], str],
    tolerance: float,
) -> Iterator[Difference]:
    """Compare records of the same name; of several with one name, the first with the first."""
    before, after = _numbered(old, named), _numbered(new, named)
    for key in dict.fromkeys((*before, *after)):
        if key not in before or key not in after:
            yield Difference(
                part=part,
                what=key[0],
                field=PRESENCE,
                old=PRESENT if key in before else ABSENT,
                new=PRESENT if key in after else ABSENT,
            )
            continue
        for name, was, now in _fields(before[key], after[key]):
            if was is not now and was != now:
                yield from nested(_plain(was), _plain(now), part=part, what=key[0], field=name, tolerance=tolerance)


def _fields(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, getattr(old, one.name), getattr(new, one.name)) for one in fields(old)]


def _numbered(records: Iterable[Any], named: Callable[[Any], str]) -> dict[tuple[str, int], Any]:
    found: dict[tuple[str, int], Any] = {}
    seen: dict[str, int] = {}
    for record in records:
        name = named(record)
        seen[name] = seen.get(name, 0) + 1
        found[name, seen[name]] = record
    return found


def _plain(value: Any) -> Any:
    """Return records, such as the bins of a diagram, as JSON values; anything else as it is."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return [_plain(one) for one in value] if _is_list(value) else value


def _by_name(value: Any) -> Any:
    """Return lists of named tables as tables by name, so that a new one shifts no other."""
    if isinstance(value, Mapping):
        return {key: _by_name(one) for key, one in value.items()}
    names = [one.get("name") for one in value if isinstance(one, Mapping)] if _is_list(value) else []
    if names and len(set(names)) == len(value) and None not in names:
        return {name: _by_name(one) for name, one in zip(names, value, strict=True)}
    return [_by_name(one) for one in value] if _is_list(value) else value


def _counts(results: Results) -> dict[str, Any]:
    """Return the counts of the data, those of validation images too."""

    def of(data: Mapping[str, Any]) -> dict[str, Any]:
        names = ("n_images", "n_patients", "images_per_patient", "findings")
        return {name: _by_name(data[name]) for name in names if name in data}

    validation = results.data.get("validation")
    return of(results.data) | ({"validation": of(validation)} if isinstance(validation, Mapping) else {})


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value) if isinstance(value, float) else str(value)


def _of(*names: str) -> Callable[[Any], str]:
    """Return what names a record by some of its fields."""
    return lambda record: ", ".join(f"{getattr(record, name)}" for name in names)


COMPUTED: Mapping[str, Callable[[Any], str]] = {
    "estimates": name_of,
    "reliability": _of("regime", "condition"),
    "risk_coverage": _of("regime", "condition", "finding"),
    "thresholds": lambda one: f"{one.regime}, training run {one.replicate + 1}, {one.finding}",
    "unclustered": lambda one: f"{one.metric} of {one.regime}, {one.finding}",
    "confidence": _of("regime", "condition", "decisions"),
    "flips": _of("regime", "condition"),
    "confusion": _of("regime", "condition", "finding"),
    "power": _of("metric", "regime", "reference", "goal"),
    "sensitivity": lambda one: f"{one.kind}, {one.choice}: {name_of(one.estimate)}",
}
"""The fields of the results that an analysis computes, and how each of their records is named."""
