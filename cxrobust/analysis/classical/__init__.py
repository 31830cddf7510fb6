"""Classical tests, intervals and effect sizes, each in its plain form and, where one exists, for images in patients."""
