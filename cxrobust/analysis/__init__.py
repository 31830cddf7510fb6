"""Estimates from predictions: pure functions of arrays, with patients as the sampling unit.

Nothing here reads files, knows models or writes documents.
"""

from cxrobust.analysis.study import Analysis, analyze

__all__ = ["Analysis", "analyze"]
