"""`python -m cnnjobs ...`: the command line without its script."""

from cnnjobs.cli import main

if __name__ == "__main__":
    main()
