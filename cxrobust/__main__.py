"""`python -m cxrobust` is the command line."""

from cxrobust.cli import main

main()
