"""``python -m personascope.cli``."""

from personascope.cli import main

main()
