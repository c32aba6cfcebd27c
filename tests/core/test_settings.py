from pathlib import Path

import pytest
from pydantic import SecretStr

from core.settings import Settings, settings_as_told, told_settings


def test_told_settings_are_the_same_wherever_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is unset stays unset, too: an environment that sets it has no say."""
    (tmp_path / "quiet").mkdir()
    monkeypatch.chdir(tmp_path / "quiet")
    settings = Settings(data=Path("there"), embed_threads=3, openai_api_key=SecretStr("hidden"))
    told = told_settings(settings)
    assert "\n" not in told
    assert len(told) < 60_000  # A pipe takes so much at once.

    (tmp_path / "loud").mkdir()
    monkeypatch.chdir(tmp_path / "loud")
    for name in Settings.model_fields:
        monkeypatch.setenv(f"FOOTNOTE_{name.upper()}", "7")
    Path(".env").write_text("FOOTNOTE_BROKER_URL=redis://elsewhere\nFOOTNOTE_LOG_LEVEL=debug\n")
    Path("footnote.toml").write_text('qdrant_url = "http://elsewhere"\n')

    read = settings_as_told(told)
    assert read == settings
    assert read.openai_api_key is not None
    assert read.openai_api_key.get_secret_value() == "hidden"
    assert read.database_url is None
