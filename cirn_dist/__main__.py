"""`python -m cirn_dist`, what launchers start on every rank."""

from cirn_dist.cli.app import main

main()
