"""The works that the methods rest on: the printed list and BibTeX from one record, numbered in the order of citing."""

from markupsafe import Markup

from cxrobust.reports.attack_works import WORKS_OF_ATTACKS
from cxrobust.reports.words import readable
from cxrobust.reports.works import Quoted, Work

DATA = "data"
"""Key of the data set's own citation, which the results bring."""

WORKS = {
    "altman1995": Work(
        kind="article",
        authors="Altman DG, Bland JM",
        title="Absence of evidence is not evidence of absence",
        venue="BMJ",
        year=1995,
        volume="311",
        pages="485",
        doi="10.1136/bmj.311.7003.485",
    ),
    "brier1950": Work(
        kind="article",
        authors="Brier GW",
        title="Verification of forecasts expressed in terms of probability",
        venue="Monthly Weather Review",
        year=1950,
        volume="78",
        number="1",
        pages="1–3",
        doi="10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2",
    ),
    "carlini2019": Work(
        kind="misc",
        authors="Carlini N, Athalye A, Papernot N, et al",
        title="On evaluating adversarial robustness",
        year=2019,
        arxiv="1902.06705",
    ),
    "collins2024": Work(
        kind="article",
        authors="Collins GS, Moons KGM, Dhiman P, et al",
        title="TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use regression or "
        "machine learning methods",
        venue="BMJ",
        year=2024,
        volume="385",
        pages="e078378",
        doi="10.1136/bmj-2023-078378",
    ),
    "delong1988": Work(
        kind="article",
        authors="DeLong ER, DeLong DM, Clarke-Pearson DL",
        title="Comparing the areas under two or more correlated receiver operating characteristic curves: a "
        "nonparametric approach",
        venue="Biometrics",
        year=1988,
        volume="44",
        number="3",
        pages="837–845",
        doi="10.2307/2531595",
    ),
    "efron1993": Work(
        kind="book",
        authors="Efron B, Tibshirani RJ",
        title="An Introduction to the Bootstrap",
        venue="Chapman & Hall",
        year=1993,
        doi="10.1201/9780429246593",
    ),
    "field2007": Work(
        kind="article",
        authors="Field CA, Welsh AH",
        title="Bootstrapping clustered data",
        venue="Journal of the Royal Statistical Society B",
        year=2007,
        volume="69",
        number="3",
        pages="369–390",
        doi="10.1111/j.1467-9868.2007.00593.x",
    ),
    "goodfellow2015": Work(
        kind="inproceedings",
        authors="Goodfellow IJ, Shlens J, Szegedy C",
        title="Explaining and harnessing adversarial examples",
        venue="ICLR",
        year=2015,
        arxiv="1412.6572",
    ),
    "hesterberg2015": Work(
        kind="article",
        authors="Hesterberg TC",
        title="What teachers should know about the bootstrap: resampling in the undergraduate statistics curriculum",
        venue="American Statistician",
        year=2015,
        volume="69",
        number="4",
        pages="371–386",
        doi="10.1080/00031305.2015.1089789",
    ),
    "hoenig2001": Work(
        kind="article",
        authors="Hoenig JM, Heisey DM",
        title="The abuse of power: the pervasive fallacy of power calculations for data analysis",
        venue="American Statistician",
        year=2001,
        volume="55",
        number="1",
        pages="19–24",
        doi="10.1198/000313001300339897",
    ),
    "hendrycks2019": Work(
        kind="inproceedings",
        authors="Hendrycks D, Dietterich T",
        title="Benchmarking neural network robustness to common corruptions and perturbations",
        venue="ICLR",
        year=2019,
        arxiv="1903.12261",
    ),
    "holm1979": Work(
        kind="article",
        authors="Holm S",
        title="A simple sequentially rejective multiple test procedure",
        venue="Scandinavian Journal of Statistics",
        year=1979,
        volume="6",
        number="2",
        pages="65–70",
        url="https://www.jstor.org/stable/4615733",
    ),
    "kim2020": Work(
        kind="misc",
        authors="Kim H",
        title="Torchattacks: a PyTorch repository for adversarial attacks",
        year=2020,
        arxiv="2010.01950",
    ),
    "madry2018": Work(
        kind="inproceedings",
        authors="Madry A, Makelov A, Schmidt L, Tsipras D, Vladu A",
        title="Towards deep learning models resistant to adversarial attacks",
        venue="ICLR",
        year=2018,
        arxiv="1706.06083",
    ),
    "naeini2015": Work(
        kind="article",
        authors="Naeini MP, Cooper GF, Hauskrecht M",
        title="Obtaining well calibrated probabilities using Bayesian binning",
        venue="Proceedings of the AAAI Conference on Artificial Intelligence",
        year=2015,
        volume="29",
        number="1",
        doi="10.1609/aaai.v29i1.9602",
    ),
    "obuchowski1997": Work(
        kind="article",
        authors="Obuchowski NA",
        title="Nonparametric analysis of clustered ROC curve data",
        venue="Biometrics",
        year=1997,
        volume="53",
        number="2",
        pages="567–578",
        doi="10.2307/2533958",
    ),
    "neurips2025": Work(
        kind="misc",
        authors="Neural Information Processing Systems Foundation",
        title="NeurIPS paper checklist",
        year=2025,
        url="https://neurips.cc/public/guides/PaperChecklist",
    ),
    "phipson2010": Work(
        kind="article",
        authors="Phipson B, Smyth GK",
        title="Permutation p-values should never be zero: calculating exact p-values when permutations are randomly "
        "drawn",
        venue="Statistical Applications in Genetics and Molecular Biology",
        year=2010,
        volume="9",
        pages="39",
        doi="10.2202/1544-6115.1585",
    ),
    "sounderajah2025": Work(
        kind="article",
        authors="Sounderajah V, Guni A, Liu X, et al",
        title="The STARD-AI reporting guideline for diagnostic accuracy studies using artificial intelligence",
        venue="Nature Medicine",
        year=2025,
        volume="31",
        number="10",
        pages="3283–3289",
        doi="10.1038/s41591-025-03953-8",
    ),
    "tejani2024": Work(
        kind="article",
        authors="Tejani AS, Klontzas ME, Gatti AA, et al",
        title="Checklist for artificial intelligence in medical imaging (CLAIM): 2024 update",
        venue="Radiology: Artificial Intelligence",
        year=2024,
        volume="6",
        number="4",
        pages="e240300",
        doi="10.1148/ryai.240300",
    ),
    "youden1950": Work(
        kind="article",
        authors="Youden WJ",
        title="Index for rating diagnostic tests",
        venue="Cancer",
        year=1950,
        volume="3",
        number="1",
        pages="32–35",
        doi="10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3",
    ),
    **WORKS_OF_ATTACKS,
}


