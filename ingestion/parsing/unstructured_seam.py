"""The one place that imports `unstructured`, after its telemetry, advert and model download have been taken away.

To tell narrative text from other text it tags every paragraph with a spaCy model, which it would fetch from the net
at first use, and it looks for addresses among them. To us all of these are paragraphs: it is told that none is anything
else, which saves a third of the time, and spaCy itself (60 MB of memory, 0.8 s) is never loaded.
"""

import os
import sys
from functools import cache
from types import ModuleType
from typing import Any

from docx.oxml import xmlchemy
from docx.oxml.ns import nsmap
from lxml import etree  # type: ignore[import-untyped]  # it ships no types

os.environ.update(UNSTRUCTURED_DISABLE_NOTICE="1", DO_NOT_TRACK="1", SCARF_NO_ANALYTICS="true")
# Its annotations name spaCy's types and nothing else does, as long as the loader below is replaced.
sys.modules.setdefault("spacy", ModuleType("spacy"))

import unstructured.nlp.tokenize  # noqa: E402 - the lines above must come first
import unstructured.partition.docx  # noqa: E402
import unstructured.partition.html.parser  # noqa: E402
from unstructured.documents.elements import Element as Found  # noqa: E402
from unstructured.partition.docx import partition_docx  # noqa: E402
from unstructured.partition.html import partition_html  # noqa: E402


def _no_model() -> None:
    raise RuntimeError("unstructured asks for its language model, which is not to be downloaded")


def _is_not(text: str) -> bool:  # noqa: ARG001 - whatever it says
    return False


unstructured.nlp.tokenize._load_spacy_model = _no_model  # noqa: SLF001 - the only place that loads it
for _partition in (unstructured.partition.docx, unstructured.partition.html.parser):
    for _kind in ("is_possible_narrative_text", "is_us_city_state_zip", "is_email_address"):
        setattr(_partition, _kind, _is_not)


@cache
def _compiled(expression: str) -> Any:  # noqa: ANN401 - lxml ships no types
    return etree.XPath(expression, namespaces=nsmap)


def _xpath(element: Any, expression: str) -> Any:  # noqa: ANN401 - the same
    return _compiled(expression)(element)


# `unstructured` asks python-docx for the same few paths at every paragraph, and each time it would compile them anew: a
# quarter of what a long Word document takes.
xmlchemy.BaseOxmlElement.xpath = _xpath  # type: ignore[method-assign, assignment]  # on purpose

__all__ = ["Found", "partition_docx", "partition_html"]
