"""Slow, plain implementations from the definitions, to hold the fast ones against; no code of the package is used."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
from sklearn.metrics import roc_auc_score

BINS = 15


def placed(positive, negative):
    """Mann-Whitney kernel: 1 when the positive scores higher, 1/2 for a tie, 0 otherwise."""
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def auroc(p, y, weights=None):
    """Probability that a positive outscores a negative, over all pairs; NaN where a class is absent."""
    weights = [1] * len(p) if weights is None else weights
    positives = [(p[i], weights[i]) for i in range(len(p)) if y[i] == 1 and weights[i] > 0]
    negatives = [(p[i], weights[i]) for i in range(len(p)) if y[i] == 0 and weights[i] > 0]
    if not positives or not negatives:
        return math.nan
    won = sum(int(u) * int(v) * placed(a, b) for a, u in positives for b, v in negatives)
    return won / (sum(int(u) for _, u in positives) * sum(int(v) for _, v in negatives))


def sklearn_auroc(cell, weights):
    """scikit-learn's weighted AUROC; NaN where a class has no weight."""
    kept = weights > 0
    if len(set(cell.labels[kept].tolist())) < 2:
        return math.nan
    return float(roc_auc_score(cell.labels[kept], cell.probabilities[kept], sample_weight=weights[kept]))


def mean(values, weights=None):
    """Weighted mean; NaN where nothing is left."""
    weights = [1] * len(values) if weights is None else [int(w) for w in weights]
    total = sum(weights)
    return math.nan if total == 0 else math.fsum(v * w for v, w in zip(values, weights, strict=True)) / total


def accuracy(p, y, threshold, weights=None):
    each = threshold if isinstance(threshold, list) else [threshold] * len(p)
    return mean([float((a >= t) == (b == 1)) for a, b, t in zip(p, y, each, strict=True)], weights)


def sure(probability):
    """Confidence of the decimal that a probability is written as, to 14 decimals, in exact fractions."""
    p = Fraction(repr(float(probability)))
    return round(max(p, 1 - p), 14)


def confidence(p, weights=None):
    return mean([max(a, 1.0 - a) for a in p], weights)


def brier(p, y, weights=None):
    return mean([(a - b) ** 2 for a, b in zip(p, y, strict=True)], weights)


def bin_of(probability):
    """Which of the equal-width bins [low, high) holds a probability, the last one closed: edges are k/15 as floats."""
    edges = [float(edge) for edge in np.linspace(0.0, 1.0, BINS + 1)]
    for b in range(BINS - 1):
        if edges[b] <= probability < edges[b + 1]:
            return b
    return BINS - 1


def ece(p, y, weights=None):
    """Mean over bins, weighted by their images, of |mean probability - fraction positive|."""
    weights = [1] * len(p) if weights is None else [int(w) for w in weights]
    total = sum(weights)
    if total == 0:
        return math.nan
    gap = [0.0] * BINS
    for a, b, w in zip(p, y, weights, strict=True):
        gap[bin_of(a)] += w * (a - b)
    return math.fsum(abs(one) for one in gap) / total


def youden(p, y):
    """Every threshold t (positive: p >= t) with the largest sensitivity + specificity - 1, in exact fractions."""
    n_positive = sum(1 for b in y if b == 1)
    n_negative = sum(1 for b in y if b == 0)
    reached = {}
    for t in [*sorted(set(p)), math.inf]:
        hits = sum(1 for a, b in zip(p, y, strict=True) if b == 1 and a >= t)
        rejections = sum(1 for a, b in zip(p, y, strict=True) if b == 0 and a < t)
        reached[t] = Fraction(hits, n_positive) + Fraction(rejections, n_negative) - 1
    return [t for t, j in reached.items() if j == max(reached.values())]


def components(p, y):
    """DeLong 1988: for each positive the share of negatives below it, for each negative that of positives above."""
    positives = [a for a, b in zip(p, y, strict=True) if b == 1]
    negatives = [a for a, b in zip(p, y, strict=True) if b == 0]
    v10 = [mean([placed(a, b) for b in negatives]) for a in positives]
    v01 = [mean([placed(a, b) for a in positives]) for b in negatives]
    return v10, v01


def delong_variance(p, y):
    """DeLong 1988, eq. 4 and 5: S10 / m + S01 / n."""
    v10, v01 = components(p, y)
    theta = mean(v10)
    s10 = math.fsum((v - theta) ** 2 for v in v10) / (len(v10) - 1)
    s01 = math.fsum((v - theta) ** 2 for v in v01) / (len(v01) - 1)
    return s10 / len(v10) + s01 / len(v01)


