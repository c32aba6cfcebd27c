"""The chat page is served as plain files."""

import re

import pytest
from starlette.testclient import TestClient

from api.static_files import FOLDER, MEDIA_TYPES


def test_the_page_is_there_for_everybody(shared_client: TestClient) -> None:
    response = shared_client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", sorted(path.name for path in FOLDER.iterdir() if path.is_file()))
def test_every_file_is_served_with_its_type_and_an_etag(path: str, shared_client: TestClient) -> None:
    response = shared_client.get(f"/static/{path}")
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPES["." + path.rsplit(".", 1)[1]]
    assert response.headers["cache-control"] == "no-cache"
    again = shared_client.get(f"/static/{path}", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


def test_everything_that_the_pages_name_is_there(shared_client: TestClient) -> None:
    for page in ("/", "/sign-in"):
        text = shared_client.get(page).text
        for path in re.findall(r'(?:src|href)="(/static/[^"#]+)', text):
            assert shared_client.get(path).status_code == 200, path


@pytest.mark.parametrize("path", ["..%2fapp.py", "%2e%2e/app.py", "nonsense.js", "%2fetc%2fpasswd", ""])
def test_nothing_else_is_served(path: str, shared_client: TestClient) -> None:
    assert shared_client.get(f"/static/{path}").status_code == 404
