"""`python -m footnote`: the command line."""

from footnote.cli import main

if __name__ == "__main__":
    main()
