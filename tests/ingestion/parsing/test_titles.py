import pytest

from ingestion.parsing.titles import sensible_title


@pytest.mark.parametrize("title", ["Travel policy 2024", "Größe", "Über uns"])
def test_titles_that_people_write_are_kept(title: str) -> None:
    assert sensible_title(f" {title}\n") == title


@pytest.mark.parametrize(
    "title",
    [None, "", "untitled", "Microsoft Word - a.doc", "PowerPoint Presentation", "report.pdf", "12-34", "x" * 300],
)
def test_titles_that_programs_write_are_not(title: str | None) -> None:
    assert sensible_title(title) is None
