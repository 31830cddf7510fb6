"""The folder `paper/`: tables, figures, numbers, methods and references as a manuscript in LaTeX takes them.

Its words are those of the report: the same templates are filled, and what they give is converted.
"""
