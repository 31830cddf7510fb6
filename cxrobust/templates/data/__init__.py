"""The [data] tables that `cxrobust init` writes, one for each kind."""
