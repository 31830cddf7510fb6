"""Text in Markdown: what a real reader of Markdown shows is the text, whatever it holds."""

import html
import json
import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cxrobust.reports.markdown import markdown
from cxrobust.reports.model_cards import model_card
from cxrobust.reports.view import View
from cxrobust.reports.words import readable

from .made import TYPICAL, results

TEXT = st.text(
    st.one_of(
        st.sampled_from("\\\\`*_{}[]()<>#|~$^!&@+-=.:/ 0123456789abxyz;\n\t"),
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]),
    ),
    max_size=24,
)


@given(TEXT)
@example("- item @someone www.a.example")
@example("1. one")
@example("12) two")
@example("===")
@example("a &lt;b&gt; &copy; <script>alert(1)</script>")
@example("[x](javascript:alert(1)) ![y](z)")
@example("Title\n# Heading")
@example("    code")
def test_what_is_shown_is_the_text(text: str) -> None:
    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown(text))
    wanted = " ".join(readable(text).split())
    paragraph = re.fullmatch(r"<p>(.*)</p>\n", shown, flags=re.DOTALL)
    assert (html.unescape(paragraph[1]) if paragraph else shown) == wanted
    assert paragraph is None or "<" not in paragraph[1]


@pytest.mark.parametrize("code", [*range(0x09), 0x0B, 0x1F, 0x7F, 0x80, 0x92, 0x9F, 0xFFFE])
def test_no_control_character_is_left_that_yaml_or_html_may_not_hold(code: int) -> None:
    made = results(TYPICAL)
    named = f"Hospital{chr(code)}s X-rays"
    whole = replace(made, data={**made.data, "name": named}, study=json.loads(json.dumps(made.study)))
    card = model_card(View.of(whole, images=None), "lora")
    (dataset,) = {one["dataset"]["name"] for one in yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]}
    assert dataset == "Hospital\N{REPLACEMENT CHARACTER}s X-rays"
