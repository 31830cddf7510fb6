"""The papers' formulas, term by term in plain loops; no code of the package is used."""

import math
from statistics import NormalDist


def normal_p(z):
    return 2 * (1 - NormalDist().cdf(abs(z)))


def placed(positive, negative):
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def obuchowski_covariance(labels, first, second, patients):
    """Obuchowski 1997: covariance of two AUROCs of the same images."""
    positives = [i for i, label in enumerate(labels) if label == 1]
    negatives = [i for i, label in enumerate(labels) if label == 0]
    everyone = sorted(set(patients))
    big_m, big_n = len(positives), len(negatives)
    i10 = len({patients[i] for i in positives})
    i01 = len({patients[i] for i in negatives})
    i_all = len(everyone)
    theta, of_positives, of_negatives = [], [], []
    for scores in (first, second):
        theta.append(math.fsum(placed(scores[i], scores[j]) for i in positives for j in negatives) / (big_m * big_n))
        x, y = dict.fromkeys(everyone, 0.0), dict.fromkeys(everyone, 0.0)
        for i in positives:
            x[patients[i]] += math.fsum(placed(scores[i], scores[j]) for j in negatives) / big_n - theta[-1]
        for j in negatives:
            y[patients[j]] += math.fsum(placed(scores[i], scores[j]) for i in positives) / big_m - theta[-1]
        of_positives.append(x)
        of_negatives.append(y)
    (x1, x2), (y1, y2) = of_positives, of_negatives
    s10 = i10 / ((i10 - 1) * big_m) * math.fsum(x1[k] * x2[k] for k in everyone)
    s01 = i01 / ((i01 - 1) * big_n) * math.fsum(y1[k] * y2[k] for k in everyone)
    s11 = i_all / (i_all - 1) * math.fsum(x1[k] * y2[k] for k in everyone)
    s11_other = i_all / (i_all - 1) * math.fsum(x2[k] * y1[k] for k in everyone)
    return s10 / big_m + s01 / big_n + (s11 + s11_other) / (big_m * big_n)


def contrast_variance(labels, scores, weights, patients):
    """w'Σw with every covariance apart."""
    return math.fsum(
        u * v * obuchowski_covariance(labels, one, other, patients)
        for one, u in zip(scores, weights, strict=True)
        for other, v in zip(scores, weights, strict=True)
    )


def durkalski(first, second, patients):
    """Durkalski et al. 2003: [Σ (b_k − c_k) / n_k]² / Σ [(b_k − c_k) / n_k]²."""
    top, bottom = 0.0, 0.0
    for one in sorted(set(patients)):
        mine = [(f, s) for f, s, p in zip(first, second, patients, strict=True) if p == one]
        b = sum(1 for f, s in mine if f and not s)
        c = sum(1 for f, s in mine if s and not f)
        top += (b - c) / len(mine)
        bottom += ((b - c) / len(mine)) ** 2
    return top**2 / bottom


def obuchowski_1998(first, second, patients):
    """Obuchowski 1998: the difference of proportions over its variance under the pooled proportion."""
    everyone = sorted(set(patients))
    k, n = len(everyone), len(patients)
    pooled = (sum(first) + sum(second)) / (2 * n)
    variance = 0.0
    for sign, one, other in ((1, first, first), (1, second, second), (-2, first, second)):
        total = 0.0
        for patient in everyone:
            mine = [i for i in range(n) if patients[i] == patient]
            x = sum(one[i] for i in mine) - len(mine) * pooled
            y = sum(other[i] for i in mine) - len(mine) * pooled
            total += x * y
        variance += sign * k / (k - 1) * total / n**2
    return ((sum(first) - sum(second)) / n) ** 2 / variance


def yang_2010(first, second, patients):
    """Yang, Sun and Hardin 2010, modified Obuchowski test: the mean of two variances, about δ and about 0."""
    everyone = sorted(set(patients))
    k, n = len(everyone), len(patients)
    delta = (sum(first) - sum(second)) / n
    spread = 0.0
    for patient in everyone:
        mine = [i for i in range(n) if patients[i] == patient]
        d = sum(first[i] - second[i] for i in mine)
        spread += ((d - len(mine) * delta) ** 2 + d**2) / 2
    return (k - 1) / k * (n * delta) ** 2 / spread


def midrank(values, value):
    return sum(1 for v in values if v < value) + (sum(1 for v in values if v == value) + 1) / 2


def rosner_glynn_lee(differences, patients):
    """Rosner, Glynn and Lee 2006, the statistic for unequal cluster sizes, as Jiang et al. 2020 (clusrank) write it."""
    kept = [(d, p) for d, p in zip(differences, patients, strict=True) if d != 0]
    sizes = [abs(d) for d, _ in kept]
    groups = {}
    for d, p in kept:
        groups.setdefault(p, []).append(math.copysign(midrank(sizes, abs(d)), d))
    every = [s for group in groups.values() for s in group]
    m, total = len(groups), len(every)
    grand = math.fsum(every) / total
    mean = {p: math.fsum(group) / len(group) for p, group in groups.items()}
    sigma2 = math.fsum((s - mean[p]) ** 2 for p, group in groups.items() for s in group) / (total - m)
    g0 = (total - sum(len(group) ** 2 for group in groups.values()) / total) / (m - 1)
    between = math.fsum(len(group) * (mean[p] - grand) ** 2 for p, group in groups.items()) / (m - 1)
    sigma2_a = max((between - sigma2) / g0, 0.0)
    rho = sigma2_a / (sigma2_a + sigma2)
    rho = min(1.0, rho * (1 + (1 - rho**2) / (m - 2.5)))
    variance = math.fsum((s - grand) ** 2 for s in every) / (total - 1)
    weight = {p: len(group) / (variance * (1 + (len(group) - 1) * rho)) for p, group in groups.items()}
    t = math.fsum(weight[p] * mean[p] for p in groups)
    return t / math.sqrt(math.fsum((weight[p] * mean[p]) ** 2 for p in groups))


def cochran_q(rows):
    """Cochran 1950: (k − 1) (k Σ C_j² − T²) / (k T − Σ R_i²)."""
    k = len(rows[0])
    columns = [sum(row[j] for row in rows) for j in range(k)]
    of_rows = [sum(row) for row in rows]
    total = sum(columns)
    return (k - 1) * (k * sum(c**2 for c in columns) - total**2) / (k * total - sum(x**2 for x in of_rows))
