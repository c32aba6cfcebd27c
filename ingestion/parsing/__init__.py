"""Parsing: bytes of a known type -> canonical text and what is known about its ranges.

This package's own module is light: the parsers, with what they import, are loaded by `ingestion.parsing.parse`, which
only the sandbox's server imports.
"""

from ingestion.parsing.failures import ParseFailed

# Part of every stage result's key and of the index id: raise it when any parser gives another text for the same bytes.
PARSER_VERSION = "1"

__all__ = ["PARSER_VERSION", "ParseFailed"]
