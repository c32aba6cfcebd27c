"""Parsing and drawing of hostile files in short-lived child processes. Importing this imports no parser."""

from ingestion.sandbox.limits import ParserLimits
from ingestion.sandbox.pages import PageSandbox
from ingestion.sandbox.parser import ParsedResult, ParserSandbox

__all__ = ["PageSandbox", "ParsedResult", "ParserLimits", "ParserSandbox"]
