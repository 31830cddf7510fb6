"""A study as a folder or zip that a reviewer opens (RO-Crate), and what its reproduction finds."""
