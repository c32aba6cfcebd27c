"""Turns between tenants, and indexes of nothing but claimable stages."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LANE = ["name", "index_id", "tenant", "ready_at", "id", "created_at"]


def upgrade() -> None:
    op.create_table(
        "turns",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("served_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_turns_tenant_tenants"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_turns")),
    )
    # Who was served is known from the stages that were ever begun; who was not has no turn yet, and so is first.
    op.execute(
        "INSERT INTO turns (tenant, name, served_at)"
        " SELECT tenant, name, MAX(started_at) FROM stages WHERE started_at IS NOT NULL GROUP BY tenant, name"
    )
    op.drop_index("ix_stages_claim", "stages")
    _index("ix_stages_queued", LANE, "state = 'queued' AND attempt < 3")
    _index("ix_stages_suspect", LANE, "state = 'queued' AND attempt >= 3")
    _index("ix_stages_leased", ["name", "lease_until"], "state = 'leased'")


def downgrade() -> None:
    for name in ("ix_stages_queued", "ix_stages_suspect", "ix_stages_leased"):
        op.drop_index(name, "stages")
    op.create_index("ix_stages_claim", "stages", ["name", "state", "ready_at"])
    op.drop_table("turns")


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "stages", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
