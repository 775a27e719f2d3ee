"""``python -m cloister.cli``."""

from cloister.cli import main

main()
