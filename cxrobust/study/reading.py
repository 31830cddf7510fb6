"""Reading a study file: each table by the class that its room's registry names, then the whole by its names."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cxrobust.errors import StudyError, nearest
from cxrobust.study.analysis import AnalysisKeys, AnalysisSection, MetricSection
from cxrobust.study.checks import VALIDATION, check_names
from cxrobust.study.messages import TOO_DEEP, Place, dotted
from cxrobust.study.record import ComputeSection, ReportSection, Study, StudySection
from cxrobust.study.sections import Section

SECTIONS = ("study", "data", "regimes", "perturbations", "scores", "analysis", "report", "compute", "preferences")
SHARED = ("kind", "findings", "size")
"""Keys of [data] that hold for validation images as they stand."""


def read_study(path: Path, *, data_root: Path | None = None) -> Study:
    """Read and validate a study file.

    Raises
    ------
    StudyError
        In one sentence with the file, the line, what was found and the mend.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StudyError(
            f"{path}: {error.strerror}: give the path of a study file, or write one with cxrobust init"
        ) from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error
    return parse_study(text, path=path, data_root=data_root)


def parse_study(text: str, *, path: Path, data_root: Path | None = None) -> Study:
    """Validate the text of a study file that stands, or would stand, at `path`; see `read_study`."""
    place = Place(path, text)
    content = _parse_toml(text, path)
    for name in content:
        if name not in SECTIONS:
            raise place.error(
                (name,), f"unknown section [{name}]{nearest(name, SECTIONS)}: known are {', '.join(SECTIONS)}"
            )
    for name in ("study", "data", "regimes"):
        if name not in content:
            raise StudyError(f"{path}: [{name}] is missing: a study needs [study], [data] and at least one [[regimes]]")
    root = data_root if data_root is not None else path.parent
    context = {"study_folder": path.parent, "data_root": root, "data": content["data"]}
    reader = _Reader(place=place, context=context)
    data, validation = reader.data(content["data"])
    study = Study(
        path=path,
        text=text,
        data_root=root,
        study=reader.section(StudySection, content["study"], ("study",)),
        data=data,
        validation=validation,
        regimes=reader.regimes(content["regimes"]),
        perturbations=reader.perturbations(content.get("perturbations", [])),
        scores=reader.scores(content.get("scores", {})),
        analysis=reader.analysis(content.get("analysis", {})),
        report=reader.section(ReportSection, content.get("report", {}), ("report",)),
        compute=reader.section(ComputeSection, content.get("compute", {}), ("compute",)),
        preferences=reader.preferences(content) if "preferences" in content else None,
    )
    check_names(study, place)
    return study


