"""Text that stays text in a Markdown file."""

import re

from cxrobust.reports.words import readable

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~$^!&@])")
_BULLET = re.compile(r"^([-+=])")
_NUMBER = re.compile(r"^(\d+)([.)])(?=\s|$)")
_ADDRESS = re.compile(r"(?i)(?<=\w)(:)(?=//)|(?<=\bwww)(\.)")


def markdown(text: str) -> str:
    r"""Return Markdown that prints a text as it is, in one line: no marks, no HTML, no list and no link by itself.

    Examples
    --------
    >>> markdown("a_b <i> | c")
    'a\\_b \\<i\\> \\| c'
    >>> markdown("- https://a.b"), markdown("1. one"), markdown("1.5 of 2")
    ('\\- https\\://a.b', '1\\. one', '1.5 of 2')
    """
    escaped = _MARKS.sub(r"\\\1", " ".join(readable(text).split()))
    escaped = _ADDRESS.sub(lambda mark: f"\\{mark[0]}", escaped)
    return _NUMBER.sub(r"\1\\\2", _BULLET.sub(r"\\\1", escaped))
