"""Radiology reports as text: labels and scores of what a radiologist or a generator wrote."""
