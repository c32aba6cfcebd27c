"""An installation for one measurement, with nothing in common with the one that its settings are of."""

from pathlib import Path

from core.settings import Settings


def thrown_away(settings: Settings, data: Path) -> Settings:
    """Return these settings for an embedded installation in `data` alone: no other database, index, files or broker.

    Otherwise a measurement would take its documents into the installation that people use.
    """
    return settings.model_copy(
        update={
            "data": data,
            "database_url": None,
            "qdrant_url": None,
            "qdrant_api_key": None,
            "qdrant_grpc_port": None,
            "qdrant_ca_file": None,
            "blobs": None,
            "broker_url": None,
        }
    )
