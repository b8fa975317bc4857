"""The command line: options in, exit code out. Everything else lives below."""

from ai8xsim.cli.app import main

__all__ = ["main"]
