"""Names of the files in a folder of predictions, for what should not load what reads tables."""

INDEX = "index.json"
IMAGES = "images.parquet"
VALIDATION_IMAGES = "validation.parquet"
