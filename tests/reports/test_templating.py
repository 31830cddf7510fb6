"""Templates of a user's folder: what they may change, what they may not touch, and how their mistakes are said."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError

from cxrobust.cli import _main
from cxrobust.errors import StudyError
from cxrobust.files import atomic_write_text
from cxrobust.reports.document import compose, fill
from cxrobust.reports.templating import (
    FILTERS,
    OURS,
    SHARED,
    Templates,
    check_folder,
    described,
    export,
    names,
    reference,
)
from cxrobust.reports.view import View
from cxrobust.results import Results, write_results

from .made import SMALL, results


@pytest.fixture(scope="module")
def small() -> Results:
    return results(SMALL)


def report(found: Results, folder: Path | None) -> str:
    return fill(compose(View.of(found, images=None), templates=folder), medium="html", paper="A4")


def folder_of(tmp_path: Path, **templates: str) -> Path:
    for name, text in templates.items():
        atomic_write_text(tmp_path / f"{name.replace('__', '/')}.html.j2", text)
    return tmp_path


def test_a_folder_replaces_a_section_and_one_block_of_the_base(small: Results, tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        sections__limitations="<p>Our own words on {{ limits | length }} limitations.</p>",
        base='{% extends "ours/base.html.j2" %}{% block meta %}{{ super() }} · A <Hospital>{% endblock %}',
    )
    html = report(small, check_folder(folder))
    assert re.search(r"Our own words on \d+ limitations", html)
    assert "1 regime · clean images alone · A <Hospital></p>" in html
    assert "<h2>Methods</h2>" in html


def test_what_is_exported_gives_the_same_report(small: Results, tmp_path: Path) -> None:
    written = export(tmp_path / "templates")
    assert {path.relative_to(tmp_path / "templates").as_posix() for path in written} == set(names())
    assert report(small, check_folder(tmp_path / "templates")) == report(small, None)
    with pytest.raises(StudyError, match="the file exists"):
        export(tmp_path / "templates")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("<p>\n{% if %}</p>", 2, "Expected an expression"),
        ("<p>\n\n{{ no_such_name }}</p>", 3, "'no_such_name' is undefined"),
        ("<p>{{ 1 / 0 }}</p>", 1, "division by zero"),
        ('\n{% include "no-such.html.j2" %}', 2, "there is no template 'no-such.html.j2'"),
        ("{{ 'x' | nonsense }}", 1, "No filter named 'nonsense'"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_line(
    text: str, line: int, said: str, small: Results, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, sections__limitations=text)
    with pytest.raises(StudyError) as raised:
        report(small, folder)
    message = str(raised.value)
    assert message.startswith(f"{folder / 'sections' / 'limitations.html.j2'}, line {line}: ")
    assert said in message
    assert "\n" not in message


def test_a_mistake_of_ours_is_not_blamed_on_the_user(small: Results, tmp_path: Path) -> None:
    document = compose(
        View.of(small, images=None), templates=folder_of(tmp_path, report='{% extends "base.html.j2" %}')
    )
    broken = replace(document, filled=tuple(replace(one, values={}) for one in document.filled))
    with pytest.raises(UndefinedError):
        fill(broken, medium="html", paper="A4")


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ given.path.read_text() }}",
        "{{ given.path.unlink() }}",
        "{{ given.function() }}",
        "{{ given.kind() }}",
        "{{ given.module.system('true') }}",
        "{{ given.items.append(1) }}",
        "{{ view.images.parent }}",
        "{{ cite.__globals__ }}",
    ],
)
def test_a_template_reaches_no_file_and_no_function_that_it_was_not_given(text: str, tmp_path: Path) -> None:
    import os

    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    items: list[int] = []
    given = SimpleNamespace(path=secret, function=lambda: 1, kind=Path, module=os, items=items)
    folder = folder_of(tmp_path / "templates", report=text)
    template = Templates(folder=folder).get_template("report.html.j2")
    with pytest.raises(StudyError, match="line 1"):
        template.render(given=given, view=SimpleNamespace(images=secret), cite=report)
    assert secret.exists()
    assert not items


@pytest.mark.parametrize("name", ["../secret.html.j2", "/etc/hostname", "linked.html.j2"])
def test_nothing_outside_the_folder_is_included(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "secret.html.j2"
    outside.write_text("secret", encoding="utf-8")
    folder = folder_of(tmp_path / "templates", report=f'{{% include "{name}" %}}')
    (folder / "linked.html.j2").symlink_to(outside)
    with pytest.raises(StudyError):
        Templates(folder=folder).get_template("report.html.j2").render()


def test_a_folder_without_a_known_name_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such folder"):
        check_folder(tmp_path / "missing")
    with pytest.raises(StudyError, match=r"did you mean 'report\.html\.j2'"):
        check_folder(folder_of(tmp_path / "typo", reprot="x"))
    (tmp_path / "typo" / "report.css").write_bytes(b"\xff")
    with pytest.raises(StudyError, match=r"report\.css: byte 0 is not UTF-8"):
        check_folder(tmp_path / "typo")


def test_every_name_that_templates_are_given_is_described(small: Results) -> None:
    plain = set(Templates().globals)
    document = compose(View.of(small, images=None))
    seen: set[str] = set()

    class Watched(dict):  # type: ignore[type-arg]
        def update(self, *args: object, **kwargs: object) -> None:
            seen.update(*args, kwargs)
            super().update(*args, **kwargs)

    original = Templates.__init__

    def watched(self: Templates, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)  # type: ignore[arg-type]
        self.globals = Watched(self.globals)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Templates, "__init__", watched)
        fill(document, medium="html", paper="A4")
    assert seen - plain <= set(SHARED)
    filters = set(Templates().filters)
    used = {word for name in names() for word in re.findall(r"\|\s*(\w+)", source(name))}
    assert used & {"prose", "readable", "count", "percent"} <= set(FILTERS)
    assert filters


def source(name: str) -> str:
    templates = Templates()
    assert templates.loader is not None
    return templates.loader.get_source(templates, f"{OURS}/{name}")[0]


def test_what_is_listed_as_a_block_is_one() -> None:
    base = next(one for one in described() if one.name == "base.html.j2")
    assert {"title", "styles", "header", "contents", "main", "section"} <= set(base.blocks)
    for one in described():
        assert set(one.blocks) == set(re.findall(r"\{% block (\w+)", source(one.name)))


def test_the_command_line_takes_a_folder_and_says_its_mistakes(
    small: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**small.study, "report": {**small.study["report"], "formats": ["html"], "template": "looks"}}
    write_results(replace(small, study=settings), tmp_path / "out" / "results.json")
    command = ["report", str(tmp_path / "out" / "results.json")]
    assert _main(command) == 2
    assert "give their folder by --template" in capsys.readouterr().err
    folder_of(tmp_path / "looks", report="{{ nonsense }}")
    assert _main(command) == 2
    assert "looks/report.html.j2, line 1: 'nonsense' is undefined: correct the template" in capsys.readouterr().err
    folder_of(tmp_path / "given", report="given", appendix="given")
    assert _main([*command, "--template", str(tmp_path / "given")]) == 0
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == "given"


@pytest.mark.parametrize(
    ("template", "named"),
    [("sections/limitations", "sections/limitations.html.j2: "), ("base", ": ")],
)
def test_a_picture_that_is_no_pdf_is_said_with_the_file_that_gives_it(
    template: str, named: str, small: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(small, tmp_path / "out" / "results.json")
    picture = '<img src="data:application/pdf;base64,QUJD" alt="a">'
    base = '{% extends "ours/base.html.j2" %}{% block meta %}' + picture + "{% endblock %}"
    folder = folder_of(tmp_path / "looks", **{template.replace("/", "__"): base if template == "base" else picture})
    command = ["report", str(tmp_path / "out" / "results.json"), "--template", str(folder)]
    assert _main(command) == 2
    said = capsys.readouterr().err
    place = f"{folder}/{named}" if named[0] != ":" else f"{folder}{named}"
    assert f"{place}a picture of the template is no PDF of one page: give it as PNG, JPEG or SVG" in said
    assert "object at" not in said


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "{{ 7 * 7 }}",
        r"\input{/etc/passwd}",
        "R&D_model_α",
        "نموذج الأشعة",
        "long-" * 60,
    ],
)
def test_hostile_names_stay_text(name: str, small: Results) -> None:
    from html import escape

    regimes = tuple({**one, "description": name} for one in small.regimes)
    study = {**small.study, "study": {**small.study["study"], "title": name}}
    html = report(replace(small, regimes=regimes, study=study), None)
    assert html.count("<script>") == 1
    assert (
        f"<h1>{escape(name, quote=False)}</h1>" in html or f"<h1>{escape(name)}</h1>".replace("&#x27;", "&#39;") in html
    )
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", html)[0]


def test_the_page_on_templates_lists_what_they_have():
    page = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
    listed = page.partition("## What every template is given\n\n")[2]
    assert listed == reference(), "put what `cxrobust templates list --markdown` prints under the last heading"
