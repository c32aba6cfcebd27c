"""What operators are told of the queues: when a stage last moved on; indexes of what is open, put off and done."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LANES = {
    "ix_stages_queued": "state = 'queued' AND attempt < 3",
    "ix_stages_suspect": "state = 'queued' AND attempt >= 3",
}
LANE = ["name", "index_id", "tenant", "ready_at", "id", "created_at"]


def upgrade() -> None:
    for name, where in LANES.items():
        op.drop_index(name, "stages")
        _index(name, [*LANE, "attempt", "state"], where)
    op.add_column("stages", sa.Column("progressed_at", sa.BigInteger(), nullable=True))
    _index("ix_stages_retried", ["name", "reason", "attempt", "ready_at"], "state = 'queued' AND reason IS NOT NULL")
    _index("ix_stages_finished", ["name", "finished_at"], "state = 'done'")


def downgrade() -> None:
    op.drop_index("ix_stages_finished", "stages")
    op.drop_index("ix_stages_retried", "stages")
    op.drop_column("stages", "progressed_at")
    for name, where in LANES.items():
        op.drop_index(name, "stages")
        _index(name, LANE, where)


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "stages", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
