"""What fine-tuning does to the robustness of chest X-ray models: patient-level, paired, verifiable."""

from importlib.metadata import version

__version__ = version("cxrobust")
