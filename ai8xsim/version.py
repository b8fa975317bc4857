"""The version, in one place: build, command line and reports read it from here."""

__version__ = "0.1.0"