def read_scores(path: Path) -> dict[str, Any]:
    """Return the scorers of a TOML file of tables `[scores.<name>]`, such as a study file; other tables are not read.

    Raises
    ------
    StudyError
        In one sentence with the file, the line, what was found and the mend.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error}): name a TOML file with tables [scores.NAME]") from error
    content = _parse_toml(text, path)
    reader = _Reader(place=Place(path, text), context={"study_folder": path.parent, "data_root": path.parent})
    return reader.scores(content.get("scores", {}))


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # of a text that was made in Python: no file holds one
        line = text.count("\n", 0, error.start) + 1
        raise StudyError(
            f"{path}:{line}: holds {text[error.start]!a}, half of a character, which no TOML file can: remove it"
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from error
    except ValueError as error:  # Python refuses to read a whole number of thousands of digits
        raise StudyError(f"{path}: a number has too many digits to read: shorten it") from error
    except RecursionError as error:
        raise StudyError(
            f"{path}: brackets are nested too deeply to read: a study file needs at most three levels"
        ) from error


SectionT = TypeVar("SectionT", bound=Section)


class _Reader:
    """Turns tables of the file into sections; the registries say which class a table belongs to."""

    def __init__(self, *, place: Place, context: Mapping[str, Any]) -> None:
        self.place = place
        self.context = context

    def section(
        self, kind: type[SectionT], table: Any, keys: tuple[str | int, ...], *, known: Sequence[str] | None = None
    ) -> SectionT:
        if not isinstance(table, dict):
            raise self.place.error(keys, f"{dotted(keys)} is {type(table).__name__}, and must be a table")
        try:
            return kind.model_validate_json(self._as_json(table, keys), context=dict(self.context))
        except ValidationError as error:
            raise self.place.explain(error, known or list(kind.model_fields), keys) from None

    def _as_json(self, table: dict[str, Any], keys: tuple[str | int, ...]) -> str:
        """Return the table as JSON, by which pydantic reads lists as tuples and text as paths, and nothing else."""

        def refuse(value: object) -> object:
            raise self.place.error(keys, f"{dotted(keys)} holds {value}, a date or time: no key takes one, quote it")

        try:
            text = json.dumps(table, default=refuse)
        except RecursionError:
            raise self.place.error(keys, f"{dotted(keys)} {TOO_DEEP}") from None
        if "\\u0000" in text:
            raise self.place.error(keys, f"{dotted(keys)} holds a null character: remove it")
        return text

    def analysis(self, table: Any) -> AnalysisSection:
        old = _as_table(table).get("sensitivity")
        if isinstance(old, bool):
            raise self.place.error(
                ("analysis", "sensitivity"),
                f"[analysis.sensitivity] is the table of the metric of this name, and sensitivity analyses have "
                f"another key: write sensitivity_analyses = {json.dumps(old)}",
            )
        tables = {
            key: value
            for key, value in _as_table(table).items()
            if isinstance(value, dict) and key not in AnalysisKeys.model_fields
        }
        rest = {key: value for key, value in table.items() if key not in tables} if isinstance(table, dict) else table
        keys = self.section(AnalysisKeys, rest, ("analysis",))
        single = {name: self.section(MetricSection, one, ("analysis", name)) for name, one in tables.items()}
        return AnalysisSection(**dict(keys), per_metric=single)

    def scores(self, tables: Any) -> dict[str, Any]:
        from cxrobust.radiology_reports.scores import scorer

        if not isinstance(tables, dict):
            raise self.place.error(("scores",), "[scores] is no table: write [scores.NAME] for each scorer")
        found = {}
        for name, table in tables.items():
            if name not in scorer:
                raise self.place.error(("scores", name), scorer.unknown(name))
            found[name] = self.section(scorer[name], table, ("scores", name))
        return found

    def data(self, table: Any) -> tuple[Any, Any]:
        """Return the section of the test images, and that of the validation images or None."""
        from cxrobust.inference.datasets import dataset

        kind = self._choose(dataset, table, ("data",), "kind")
        own = {key: value for key, value in table.items() if key != VALIDATION}
        data = self.section(kind, own, ("data",), known=(*kind.model_fields, VALIDATION))
        return data, self._validation(kind, own, table[VALIDATION]) if VALIDATION in table else None

    def _validation(self, kind: type[SectionT], data: dict[str, Any], table: Any) -> SectionT:
        keys = ("data", VALIDATION)
        for name in SHARED:
            if name in _as_table(table):
                raise self.place.error(
                    (*keys, name), f"{dotted((*keys, name))}: validation images have the {name} of [data]: remove it"
                )
        merged = {**data, **table} if isinstance(table, dict) else table
        return self.section(kind, merged, keys, known=[name for name in kind.model_fields if name not in SHARED])

    def preferences(self, content: Mapping[str, Any]) -> Any:
        from cxrobust.inference.datasets import dataset
        from cxrobust.preferences import Preferences, PreferencesKeys
        from cxrobust.radiology_reports.judges import judge

        table, data, keys = content["preferences"], content["data"], ("preferences",)
        parts = ("data", "judges")
        own = {key: value for key, value in table.items() if key not in parts} if isinstance(table, dict) else table
        settings = self.section(PreferencesKeys, own, keys, known=(*PreferencesKeys.model_fields, *parts))
        for part, what in zip(parts, ("which images to learn from", "who judges"), strict=True):
            if part not in table:
                raise self.place.error(keys, f"[preferences] needs {part}: say in it {what}")
        for name in SHARED:
            if name in _as_table(table["data"]):
                raise self.place.error(
                    (*keys, "data", name), f"preferences.data.{name}: these images have the {name} of [data]: remove it"
                )
        kind = self._choose(dataset, data, ("data",), "kind")
        merged = {**{key: one for key, one in data.items() if key != VALIDATION}, **_as_table(table["data"])}
        known = [name for name in kind.model_fields if name not in SHARED]
        images = self.section(kind, merged, (*keys, "data"), known=known)
        self.context = {**self.context, "scorers": self.scores(content.get("scores", {}))}  # by which judges may go
        judges = []
        for where, one in self._tables(table["judges"], "preferences", "judges"):
            judges.append(self.section(self._choose(judge, one, where, "kind"), one, where))
            if judges[-1].name in {other.name for other in judges[:-1]}:
                raise self.place.error((*where, "name"), f"judge {judges[-1].name!r} stands twice: name one otherwise")
        if not judges:
            raise self.place.error(keys, "there is no [[preferences.judges]]: say who judges")
        return Preferences(keys=settings, data=images, judges=tuple(judges))

    def regimes(self, tables: Any) -> tuple[Any, ...]:
        from cxrobust.inference.elsewhere import Elsewhere
        from cxrobust.inference.models import model_family

        regimes = []
        for keys, table in self._tables(tables, "regimes"):
            elsewhere = isinstance(table, dict) and "predictions" in table
            kind = Elsewhere if elsewhere else self._choose(model_family, table, keys, "family")
            regimes.append(self.section(kind, table, keys))
        if not regimes:
            raise StudyError(f"{self.place.path}: there is no [[regimes]]: a study needs at least one")
        return tuple(regimes)

    def perturbations(self, tables: Any) -> tuple[Any, ...]:
        from cxrobust.inference.perturbations import controls, in_order, perturbation

        found: dict[str, Any] = {}
        for keys, table in self._tables(tables, "perturbations"):
            chooser, other = ("corruption", "attack") if "corruption" in _as_table(table) else ("attack", "corruption")
            kind = self._choose(perturbation, table, keys, chooser)
            if chooser not in kind.model_fields:
                wanted = table[chooser]
                raise self.place.error((*keys, chooser), f'{wanted!r} is no {chooser}: write {other} = "{wanted}"')
            if table.get(kind.strength) == []:
                raise self.place.error((*keys, kind.strength), f"{kind.strength} is empty: give at least one value")
            for one in _spread(table, kind.strength):
                made = self.section(kind, one, keys)
                if str(made.condition) in found:
                    raise self.place.error(keys, f"{made.condition} stands twice: keep one")
                found[str(made.condition)] = made
        for control in controls(tuple(found.values())):
            found.setdefault(str(control.condition), control)
        return in_order(found.values())

    def _tables(self, tables: Any, *name: str) -> list[tuple[tuple[str | int, ...], Any]]:
        if not isinstance(tables, list):
            said = dotted(name)
            raise self.place.error(name, f"[{said}] must be written [[{said}]], once for each")
        return [((*name, index), table) for index, table in enumerate(tables)]

    def _choose(self, registry: Any, table: Any, keys: tuple[str | int, ...], chooser: str) -> Any:
        if not isinstance(table, dict) or not isinstance(table.get(chooser), str):
            raise self.place.error(keys, f"{dotted(keys)} needs {chooser}: one of {', '.join(registry)}")
        try:
            return registry[table[chooser]]
        except StudyError as error:
            raise self.place.error((*keys, chooser), str(error)) from None


def _as_table(table: object) -> dict[str, Any]:
    return table if isinstance(table, dict) else {}


def _spread(table: dict[str, Any], strength: str) -> list[dict[str, Any]]:
    value = table.get(strength)
    return [{**table, strength: one} for one in value] if isinstance(value, list) else [table]
