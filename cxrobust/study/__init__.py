"""The study file: what is compared, on which images, under which perturbations, and how it is analysed."""

from cxrobust.study.reading import parse_study, read_scores, read_study
from cxrobust.study.record import EXECUTORS_OF, ComputeSection, Format, ReportSection, Study, StudySection

__all__ = [
    "EXECUTORS_OF",
    "ComputeSection",
    "Format",
    "ReportSection",
    "Study",
    "StudySection",
    "parse_study",
    "read_scores",
    "read_study",
]
