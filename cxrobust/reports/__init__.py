"""From results to documents: figures, tables and sentences, filled into the templates; no estimate is computed here."""

from cxrobust.reports.render import render

__all__ = ["render"]
