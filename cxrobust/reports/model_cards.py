"""A model card for each regime: what its model did here, as the Hugging Face Hub reads it and in sentences."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cxrobust.files import atomic_write_text
from cxrobust.reports.limits import limits
from cxrobust.reports.markdown import markdown
from cxrobust.reports.parts import common_digits
from cxrobust.reports.sentences import change_sentence, comparison_sentence, metric_name, support, value_sentence
from cxrobust.reports.sources import names_all_patients, split_of
from cxrobust.reports.templating import Templates
from cxrobust.reports.units import counted_images, unit
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import capitalised, condition_words, number, percent, plain, readable
from cxrobust.results import Estimate

FOLDER = "model-cards"
TAGS = ("chest-x-ray", "medical-imaging", "adversarial-robustness", "calibration", "cxrobust")


def write_model_cards(view: View, out: Path, *, templates: Path | None = None) -> Path:
    """Write `OUT/model-cards/REGIME.md` for each regime and return the folder."""
    for name, file in file_names(view.regimes).items():
        atomic_write_text(out / FOLDER / f"{file}.md", model_card(view, name, templates=templates))
    return out / FOLDER


def file_names(regimes: tuple[str, ...]) -> dict[str, str]:
    """Return for each regime a name of its file, in small letters, digits and hyphens, all different.

    Examples
    --------
    >>> file_names(("LoRA r=4", "lora_r_4", "α"))
    {'LoRA r=4': 'lora-r-4', 'lora_r_4': 'lora-r-4-2', 'α': 'regime'}
    """
    found: dict[str, str] = {}
    for name in regimes:
        stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "regime"
        n = 1
        while (unique := stem if n == 1 else f"{stem}-{n}") in found.values():
            n += 1
        found[name] = unique
    return found


def model_card(view: View, name: str, *, templates: Path | None = None) -> str:
    """Return the card of one regime: metadata with `model-index`, then what was measured and what it does not show."""
    environment = Templates(folder=templates)
    environment.finalize = _as_markdown
    body = environment.get_template("model-card.md.j2").render(
        name=readable(name),
        regime=next(one for one in view.results.regimes if one["name"] == name),
        is_reference=name == view.reference,
        reference=view.reference,
        study=view.results.study["study"],
        data=view.results.data,
        counts=counted_images(view),
        unit=capitalised(unit(view)),
        level=percent(view.level),
        condition=f"under {condition_words(view.primary)}" if view.primary else "on clean images",
        sentences=[plain(one) for one in _sentences(view, name)],
        rows=list(_rows(view, name)),
        perturbed=capitalised(condition_words(view.primary)) if view.primary else "",
        limits=[(limit.title, plain(limit.text)) for limit in limits(view)],
        study_hash=view.results.provenance.get("study_sha256") or "",
    )
    return f"---\n{metadata(view, name)}---\n\n{body}"


def _as_markdown(value: Any) -> Any:
    return Markup(markdown(value)) if isinstance(value, str) else value  # noqa: S704  escaped, for Markdown


def _sentences(view: View, name: str) -> Iterator[str]:
    """Yield what is said of the reference on each metric, and how the regime compares with it."""
    for metric in view.metrics:
        told = change_sentence if view.primary else value_sentence
        compared = comparison_sentence(view, metric, only=name) if name != view.reference else ""
        yield f"{told(view, metric, view.reference)} {compared}".rstrip()


def _rows(view: View, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield each metric with its value on clean and on perturbed images."""
    for metric in view.metrics:
        found = [view.value(metric, name, CLEAN), view.value(metric, name, view.primary) if view.primary else None]
        digits = common_digits(found)
        clean, perturbed = (_shown(view, one, digits) for one in found)
        yield capitalised(metric_name(view, metric)), clean, perturbed


def _shown(view: View, estimate: Estimate | None, digits: int) -> str:
    if estimate is None or estimate.estimate is None:
        return "not estimable"
    return f"{number(estimate.estimate, digits=digits)} ({support(estimate, view)})".replace("\N{NO-BREAK SPACE}", " ")


def metadata(view: View, name: str) -> str:
    """Return the card's metadata: YAML whose every text is quoted as in JSON.

    Each condition is a result of its own, in the dataset's `config`; each metric has its interval in words in its name,
    and in numbers in its arguments.
    """
    head = ["tags:", *(f"- {_quoted(tag)}" for tag in TAGS), f"pipeline_tag: {_quoted(_task(view, name))}"]
    lines = [*head, "model-index:", f"- name: {_quoted(name)}", "  results:"]
    for condition in view.conditions:
        metrics = [line for metric in view.metrics for line in _metric(view, metric, name, condition)]
        if metrics:
            lines += [*_dataset(view, name, condition), "    metrics:", *metrics]
    return "\n".join(lines) + "\n"


def _task(view: View, name: str) -> str:
    """Return the Hub's name of what a regime's model does: generators write reports, all others classify."""
    [family] = [one["family"] for one in view.results.regimes if one["name"] == name]
    return "image-to-text" if family == "generator" else "image-classification"


def _dataset(view: View, name: str, condition: str) -> list[str]:
    data = view.results.data
    settings = view.results.study["data"]
    split = split_of(settings)
    counted_ones = ("n_images", "n_patients") if names_all_patients(view) else ("n_images",)
    return [
        "  - task:",
        f"      type: {_quoted(_task(view, name))}",
        '      name: "Findings of chest X-rays"',
        "    dataset:",
        f"      type: {_quoted(str(settings.get('kind') or 'predictions'))}",
        f"      name: {_quoted(data['name'])}",
        f"      config: {_quoted(condition)}",
        *([f"      split: {_quoted(split)}"] if split else []),
        f"      args: {json.dumps({name: data[name] for name in counted_ones})}",
    ]


def _metric(view: View, metric: str, name: str, condition: str) -> list[str]:
    estimate = view.value(metric, name, condition)
    if estimate is None or estimate.estimate is None:
        return []
    where = "clean images" if condition == CLEAN else condition_words(condition)
    said = plain(f"{metric_name(view, metric)}, {where} ({support(estimate, view)})")
    return [
        f"    - type: {_quoted(metric)}",
        f"      value: {_number(estimate.estimate)}",
        f"      name: {_quoted(said)}",
        f"      args: {{{', '.join(f'{_quoted(key)}: {value}' for key, value in _arguments(view, estimate))}}}",
    ]


def _arguments(view: View, estimate: Estimate) -> Iterator[tuple[str, str]]:
    """Yield what is known of an estimate beside its value, as YAML writes it."""
    found = {
        "average": estimate.finding,
        "ci_low": estimate.ci_low,
        "ci_high": estimate.ci_high,
        "level": view.level,
        "interval": estimate.interval,
    }
    for key, value in found.items():
        if value is not None:
            yield key, _quoted(value) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """Return every digit of a number without an exponent, which YAML would take for a text in `5e-05`."""
    return format(Decimal(repr(value)), "f")


def _quoted(text: str) -> str:
    return json.dumps(" ".join(readable(text).splitlines()), ensure_ascii=False)
