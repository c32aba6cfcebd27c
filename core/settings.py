"""Settings: environment `FOOTNOTE_*`, `.env` or `footnote.toml`. Read once and late, by whoever builds a process."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

SECRETS = Path("/run/secrets")  # Where containers get theirs: a file for each setting, named like its variable.


def default_cache() -> Path:
    """Return the user's cache folder for converted models."""
    return Path.home() / ".cache" / "footnote"


class Settings(BaseSettings):
    """Every setting, its default and its meaning. `.env.example` lists the same; a test keeps it true."""

    model_config = SettingsConfigDict(
        env_prefix="FOOTNOTE_", env_file=".env", toml_file="footnote.toml", extra="ignore", frozen=True
    )

    data: Path = Field(default=Path(".footnote"), description="Data directory of the embedded mode.")
    url: str | None = Field(
        default=None, description="Server that the command line speaks to instead of a data directory."
    )
    api_key: SecretStr | None = Field(default=None, description="API key that the command line sends to that server.")
    cache: Path = Field(
        default_factory=default_cache, description="Folder of converted models, shared by data directories."
    )
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite in the data directory.")
    qdrant_url: str | None = Field(
        default=None,
        description="Qdrant server, or `footnote index`; default: the embedded engine in the data directory.",
    )
    qdrant_api_key: SecretStr | None = Field(
        default=None, min_length=1, description="API key of that server; `footnote index` asks for it where it is set."
    )
    qdrant_grpc_port: int | None = Field(
        default=None, ge=1, le=65_535, description="Port where that server speaks gRPC; unset: REST alone."
    )
    qdrant_ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed that server's certificate."
    )
    qdrant_prefix: str = Field(
        default="footnote",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="First part of the collection's name; each installation on a Qdrant server needs one of its own.",
    )
    broker_url: SecretStr | None = Field(
        default=None, description="Redis or RabbitMQ that rings workers; unset: embedded mode, with a worker child."
    )
    blobs: str | None = Field(
        default=None,
        description="Folder, or s3://bucket/prefix, of the files of all processes; default: in the data directory.",
    )
    s3_endpoint: str | None = Field(default=None, description="URL of the S3 service; unset: Amazon's in the region.")
    s3_region: str = Field(default="us-east-1", description="Region of the bucket.")
    s3_access_key: str | None = Field(
        default=None, description="Access key of the bucket; unset: AWS_* in the environment, then the machine's role."
    )
    s3_secret_key: SecretStr | None = Field(default=None, min_length=1, description="Secret of that access key.")
    s3_ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed that service's certificate."
    )
    s3_cache_bytes: int = Field(
        default=2_000_000_000, gt=0, description="Most bytes of local copies that a data directory keeps of the bucket."
    )
    lease_seconds: float = Field(
        default=60.0, ge=1, description="Work whose worker was not heard of for so long is given to another."
    )
    visibility_seconds: int = Field(
        default=7_200, ge=5, description="Redis gives an unacknowledged message to another worker after so long."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="Least severe event that is logged."
    )

    max_upload_bytes: int = Field(default=200_000_000, gt=0, description="Largest file that is accepted, in bytes.")
    min_free_bytes: int = Field(
        default=500_000_000,
        ge=0,
        description="Uploads are refused where fewer bytes than this would stay free on the disk; 0: never for that.",
    )
    max_request_bytes: int = Field(default=1_000_000, gt=0, description="Largest body of any other request, in bytes.")
    max_query_chars: int = Field(default=8_000, gt=0, description="Longest question or query, in characters.")

    parser_wall_seconds: float = Field(
        default=120.0, gt=0, description="Longest time one document may be parsed, in seconds."
    )
    parser_cpu_seconds: int = Field(default=120, gt=0, description="Most CPU time of one parse, in seconds.")
    parser_memory_bytes: int = Field(
        default=900_000_000, gt=0, description="Most resident memory of one parser child, in bytes."
    )
    parser_output_bytes: int = Field(default=200_000_000, gt=0, description="Largest result of one parse, in bytes.")
    audit_hour: int = Field(
        default=2,
        ge=0,
        le=23,
        description="Hour (UTC) from which on a day's comparison of index and catalogue is made.",
    )
    worker_idle_seconds: float = Field(
        default=20.0, gt=0, description="A worker child with nothing to do for so long ends."
    )

    embedder: str = Field(
        default="openvino:all-MiniLM-L6-v2",
        description="openvino:MODEL, openvino-int8:MODEL (faster), sentence-transformers:MODEL or hashing:DIM.",
    )
    embed_threads: int = Field(default=0, ge=0, description="CPU threads of the embedder; 0: all.")
    chunk_tokens: int = Field(default=200, ge=32, description="Most tokens of a chunk, contextual header included.")
    chunk_overlap_tokens: int = Field(
        default=16, ge=0, description="Tokens that a chunk repeats of the one before, in whole sentences."
    )
    rrf_k: int = Field(default=2, ge=1, description="Constant k of reciprocal rank fusion.")
    reranker: str = Field(default="late-interaction", description="late-interaction, cross-encoder:MODEL or none.")
    rerank_tokens: int = Field(default=800, gt=0, description="Most passage tokens that the reranker reads per query.")

    chat_model: str = Field(default="extractive", description="extractive or openai:MODEL (any compatible endpoint).")
    openai_base_url: str | None = Field(default=None, description="Base URL of the OpenAI-compatible endpoint.")
    openai_api_key: SecretStr | None = Field(default=None, description="Key of that endpoint.")
    chat_context_tokens: int = Field(default=8_000, gt=0, description="Window of the chat model, in tokens.")
    answer_keep_seconds: float = Field(
        default=30.0, ge=0, description="How long an answer goes on when its reader is gone."
    )
    allowed_hosts: str = Field(
        default="127.0.0.1,localhost,[::1]", description="Host headers that are served, comma-separated; * for all."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours looks where containers have them
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments beat the environment, which beats `.env`, secrets in files, and `footnote.toml`."""
        secrets = (SecretsSettingsSource(settings_cls, secrets_dir=SECRETS),) if SECRETS.is_dir() else ()
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            *secrets,
            TomlConfigSettingsSource(settings_cls),
        )


def told_settings(settings: Settings) -> str:
    """Return every setting as a line of JSON, secrets too: for a child process, by a pipe that nobody else reads."""
    return json.dumps({name: _plain(getattr(settings, name)) for name in Settings.model_fields})


def settings_as_told(told: str) -> Settings:
    """Return the settings that `told_settings` told. Each is given, so no environment or file has a say in any."""
    values: dict[str, Any] = json.loads(told)
    return Settings(**values)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value
