"""The version, on a floor of its own: every room may say it, and none has to import the whole package for that."""

__version__ = "0.2.0"
