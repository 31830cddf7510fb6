"""A study as a folder or zip that a reviewer opens (RO-Crate), and what its reproduction finds."""

from cxrobust.registration import SUFFIX

STUDY, ENVIRONMENT, README, POWER, TEMPLATES = "study.toml", "environment.txt", "README.md", "power.csv", "templates"
REGISTRATION = f"study{SUFFIX}"
