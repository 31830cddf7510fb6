"""Paired cluster sign-flip test: the null is that a contrast is 0, patients being exchangeable with their mirror image.

Each patient contributes d_i to a contrast, Σ d_i being the estimate. Under "no change", or for a
difference-in-differences "no interaction", d_i is as likely as −d_i, so the estimate is compared with the sum of
s_i d_i over random signs s. Sums over images split exactly; for rank metrics d_i is the patient's influence plus its
share of the estimate. Studentising by the spread of s_i d_i does not change the order of the absolute sums, hence not
the p-value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.intervals import ROUNDING
from cxrobust.analysis.lanes import load, store
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.resampling import in_whole_lines

SIGNS: NDArray[np.float64] = np.where(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), -1.0, 1.0)
"""(256, 8): the signs that the bits of a byte stand for."""
MOST_SIGNS = 62
"""Patients whose sign patterns a 64-bit number counts."""
TOGETHER = 4
"""Patients whose sums under each of their 16 sign patterns are looked up."""
COLUMNS = 32
"""Columns side by side that are looked up at once."""
FOURS_AT_ONCE = 6
"""Fours of patients whose tables of sums stay together in the cache nearest to a core."""
DEPENDENT = 1e-10
"""Share of the variance of a sum below which it is what rounding leaves beside the others."""
Sums = Sequence[Sequence[tuple[int, float]]]
"""Each hypothesis as (which column, weight) of the columns whose weighted sum is 0 under it."""


def sign_flip_p_values(
    contributions: NDArray[np.float64], *, n_draws: int, rng: np.random.Generator, sums: Sums | None = None
) -> NDArray[np.float64]:
    """Two-sided p-values of the hypotheses that the columns' sums are 0; in (0, 1].

    Exact over all 2^n sign patterns of the n patients who contribute to a hypothesis when these are no more than
    `n_draws`, since the others' signs change nothing; else (hits + 1) / (draws + 1) over random ones (Phipson and
    Smyth 2010, doi:10.2202/1544-6115.1585); never 0. `n_exact_signs` says which.

    Parameters
    ----------
    contributions
        (n_patients, n_columns).
    n_draws
        Random sign patterns, shared by all hypotheses that are not exact.
    sums
        Hypotheses on weighted sums of columns; each column by itself when absent. Many contrasts are sums of few
        columns, and signs are flipped once for each column.

    Examples
    --------
    >>> sign_flip_p_values(np.array([[1.0], [2.0], [3.0]]), n_draws=1000, rng=np.random.default_rng(0))
    array([0.25])
    """
    hypotheses = _single(contributions) if sums is None else sums
    is_drawn = n_exact_signs(contributions, n_draws=n_draws, sums=hypotheses) < 0
    found = np.empty(len(hypotheses))
    for i in map(int, np.flatnonzero(~is_drawn)):
        found[i] = _exact_p_value(contributions, hypotheses[i])
    if is_drawn.any():
        drawn = [hypotheses[i] for i in map(int, np.flatnonzero(is_drawn))]
        found[is_drawn] = _drawn_p_values(contributions, drawn, n_draws=n_draws, rng=rng)
    return found


def n_exact_signs(contributions: NDArray[np.float64], *, n_draws: int, sums: Sums | None = None) -> NDArray[np.int64]:
    """Count the patients whose signs an exact test of each hypothesis goes over; −1 where signs are drawn.

    These are the patients who contribute more than rounding, 1e-12 of the largest contributions to what is summed.

    Examples
    --------
    >>> d = np.append([1.0, 2.0, 3.0], np.zeros(97))
    >>> n_exact_signs(np.stack([d, np.ones(100)], axis=1), n_draws=1000)
    array([ 3, -1])
    """
    hypotheses = _single(contributions) if sums is None else sums
    columns = np.ascontiguousarray(contributions.T)
    largest = np.maximum(columns.max(axis=1), -columns.min(axis=1))
    first, column, weight = _flat(hypotheses)
    bound = ROUNDING * np.add.reduceat(np.abs(weight) * largest[column], first[:-1])
    most = min(n_draws.bit_length() - 1, MOST_SIGNS)
    return np.asarray(_n_beyond(columns, first, column, weight, bound, most))


def _single(contributions: NDArray[np.float64]) -> Sums:
    """Return the hypotheses that each column's sum is 0."""
    return [[(column, 1.0)] for column in range(contributions.shape[1])]


