"""What a verdict says, for tests."""

from cxrobust.verification.verdict import Check, Verdict

OWN_WORD = "dates, machine, wall time and command"
"""What is told of every document not to be checked."""


def found(verdict: Verdict, what: str) -> Check:
    return next(one for one in verdict.checks if one.what == what)


def differing(verdict: Verdict) -> set[str]:
    return {one.what for one in verdict.checks if one.status == "differs"}
