"""`python -m ai8xsim` is the command line."""

from ai8xsim.cli import main

if __name__ == "__main__":
    main()