def _flat(hypotheses: Sums) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return where the terms of each hypothesis begin, and column and weight of each term."""
    first = np.cumsum([0, *(len(one) for one in hypotheses)])
    column = np.array([column for one in hypotheses for column, _ in one], np.intp)
    return first, column, np.array([weight for one in hypotheses for _, weight in one], np.float64)


@numba.njit(cache=True, nogil=True)
def _n_beyond(columns: Any, first: Any, column: Any, weight: Any, bound: Any, most: Any) -> Any:
    """Count the patients whose part of each hypothesis is beyond its bound; −1 where these are more than `most`."""
    found = np.zeros(len(bound), np.int64)
    for i in range(len(bound)):
        for patient in range(columns.shape[1]):
            part = 0.0
            for term in range(first[i], first[i + 1]):
                part += weight[term] * columns[column[term], patient]
            found[i] += abs(part) > bound[i]
            if found[i] > most:
                found[i] = -1
                break
    return found


def _exact_p_value(contributions: NDArray[np.float64], hypothesis: Sequence[tuple[int, float]]) -> float:
    """Share of the sign patterns of those who contribute whose absolute sum is no smaller than the sample's."""
    parts = np.sum([weight * contributions[:, column] for column, weight in hypothesis], axis=0)
    rounding = ROUNDING * sum(abs(weight) * np.abs(contributions[:, column]).max() for column, weight in hypothesis)
    found, kept = np.zeros(1), parts[np.abs(parts) > rounding]
    for part in kept:
        found = np.concatenate([found + part, found - part])
    return float(np.mean(np.abs(found) >= abs(found[0]) - len(kept) * rounding))


