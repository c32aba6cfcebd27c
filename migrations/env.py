"""Runs migrations on the connection it is handed (`core.db.migrating`): there is no ini file and no offline mode."""

from alembic import context

from core.db import tables  # noqa: F401 - fills the metadata
from core.db.base import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # On SQLite too: `core.db.session` begins transactions itself.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
