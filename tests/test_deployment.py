"""What can be known of Dockerfile and docker-compose.yml without an engine: that they are whole, sealed, and ours."""

import re
import shlex
import shutil
import socket
import stat
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import uvicorn
import yaml  # type: ignore[import-untyped]  # it ships no types
from pydantic import SecretStr
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from api.metrics import RequestMetrics
from api.middleware import RequestContext, RequestGuard
from core import settings as settings_module
from core.settings import Settings
from footnote import container_health
from footnote.cli.main import cli
from footnote.topology.servers import free_port
from ingestion.celery_worker import checked_queues
from tests.e2e.conftest import clean_environment

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ADDITIONS = ("docker-compose.s3.yml", "docker-compose.openai.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
FOREIGN_VARIABLES = {
    "FOOTNOTE_TARGET",
    "FOOTNOTE_PUBLISH",
    "FOOTNOTE_CPU_EMBEDDERS",
}  # Of the compose file itself, not of the program.
INSTRUCTIONS = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"} | {
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def _stages() -> dict[str, list[tuple[str, str]]]:
    stages: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for instruction, rest in _instructions():
        if instruction == "FROM":
            _, _, alias = rest.partition(" AS ")
            name = alias or "default"
        stages.setdefault(name, []).append((instruction, rest))
    return stages


def _composer() -> list[str] | None:
    """The command that checks a compose file against the specification's schema, where this machine has one."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    return None


@pytest.mark.skipif(_composer() is None, reason="no docker compose here (Debian: docker-compose)")
def test_the_compose_file_is_valid_by_the_specification() -> None:
    _composed()


@pytest.mark.skipif(_composer() is None, reason="no docker compose here (Debian: docker-compose)")
def test_a_bucket_and_a_chat_model_are_named_outside_the_files_and_their_keys_are_secrets() -> None:
    plain = _composed()
    assert plain["api"]["environment"]["FOOTNOTE_BLOBS"] == "/blobs"
    given = {
        "FOOTNOTE_BLOBS": "s3://bucket/prefix",
        "FOOTNOTE_S3_ENDPOINT": "https://s3.example.org",
        "FOOTNOTE_S3_ACCESS_KEY": "access",
        "FOOTNOTE_CHAT_MODEL": "openai:large",
        "FOOTNOTE_OPENAI_BASE_URL": "https://models.example.org/v1",
    }
    services = _composed(*ADDITIONS, **given)
    for name in OURS:
        if name not in services:  # The profile of the GPU is not on.
            continue
        theirs = given if name == "api" else {key: given[key] for key in list(given)[:3]}
        assert theirs.items() <= services[name]["environment"].items()
        secrets = {one["source"] for one in services[name]["secrets"]}
        assert secrets > {one["source"] for one in plain[name]["secrets"]}
        assert "footnote_s3_secret_key" in secrets
        assert ("footnote_openai_api_key" in secrets) is (name == "api")


def test_what_is_added_are_files_with_secrets_that_are_settings() -> None:
    for name in ADDITIONS:
        added = yaml.safe_load((ROOT / name).read_text())
        for service, parts in added["services"].items():
            assert service in OURS
            assert set(parts) == {"secrets"}
            assert set(parts["secrets"]) == set(added["secrets"])
        for secret, source in added["secrets"].items():
            assert secret.removeprefix("footnote_") in Settings.model_fields
            assert source == {"file": f"./secrets/{secret}"}
    s3 = yaml.safe_load((ROOT / "docker-compose.s3.yml").read_text())
    assert set(s3["services"]) == set(OURS), "every process reads files"


def _composed(*additions: str, **environment: str) -> dict[str, Any]:
    """What docker compose makes of the files: its services."""
    files = [part for name in ("docker-compose.yml", *additions) for part in ("-f", str(ROOT / name))]
    done = subprocess.run(
        [*(_composer() or []), *files, "config"],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(**environment),
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


def test_the_database_is_healthy_when_it_answers_over_the_network() -> None:
    """On its socket it answers earlier: to the scripts that make it, and then it starts anew."""
    assert "--host=127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"]


def test_the_services_are_those_of_the_distributed_mode() -> None:
    assert set(SERVICES) == {"postgres", "redis", "qdrant", *OURS}
    assert set(OURS) == {"api", "worker-parse", "worker-embed", "worker-embed-gpu", "worker-index", "beat"}
    assert {name for name, service in SERVICES.items() if service.get("profiles")} == {"worker-embed-gpu"}
    worked = [queue for service in OURS.values() for queue in _queues(service["command"])]
    assert set(worked) == {"parse", "embed", "index", "maintenance"}


def test_the_lines_for_a_gpu_worker_leave_no_other_worker_beside_it() -> None:
    """Two copies of one model, and of one of them a container that has no room for it."""
    assert SERVICES["worker-embed"]["scale"] == "${FOOTNOTE_CPU_EMBEDDERS:-1}"
    assert SERVICES["worker-embed-gpu"]["profiles"] == ["gpu"]
    pages = (ROOT / "docs" / "operating.md").read_text()
    (block,) = re.findall(r"```\n(COMPOSE_PROFILES=.*?)```", pages, flags=re.DOTALL)
    lines = dict(line.split("=") for line in block.splitlines())
    assert (lines["COMPOSE_PROFILES"], lines["FOOTNOTE_CPU_EMBEDDERS"]) == ("gpu", "0")
    assert lines["FOOTNOTE_TARGET"] in _stages()
    assert lines["FOOTNOTE_EMBEDDER"].startswith("sentence-transformers:/models/")


@pytest.mark.skipif(_composer() is None, reason="no docker compose here (Debian: docker-compose)")
def test_with_a_gpu_worker_the_other_one_is_not_started() -> None:
    assert _composed()["worker-embed"].get("scale", 1) == 1
    services = _composed(FOOTNOTE_CPU_EMBEDDERS="0", COMPOSE_PROFILES="gpu")
    assert (services["worker-embed"].get("scale", 0), "worker-embed-gpu" in services) == (0, True)


def test_the_example_of_a_model_that_is_mounted_gives_it_to_every_process() -> None:
    """Each checks at its start that it has the model."""
    pages = (ROOT / "docs" / "operating.md").read_text()
    (example,) = re.findall(r"```yaml\n(services:.*?)```", pages, flags=re.DOTALL)
    mounted = yaml.safe_load(example)["services"]
    assert set(mounted) == set(OURS)
    assert all(service == {"volumes": ["./models:/models:ro"]} for service in mounted.values())


def _queues(command: list[str]) -> tuple[str, ...]:
    return checked_queues(command[command.index("--queues") + 1]) if "--queues" in command else ()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_sealed_limited_and_looked_after(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "not root"
    assert service["restart"] == "unless-stopped"
    assert service["pids_limit"] > 0
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert not {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices"} & set(service)
    assert ":latest" not in service["image"]
    assert ":" in service["image"]


def test_nothing_but_the_api_is_reached_from_or_reaches_outside() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if service["networks"] != ["inside"]} == {"api"}
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    assert SERVICES["api"]["ports"] == ["${FOOTNOTE_PUBLISH:-127.0.0.1:8080}:8080"]


def test_everything_that_is_written_is_in_a_named_volume_or_in_memory() -> None:
    named = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}

    assert named == set(COMPOSE["volumes"])
    assert all(volume.split(":")[1].startswith("/") for service in SERVICES.values() for volume in service["volumes"])
    own = [volume for service in OURS.values() for volume in service["volumes"] if volume.endswith(":/data")]
    assert len(own) == len(set(own)) == len(OURS), "each process has a data directory of its own"


def test_every_variable_is_a_setting_of_ours() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()
    settings = {f"FOOTNOTE_{name.upper()}" for name in Settings.model_fields}

    named = set(re.findall(r"FOOTNOTE_[A-Z0-9_]+", text))
    assert named <= settings | FOREIGN_VARIABLES, named - settings - FOREIGN_VARIABLES
    for service in OURS.values():
        assert set(service["environment"]) <= settings
        for secret in service["secrets"]:
            assert secret.upper() in settings


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_is_one_of_ours_as_it_stands(name: str) -> None:
    arguments = [str(part) for part in OURS[name]["command"]]
    command = cli.get_command(click.Context(cli), arguments[0])

    assert command is not None
    command.make_context(arguments[0], arguments[1:])
    _queues(arguments)


def test_there_is_no_password_in_the_files() -> None:
    secret = re.compile(r"PASSWORD|SECRET|API_?KEY|TOKEN\b|DATABASE_URL|BROKER_URL")
    given = [(name, value) for service in SERVICES.values() for name, value in service.get("environment", {}).items()]
    for instruction, rest in _instructions():
        if instruction in {"ENV", "ARG"}:
            given += [(pair.partition("=")[0], pair.partition("=")[2]) for pair in rest.split()]
    assert [(name, value) for name, value in given if secret.search(name) and not name.endswith("_FILE")] == []
    for file in ("docker-compose.yml", *ADDITIONS, "Dockerfile"):
        assert not re.search(r"://[^/\s]*:[^/\s]*@", (ROOT / file).read_text()), file
    assert not any("requirepass" in str(part) for part in SERVICES["redis"]["command"])
    assert "POSTGRES_PASSWORD" not in SERVICES["postgres"]["environment"]
    used = {
        secret if isinstance(secret, str) else secret["source"]
        for service in SERVICES.values()
        for secret in service["secrets"]
    }
    assert used == set(COMPOSE["secrets"])


def test_secrets_are_made_random_and_private_and_are_read_as_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "secrets"
    for _ in range(2):  # A second run changes nothing.
        subprocess.run(["sh", ROOT / "scripts" / "make-secrets", folder], check=True, capture_output=True)
        made = {file.name: file.read_text() for file in folder.iterdir()}
    subprocess.run(["sh", ROOT / "scripts" / "make-secrets", tmp_path / "others"], check=True, capture_output=True)

    assert set(made) == {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(made[name] != (tmp_path / "others" / name).read_text() for name in made)
    monkeypatch.setattr(settings_module, "SECRETS", folder)
    settings = Settings()
    password = made["postgres_password"]
    assert settings.database_url == f"postgresql+psycopg://footnote:{password}@postgres/footnote"
    assert isinstance(settings.broker_url, SecretStr)
    assert made["redis_conf"] == f"requirepass {settings.broker_url.get_secret_value().split(':')[2].split('@')[0]}\n"
    assert settings.qdrant_api_key is not None
    assert yaml.safe_load(made["qdrant_conf"]) == {"service": {"api_key": settings.qdrant_api_key.get_secret_value()}}
    monkeypatch.setenv("FOOTNOTE_DATABASE_URL", "postgresql://elsewhere/x")
    assert Settings().database_url == "postgresql://elsewhere/x"


def test_every_instruction_of_the_dockerfile_is_known_and_copies_what_is_there() -> None:
    assert {instruction for instruction, _ in _instructions()} <= INSTRUCTIONS
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    stages = set(_stages())
    for instruction, rest in _instructions():
        if instruction != "COPY":
            continue
        *sources, _ = [part for part in shlex.split(rest) if not part.startswith("--")]
        source_stage = re.search(r"--from=(\S+)", rest)
        if source_stage:
            assert source_stage[1] in stages
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in allowed, f"{source} is not sent to the builder"
    packages = re.findall(r"only-include = \[([^\]]+)\]", (ROOT / "pyproject.toml").read_text())[0]
    assert set(re.findall(r'"(\w+)"', packages)) <= allowed


def test_the_image_runs_as_nobody_in_particular_and_checks_itself() -> None:
    final = dict(_stages()["footnote"])

    assert final["USER"] == "10001:10001"
    assert all(service["user"] == final["USER"] for service in OURS.values())
    assert "footnote.container_health" in final["HEALTHCHECK"]
    assert "--create-home" not in str(_stages()["footnote"])
    assert _stages()["default"] == [("FROM", "footnote")], "what is built without a target is the CPU image"
    assert "HF_HUB_OFFLINE=1" in final["ENV"]


def test_packages_come_by_the_pins_and_the_model_is_converted_at_build() -> None:
    installs = [rest for instruction, rest in _instructions() if instruction == "RUN" and "pip install" in rest]

    assert installs
    assert all(rest.count("pip install") == rest.count("--constraint constraints.txt") for rest in installs)
    for form in ("convert", "quantize"):
        assert any(f"retrieval.embedding.{form} --cache /opt/models" in rest for _, rest in _stages()["model"])
    torch = re.search(r"torch==\S+(?=')", (ROOT / "Dockerfile").read_text())
    assert torch is not None
    assert torch[0] in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.slow
def test_a_container_that_cannot_work_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    assert "does not answer" in str(container_health.api(Settings(), nobody))
    settings = Settings(
        database_url=f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none",
        broker_url=SecretStr(f"redis://127.0.0.1:{free_port()}/0"),
    )
    assert "broker" in str(container_health.worker(settings))
    assert container_health.worker(Settings()) == "FOOTNOTE_DATABASE_URL is not set."
    monkeypatch.setattr("sys.argv", ["health", "worker"])
    with pytest.raises(SystemExit) as leaving:
        container_health.main()
    assert leaving.value.code == "footnote: FOOTNOTE_DATABASE_URL is not set."
    assert capsys.readouterr().out == ""


def test_the_health_check_asks_the_api_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_health, "ANSWER_SECONDS", 30.0)  # The machine may be busy.
    answers = [503, 200]

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop(0) if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            assert container_health.api(Settings(), url) == "The API answers 503."
            assert container_health.api(Settings(), url) is None
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "allowed", ["docs.example.org", " Docs.Example.org , localhost", "[::1]", "*", "*,other.example"]
)
def test_the_health_check_passes_whatever_host_is_served(allowed: str) -> None:
    """Through the guard that turns away every other Host header."""

    async def ready(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"ready": True})(scope, receive, send)

    guarded = RequestGuard(
        ready, allowed_hosts=allowed, max_request_bytes=1_000, max_upload_bytes=1_000, uploads=frozenset()
    )
    app = RequestContext(guarded, metrics=RequestMetrics())
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            deadline = time.monotonic() + 60
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert container_health.api(Settings(allowed_hosts=allowed), url) is None
            if "*" not in allowed:
                assert container_health.api(Settings(allowed_hosts="elsewhere.example"), url) == "The API answers 421."
        finally:
            server.should_exit = True
            thread.join()
