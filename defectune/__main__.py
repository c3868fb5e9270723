"""`python -m defectune`."""

from defectune.cli import main

main()
