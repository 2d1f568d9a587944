"""`python -m vecsv` is the `vecsv` command."""

from vecsv.cli.app import main

main()