def _drawn_p_values(
    contributions: NDArray[np.float64], hypotheses: Sums, *, n_draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (hits + 1) / (draws + 1) of each hypothesis over the same random sign patterns."""
    total, size = contributions.sum(axis=0), np.abs(contributions).sum(axis=0)
    first, column, weight = _flat(hypotheses)
    observed = np.abs(np.add.reduceat(weight * total[column], first[:-1]))
    rounding = np.add.reduceat(np.abs(weight) * size[column], first[:-1])
    bound = observed - ROUNDING * np.maximum(rounding, 1e-300)
    hits, n = np.zeros(len(hypotheses)), 0
    for n_patterns, bits in _random_bits(len(contributions), n_draws, rng):
        _add_hits(_flipped(contributions, bits, n_patterns), first, column, weight, bound, hits)
        n += n_patterns
    return np.asarray((hits + 1) / (n + 1))


def _flipped(contributions: NDArray[np.float64], bits: NDArray[np.uint8], n_patterns: int) -> NDArray[np.float64]:
    """Sum each column under each sign pattern, (n_columns, n_patterns), on all cores.

    Four patients have 16 sign patterns, whose sums are made once and looked up in all patterns (Arlazarov et al. 1970,
    the "Four Russians"): a quarter of the additions of a product of matrices, and no multiplication.
    """
    n_patients, n_columns = contributions.shape
    fours = np.empty((n_patterns, -(-n_patients // TOGETHER)), np.uint8)
    _fill_fours(np.append(bits, np.uint8(0)), n_patients, fours)
    out = np.empty((n_columns, n_patterns))

    def fill(first: int) -> None:
        some = contributions[:, first : first + COLUMNS]
        padded = np.zeros((TOGETHER * fours.shape[1], COLUMNS))
        padded[:n_patients, : some.shape[1]] = some
        sums = in_whole_lines((n_patterns, COLUMNS), np.float64)
        _look_up(fours, padded, in_whole_lines((FOURS_AT_ONCE * 2**TOGETHER, COLUMNS), np.float64), sums)
        out[first : first + COLUMNS] = sums.T[: some.shape[1]]

    in_threads(fill, range(0, n_columns, COLUMNS))
    return out


@numba.njit(cache=True, nogil=True)
def _fill_fours(bits: Any, n_patients: Any, fours: Any) -> None:
    """Fill `fours` (n_patterns, n_fours) with the bits of four patients each as a number, that of the first highest.

    `bits` are in bytes, and one byte more. Beyond a pattern's last patient stand bits that nothing is made of.
    """
    for pattern in range(fours.shape[0]):
        for four in range(fours.shape[1]):
            first = pattern * n_patients + TOGETHER * four
            byte = np.uint64(first // 8)
            both = np.int64(bits[byte]) * 256 + np.int64(bits[byte + np.uint64(1)])
            fours[pattern, four] = (both >> (16 - TOGETHER - first % 8)) % 2**TOGETHER


@numba.njit(cache=True, nogil=True)
def _look_up(fours: Any, contributions: Any, table: Any, out: Any) -> None:
    """Add to `out` (n_patterns, COLUMNS) the sums of contributions (n_patients, COLUMNS) under each sign pattern.

    `table` is for work: the sums of some fours of patients under each of their sign patterns.
    """
    n_fours = fours.shape[1]
    for start in range(0, n_fours, FOURS_AT_ONCE):
        end = min(start + FOURS_AT_ONCE, n_fours)
        for four in range(start, end):
            for signs in range(2**TOGETHER):
                for column in range(COLUMNS):
                    total = 0.0
                    for place in range(TOGETHER):
                        part = contributions[TOGETHER * four + place, column]
                        total += -part if signs >> (TOGETHER - 1 - place) & 1 else part
                    table[2**TOGETHER * (four - start) + signs, column] = total
        for pattern in range(fours.shape[0]):
            total = load(out, np.uint32(pattern), 0, COLUMNS)
            for four in range(start, end):
                row = 2**TOGETHER * (four - start) + fours[np.uint64(pattern), np.uint64(four)]
                total = total + load(table, np.uint32(row), 0, COLUMNS)
            store(out[pattern], 0, total)


@numba.njit(cache=True, nogil=True)
def _add_hits(flipped: Any, first: Any, column: Any, weight: Any, bound: Any, hits: Any) -> None:
    """Count the sign patterns in which each hypothesis' sum is no smaller in size than its bound, and add to `hits`.

    Terms from first[i] on are hypothesis i's; `flipped` is (n_columns, n_patterns).
    """
    total = np.empty(flipped.shape[1])
    for i in range(len(bound)):
        total[:] = 0.0
        for term in range(first[i], first[i + 1]):
            row, w = flipped[column[term]], weight[term]
            for pattern in range(len(total)):
                total[pattern] += w * row[pattern]
        n = 0
        for pattern in range(len(total)):
            n += abs(total[pattern]) >= bound[i]
        hits[i] += n


@dataclass(frozen=True, kw_only=True, slots=True)
class Joint:
    """Outcome of one hypothesis that several sums are 0 together."""

    statistic: float
    """T² = Dᵀ (Σ d dᵀ)⁻¹ D of the sums D = Σ d, over patients."""
    p_value: float
    """In (0, 1]."""
    n_exact: int
    """Patients whose sign patterns are all counted; −1 where patterns are drawn."""


def joint_sign_flips(
    contributions: NDArray[np.float64], *, n_draws: int, rng: np.random.Generator
) -> tuple[Joint, ...]:
    """Test of each hypothesis that its sums are 0 together, by flipping a patient's signs in all of them at once.

    T² of the sample is compared with that of the sums under each sign pattern. Σ d dᵀ is the same under all of them, so
    the test is exact where a patient's contributions are together as likely as their negatives; of one sum it is
    `sign_flip_p_values`. Sums that follow from the others count once: the inverse is Moore and Penrose's, of the sums
    each divided by √Σ d², without directions whose share of the variance is less than `DEPENDENT`.

    Parameters
    ----------
    contributions
        (n_hypotheses, n_sums, n_patients).
    n_draws
        Random sign patterns, the same for all hypotheses that are not exact, as those of `sign_flip_p_values`.

    Examples
    --------
    >>> d = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    >>> (one,) = joint_sign_flips(d[None], n_draws=1000, rng=np.random.default_rng(0))
    >>> round(one.statistic, 3), one.p_value, one.n_exact  # 6² / (1 + 4 + 9), and the second sum is twice the first
    (2.571, 0.25, 3)
    """
    n_hypotheses, n_sums, n_patients = contributions.shape
    parts = np.stack([_whitened(one) for one in contributions])
    observed = np.linalg.norm(parts.sum(axis=2), axis=1)
    bound = observed - ROUNDING * np.linalg.norm(parts, axis=1).sum(axis=1)
    moving = [_moving(one) for one in contributions]
    exact = np.array([is_exact(len(some), n_draws=n_draws) for some in moving])
    hits = np.zeros(n_hypotheses)
    for i in map(int, np.flatnonzero(exact)):
        signs = np.concatenate(list(sign_patterns(len(moving[i]), n_draws=n_draws, rng=rng)))
        hits[i] = np.mean(np.linalg.norm(signs @ parts[i][:, moving[i]].T, axis=1) >= bound[i])
    if not exact.all():
        drawn = np.flatnonzero(~exact)
        columns = parts[drawn].reshape(-1, n_patients).T
        for n_patterns, bits in _random_bits(n_patients, n_draws, rng):
            sums = _flipped(columns, bits, n_patterns).reshape(len(drawn), n_sums, n_patterns)
            hits[drawn] += (np.linalg.norm(sums, axis=1) >= bound[drawn, None]).sum(axis=1)
        hits[drawn] = (hits[drawn] + 1) / (n_draws + 1)
    return tuple(
        Joint(statistic=float(t**2), p_value=float(p), n_exact=len(some) if counted else -1)
        for t, p, some, counted in zip(observed, hits, moving, exact, strict=True)
    )


def _whitened(contributions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return contributions (n_sums, n_patients) so combined that Σ d dᵀ is the identity, or 0 where nothing is left."""
    size = np.linalg.norm(contributions, axis=1, keepdims=True)
    scaled = contributions / np.where(size > 0, size, 1)
    values, vectors = np.linalg.eigh(scaled @ scaled.T)
    kept = values > DEPENDENT * len(values)
    return np.asarray((vectors * np.where(kept, 1 / np.sqrt(np.where(kept, values, 1)), 0)).T @ scaled)


def _moving(contributions: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the patients who contribute more than rounding to one of the sums."""
    size = np.abs(contributions)
    return np.flatnonzero((size > ROUNDING * size.max(axis=1, keepdims=True)).any(axis=0))


def max_t_p_values(
    contributions: NDArray[np.float64], *, n_draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """P-values of the hypotheses that the columns' sums are 0, adjusted for their number by step-down max-T.

    Westfall and Young 1993 (ISBN 978-0-471-55761-6): each sum is divided by √Σ d², the largest is compared with the
    largest of all under the same signs, the next with the largest of the others, and so on; adjusted p-values never
    fall along the way. The dependence of the hypotheses is that of the data. Exact where all sign patterns of the
    patients who contribute to any of them are no more than `n_draws`.

    Parameters
    ----------
    contributions
        (n_patients, n_hypotheses); a column of zeros has p = 1.

    Examples
    --------
    >>> d = np.array([[1.0, 1.0], [2.0, -1.0], [3.0, 0.5]])
    >>> max_t_p_values(d, n_draws=1000, rng=np.random.default_rng(0))
    array([0.5, 1. ])
    """
    size = np.abs(contributions)
    contributing = contributions[(size > ROUNDING * size.max(axis=0)).any(axis=1)]
    exact = is_exact(len(contributing), n_draws=n_draws)
    used = contributing if exact else contributions
    spread = np.sqrt((used**2).sum(axis=0))
    studentized = used / np.where(spread > 0, spread, 1)
    order = np.argsort(-np.abs(studentized.sum(axis=0)), kind="stable")
    studentized = studentized[:, order]
    observed = np.abs(studentized.sum(axis=0))
    bound = observed - ROUNDING * np.maximum(np.abs(studentized).sum(axis=0), 1e-300)
    hits, total = np.zeros(len(order)), 0
    for signs in sign_patterns(len(used), n_draws=n_draws, rng=rng):
        flipped = np.abs(signs @ studentized)
        hits += (np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1] >= bound).sum(axis=0)
        total += len(signs)
    stepped = np.maximum.accumulate(hits / total if exact else (hits + 1) / (total + 1))
    found = np.empty(len(order))
    found[order] = stepped
    return np.where(spread > 0, found, 1.0)


def is_exact(n_patients: int, *, n_draws: int) -> bool:
    """Whether all sign patterns of so few patients are counted rather than drawn."""
    return n_patients <= MOST_SIGNS and 2**n_patients <= n_draws


def sign_patterns(n_patients: int, *, n_draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Yield sign patterns, 1 or −1 for each patient, some at a time, (n_patterns, n_patients): all where so few."""
    exact = is_exact(n_patients, n_draws=n_draws)
    yield from _all_signs(n_patients) if exact else _random_signs(n_patients, n_draws, rng)


def _all_signs(n_patients: int) -> Iterator[NDArray[np.float64]]:
    numbers = np.arange(2**n_patients)[:, None]
    yield np.asarray(1 - 2 * ((numbers >> np.arange(n_patients)) & 1), dtype=np.float64)


def _random_signs(n_patients: int, n_draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    for n_patterns, bits in _random_bits(n_patients, n_draws, rng):
        yield SIGNS[bits].reshape(-1)[: n_patterns * n_patients].reshape(-1, n_patients)


def _random_bits(n_patients: int, n_draws: int, rng: np.random.Generator) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield some sign patterns at a time: how many, and the bits of one after another, in bytes."""
    step = max(1, 2**22 // n_patients)
    for first in range(0, n_draws, step):
        n_patterns = min(step, n_draws - first)
        yield n_patterns, np.frombuffer(rng.bytes(-(-n_patterns * n_patients // 8)), np.uint8)
