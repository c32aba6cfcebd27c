from pathlib import Path

import httpx

from footnote.datadir import DataDirectory
from footnote.signing_in import sign_in_link
from tests.footnote.served import Branch


def test_the_link_signs_the_owner_in_once(branch: Branch, url: str, tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    directory.write_owner_key(branch.secrets["owner"])

    link = sign_in_link(directory, url)

    assert link.startswith(f"{url}/")
    assert branch.secrets["owner"] not in link
    token = httpx.URL(link).params["token"]
    headers = {"Origin": url}
    with httpx.Client(base_url=url, trust_env=False) as browser:
        assert browser.get(link).is_success  # Looking at the page spends nothing.
        signed_in = browser.post("/sign-in", data={"token": token}, headers=headers)
        assert signed_in.status_code == 303
        assert browser.get("/v1/documents").is_success
    with httpx.Client(base_url=url, trust_env=False) as thief:
        assert thief.post("/sign-in", data={"token": token}, headers=headers).status_code == 401
        assert thief.get("/v1/documents").status_code == 401
