"""Works that the methods rest on, numbered in the order in which a document cites them."""

from markupsafe import Markup

WORKS = {
    "altman1995": "Altman DG, Bland JM. Absence of evidence is not evidence of absence. BMJ 1995;311:485. "
    "doi:10.1136/bmj.311.7003.485",
    "brier1950": "Brier GW. Verification of forecasts expressed in terms of probability. Monthly Weather Review "
    "1950;78(1):1–3. doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2",
    "delong1988": "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver "
    "operating characteristic curves: a nonparametric approach. Biometrics 1988;44(3):837–845. doi:10.2307/2531595",
    "efron1993": "Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993. "
    "doi:10.1201/9780429246593",
    "field2007": "Field CA, Welsh AH. Bootstrapping clustered data. Journal of the Royal Statistical Society B "
    "2007;69(3):369–390. doi:10.1111/j.1467-9868.2007.00593.x",
    "goodfellow2015": "Goodfellow IJ, Shlens J, Szegedy C. Explaining and harnessing adversarial examples. ICLR 2015. "
    "arXiv:1412.6572",
    "hesterberg2015": "Hesterberg TC. What teachers should know about the bootstrap: resampling in the undergraduate "
    "statistics curriculum. American Statistician 2015;69(4):371–386. doi:10.1080/00031305.2015.1089789",
    "hendrycks2019": "Hendrycks D, Dietterich T. Benchmarking neural network robustness to common corruptions and "
    "perturbations. ICLR 2019. arXiv:1903.12261",
    "holm1979": "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics "
    "1979;6(2):65–70. https://www.jstor.org/stable/4615733",
    "kim2020": "Kim H. Torchattacks: a PyTorch repository for adversarial attacks. 2020. arXiv:2010.01950",
    "madry2018": "Madry A, Makelov A, Schmidt L, Tsipras D, Vladu A. Towards deep learning models resistant to "
    "adversarial attacks. ICLR 2018. arXiv:1706.06083",
    "naeini2015": "Naeini MP, Cooper GF, Hauskrecht M. Obtaining well calibrated probabilities using Bayesian binning. "
    "Proceedings of the AAAI Conference on Artificial Intelligence 2015;29(1). doi:10.1609/aaai.v29i1.9602",
    "obuchowski1997": "Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics "
    "1997;53(2):567–578. doi:10.2307/2533958",
    "phipson2010": "Phipson B, Smyth GK. Permutation p-values should never be zero: calculating exact p-values when "
    "permutations are randomly drawn. Statistical Applications in Genetics and Molecular Biology 2010;9:39. "
    "doi:10.2202/1544-6115.1585",
    "youden1950": "Youden WJ. Index for rating diagnostic tests. Cancer 1950;3(1):32–35. "
    "doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3",
}


class Citations:
    """The works that one document cites, numbered as they come."""

    def __init__(self) -> None:
        self._order: dict[str, int] = {}

    def cite(self, *keys: str) -> Markup:
        """Return the superscript numbers of works, and remember them for the list of references."""
        for key in keys:
            if key not in WORKS:
                raise KeyError(f"no work {key!r} in the bibliography")
            self._order.setdefault(key, len(self._order) + 1)
        links = [Markup('<a href="#ref-{0}">{1}</a>').format(key, self._order[key]) for key in keys]
        return Markup("<sup class='cite'>{}</sup>").format(Markup(",").join(links))

    def works(self) -> list[tuple[str, str]]:
        """Return (key, text) of every work cited so far, in the order of its number."""
        return [(key, WORKS[key]) for key in self._order]