def obuchowski_variance(p, y, patients):
    """Obuchowski 1997, eq. 4: variance of one AUROC where a patient may have positive and negative images."""
    v10, v01 = components(p, y)
    theta = mean(v10)
    sums10, sums01, m, n = {}, {}, {}, {}
    positive, negative = iter(v10), iter(v01)
    for label, patient in zip(y, patients, strict=True):
        if label == 1:
            sums10[patient] = sums10.get(patient, 0.0) + next(positive)
            m[patient] = m.get(patient, 0) + 1
        else:
            sums01[patient] = sums01.get(patient, 0.0) + next(negative)
            n[patient] = n.get(patient, 0) + 1
    everyone = sorted(set(patients))
    i10, i01, i = len(m), len(n), len(everyone)
    a = {one: sums10.get(one, 0.0) - m.get(one, 0) * theta for one in everyone}
    b = {one: sums01.get(one, 0.0) - n.get(one, 0) * theta for one in everyone}
    n_positive, n_negative = len(v10), len(v01)
    s10 = i10 / ((i10 - 1) * n_positive) * math.fsum(a[one] ** 2 for one in m)
    s01 = i01 / ((i01 - 1) * n_negative) * math.fsum(b[one] ** 2 for one in n)
    s11 = i / (i - 1) * math.fsum(a[one] * b[one] for one in everyone)
    return s10 / n_positive + s01 / n_negative + 2 * s11 / (n_positive * n_negative)


def jackknife_variance(statistic, patients):
    """(n - 1) / n times the spread of the statistic of a mask of images over leaving one patient out."""
    patients = np.asarray(patients)
    left = [statistic(patients != one) for one in sorted(set(patients.tolist()))]
    centre = mean(left)
    return (len(left) - 1) / len(left) * math.fsum((one - centre) ** 2 for one in left)


def sign_flip_exact(contributions):
    """Share of all 2^n sign patterns whose |sum| is at least the observed one, up to rounding."""
    observed = abs(math.fsum(contributions))
    slack = 1e-9 * math.fsum(abs(c) for c in contributions)
    sums = [
        abs(math.fsum(s * c for s, c in zip(signs, contributions, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(contributions))
    ]
    return sum(1 for one in sums if one >= observed - slack) / len(sums)


def sign_flip_monte_carlo(contributions, *, draws, seed):
    """(1 + hits) / (1 + draws) with independent fair signs."""
    contributions = np.asarray(contributions, dtype=float)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(contributions)))
    slack = 1e-9 * np.abs(contributions).sum()
    hits = int((np.abs(signs @ contributions) >= abs(contributions.sum()) - slack).sum())
    return (1 + hits) / (1 + draws)


def holm(p_values):
    """R's p.adjust(method = "holm"): cummax of (n - i + 1) p(i), capped at 1, in the given order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, largest)
    return adjusted


def auroc_contributions(p, y, patients, n_patients):
    """Per patient: sum over its images of influence (DeLong) plus part of the class of fewer patients."""
    v10, v01 = components(p, y)
    theta, of_class = mean(v10), []
    for label in (0, 1):
        images = Counter(patient for one, patient in zip(y, patients, strict=True) if one == label).values()
        of_class.append(sum(images) ** 2 / sum(m**2 for m in images))
    carrying = 1 if of_class[1] <= of_class[0] else 0
    positive, negative = iter(v10), iter(v01)
    found = [0.0] * n_patients
    for label, patient in zip(y, patients, strict=True):
        each, n = (next(positive), len(v10)) if label == 1 else (next(negative), len(v01))
        found[patient] += (each - theta) / n + (theta / n if label == carrying else 0)
    return found


def mean_contributions(scores, patients, n_patients):
    """Per patient: the sum of its scores over the number of all images."""
    found = [0.0] * n_patients
    for score, patient in zip(scores, patients, strict=True):
        found[patient] += score / len(scores)
    return found


def ece_contributions(p, y, patients, n_patients):
    """Per patient: p - y of its images, with the sign of the whole bin's sum, over the number of all images."""
    gap = [0.0] * BINS
    for a, b in zip(p, y, strict=True):
        gap[bin_of(a)] += a - b
    found = [0.0] * n_patients
    for a, b, patient in zip(p, y, patients, strict=True):
        found[patient] += (a - b) * float(np.sign(gap[bin_of(a)])) / len(p)
    return found