class Citations:
    """The works that one document cites, numbered as they come."""

    def __init__(self, *, data: str = "", title: str = "") -> None:
        """Know the works above, and under `DATA` the data set's own citation, where it has one."""
        self._known: dict[str, Work | Quoted] = dict(WORKS)
        if data:
            self._known[DATA] = Quoted(printed=readable(data), title=readable(title))
        self._order: dict[str, int] = {}

    def cite(self, *keys: str) -> Markup:
        """Return the superscript numbers of works, and remember them for the list of references.

        The data set is cited where it has a citation.
        """
        cited = [key for key in keys if key != DATA or DATA in self._known]
        for key in cited:
            if key not in self._known:
                raise KeyError(f"no work {key!r} in the bibliography")
            self._order.setdefault(key, len(self._order) + 1)
        links = [Markup('<a href="#ref-{0}">{1}</a>').format(key, self._order[key]) for key in cited]
        return Markup("<sup class='cite'>{}</sup>").format(Markup(",").join(links)) if links else Markup("")

    def works(self) -> list[tuple[str, str]]:
        """Return (key, text) of every work cited so far, in the order of its number."""
        return [(key, self._known[key].printed) for key in self._order]

    def has(self, key: str) -> bool:
        """Say whether a work has been cited so far."""
        return key in self._order

    def known(self, key: str) -> Work | Quoted:
        """Return one work."""
        return self._known[key]
