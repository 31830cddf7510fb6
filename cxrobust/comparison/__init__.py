"""What changed between two runs of a study: paired tests where the images are the same, tables, documents."""
