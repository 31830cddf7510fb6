"""Text to LaTeX: whatever a name holds is printed, and nothing of it is obeyed."""

import re
import unicodedata
from collections.abc import Mapping
from itertools import groupby

from cxrobust.reports.words import readable

PREAMBLE = (
    r"\providecommand{\cxregime}[1]{\textsf{#1}}",
    r"\providecommand{\cxscript}[2]{\ifx\Umathcode\undefined #2\else #1\fi}",
)
"""What our text needs: the face of a regime's name; a name in a script that pdfLaTeX has no letters for, and instead."""

_MATHS = {
    "−": "-", "×": r"\times", "±": r"\pm", "·": r"\cdot", "≥": r"\geq", "≤": r"\leq", "≠": r"\neq", "≈": r"\approx",
    "→": r"\rightarrow", "←": r"\leftarrow", "↑": r"\uparrow", "↓": r"\downarrow", "∞": r"\infty", "√": r"\surd",
    "∑": r"\sum", "∈": r"\in", "Δ": r"\Delta", "∂": r"\partial",
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon", "ζ": r"\zeta", "η": r"\eta",
    "θ": r"\theta", "ι": r"\iota", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "µ": r"\mu", "ν": r"\nu",
    "ξ": r"\xi", "ο": "o", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "ς": r"\varsigma", "τ": r"\tau",
    "υ": r"\upsilon", "φ": r"\varphi", "χ": r"\chi", "ψ": r"\psi", "ω": r"\omega", "ϵ": r"\epsilon",
    "Γ": r"\Gamma", "Θ": r"\Theta", "Λ": r"\Lambda", "Ξ": r"\Xi", "Π": r"\Pi", "Σ": r"\Sigma",
    "Υ": r"\Upsilon", "Φ": r"\Phi", "Ψ": r"\Psi", "Ω": r"\Omega",
}  # fmt: skip
_LETTERS = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True))
"""Greek capitals that look as Latin ones do, which LaTeX has no command for."""
_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "–": "--", "—": "---", "’": "'", "‘": r"\textquoteleft{}",
    "“": "``", "”": "''", "…": r"\ldots{}", "\N{NO-BREAK SPACE}": "~", "\N{NARROW NO-BREAK SPACE}": r"\,",
    "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "°": r"\textdegree{}", "•": r"\textbullet{}",
    "¹": r"\textsuperscript{1}", "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}", "-": "-{}", ",": ",{}",
    "\N{REPLACEMENT CHARACTER}": "?", "\N{ZERO WIDTH SPACE}": "", "\N{SOFT HYPHEN}": r"\-",
}  # fmt: skip
_ESCAPES: Mapping[str, str] = {
    **{character: rf"\ensuremath{{{command}}}" for character, command in _MATHS.items()},
    **{character: rf"\ensuremath{{\mathrm{{{letter}}}}}" for character, letter in _LETTERS.items()},
    **_TEXT,
}


class Latex(str):
    """A text that is LaTeX already."""

    __slots__ = ()


def escape(text: str) -> Latex:
    r"""Return LaTeX that prints a text; line ends become spaces.

    A script that pdfLaTeX has no letters for is written twice: as it is, for LuaLaTeX and XeLaTeX, and as the code points
    of its characters.

    Examples
    --------
    >>> escape(r"50% of \input{x_1} & −0.1")
    '50\\% of \\textbackslash{}input\\{x\\_1\\} \\& \\ensuremath{-}0.1'
    """
    if isinstance(text, Latex):
        return text
    clean = unicodedata.normalize("NFC", " ".join(readable(text).splitlines()))
    runs = ((known, "".join(run)) for known, run in groupby(clean, key=_is_known))
    escaped = "".join("".join(_ESCAPES.get(one, one) for one in run) if known else _script(run) for known, run in runs)
    return Latex(re.sub(r"([-,])\{\}(?!\1)", r"\1", escaped))


def _is_known(character: str) -> bool:
    """Whether pdfLaTeX has it: ASCII, what is escaped, Latin-1 and the accented letters beyond it."""
    if character in _ESCAPES or character.isascii() or "\xa1" <= character <= "\xff":
        return True
    accented = unicodedata.decomposition(character)
    return character <= "\u017e" and (character in "ıŁłŒœĐđŊŋ" or (bool(accented) and accented[0] != "<"))


def _script(text: str) -> str:
    if not text.strip():
        return " "
    points = " ".join(f"U+{ord(character):04X}" for character in text)
    return rf"\cxscript{{{text}}}{{[{points}]}}"


def label(key: str) -> str:
    """Return a key as labels and names of files hold it: letters, digits and hyphens.

    Examples
    --------
    >>> label("conditions-coverage-at-risk-2.5-1")
    'conditions-coverage-at-risk-2-5-1'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", key).strip("-")
