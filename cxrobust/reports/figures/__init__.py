"""Figures: each module draws one kind from results and returns it as SVG text."""
