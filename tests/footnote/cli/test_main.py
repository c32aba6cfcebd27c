import json
import os
import subprocess
import sys
from pathlib import Path

FOOTNOTE = str(Path(sys.executable).with_name("footnote"))


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FOOTNOTE, *arguments], capture_output=True, text=True, check=False, env=os.environ | environment, timeout=60
    )


def test_help_names_every_command() -> None:
    done = _run("--help")

    assert done.returncode == 0
    for command in ("up", "doctor", "ingest", "status", "delete", "acl", "user", "group", "tenant", "key", "directory"):
        assert f"  {command} " in done.stdout
    for command in ("search", "ask", "bench"):
        assert f"  {command} " in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['footnote', '--help']\n"
        "from footnote.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'openvino', 'fastapi', 'sqlalchemy', 'numpy', 'pydantic', 'httpx', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"


def test_wrong_usage_ends_with_2_and_as_json_where_asked() -> None:
    assert _run("search").returncode == 2
    assert _run("nonsense").returncode == 2
    done = _run("search", "x", "--limit", "-1", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_a_server_without_a_key_is_a_clear_error() -> None:
    done = _run("--json", "status", FOOTNOTE_URL="http://127.0.0.1:9", FOOTNOTE_API_KEY="")

    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "unauthenticated"
