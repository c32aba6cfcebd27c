"""Conventions of the project that would otherwise live in somebody's head."""

import re
from importlib.metadata import distributions
from pathlib import Path

import click
from pydantic_core import PydanticUndefined

from core.settings import Settings
from footnote.cli.main import _COMMANDS, cli

ROOT = Path(__file__).parents[1]
PACKAGES = ("footnote", "api", "ingestion", "evaluation", "generation", "retrieval", "core", "migrations")


def env_example() -> str:
    """Return what `.env.example` must hold: every setting with its meaning and default."""
    lines = [
        "# Every setting of Footnote with its default. Copy to `.env`, or set in the environment or footnote.toml."
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else field.default
        lines += ["", f"# {field.description}", f"# FOOTNOTE_{name.upper()}={default}"]
    return "\n".join(lines) + "\n"


def test_env_example_lists_every_setting_with_its_default() -> None:
    assert (ROOT / ".env.example").read_text() == env_example()


def test_no_other_distribution_owns_our_package_names() -> None:
    owners = {
        distribution.metadata["Name"]
        for distribution in distributions()
        for file in distribution.files or ()
        if file.parts and file.parts[0] in PACKAGES and file.suffix == ".py"
    }
    assert owners <= {"footnote-rag"}


def test_every_pin_is_exact() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]

    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^=\s]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


def test_every_command_takes_the_global_options_and_has_help() -> None:
    context = click.Context(cli)
    for name in _COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
        for one in commands:
            assert {"data", "read_as", "as_json"} <= {parameter.name for parameter in one.params}, (name, one.name)
            assert one.help, (name, one.name)


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}

    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_documents_that_the_readme_names_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text())

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
