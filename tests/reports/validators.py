"""What validators of PDF/A and PDF/UA say of a file, and what these are known not to know."""

from pathlib import Path

import pytest

NOT_PERMITTED = "ISO_19005_3:6.6.2.3.1-1"
UNKNOWN_TO_PIKEPDF = {
    # a schema of one's own is described by these three (ISO 19005-3, 6.6.2.3.3); pikepdf allows the predefined alone
    (NOT_PERMITTED, "XMP namespace pdfaExtension=http://www.aiim.org/pdfa/ns/extension/ is not permitted"),
    (NOT_PERMITTED, "XMP namespace pdfaSchema=http://www.aiim.org/pdfa/ns/schema# is not permitted"),
    (NOT_PERMITTED, "XMP namespace pdfaProperty=http://www.aiim.org/pdfa/ns/property# is not permitted"),
    (NOT_PERMITTED, "XMP property pdfaExtension:schemas is not permitted"),
    (NOT_PERMITTED, "XMP property pdfuaid:part is not permitted"),
    # level A holds all of level B (5.3), the highest that pikepdf checks
    ("ISO_19005_3:6.6.4-3", "pdfaid:conformance is 'A', expected 'B'"),
}
NOT_EVALUATED_BY_PDFUA = {"UA-14-001"}
"""Whether headings are empty: 0.1.3 stops at one that holds more than one thing."""


def found_by_pikepdf(path: Path) -> set[tuple[str, str]]:
    """Return rule and message of each finding against PDF/A-3b."""
    pytest.importorskip("jsonschema")
    pytest.importorskip("referencing")
    from pikepdf import pdfa

    return {(one.rule, one.message) for one in pdfa.validate_written(path, "3b").findings}


def found_by_pdfua(path: Path) -> list[object]:
    """Return findings against PDF/UA-1, and the rules that were not evaluated though they can be."""
    pdfua = pytest.importorskip("pdfua")
    said = pdfua.validate(str(path))
    return [*said.findings, *({one.rule_id for one in said.outcomes if one.skipped} - NOT_EVALUATED_BY_PDFUA)]
