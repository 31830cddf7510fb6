"""A `[[regimes]]` table for each family of models, for `cxrobust init`."""
