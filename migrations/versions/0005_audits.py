"""Audits of catalogue and index, at most one nightly one per date; stages they queue anew; the secret of cursors."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTS = (
    "points",
    "documents",
    "files",
    "points_removed",
    "documents_refilled",
    "access_rewritten",
    "files_missing",
)


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=True),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        sa.Column("missing", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=True),
        sa.Column("place_tenant", sa.String(length=64), nullable=True),
        sa.Column("place_after", sa.String(length=64), nullable=True),
        sa.CheckConstraint("cause IN ('nightly', 'asked', 'start')", name=op.f("ck_audits_cause")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audits")),
        sa.UniqueConstraint("day", name=op.f("uq_audits_day")),
    )
    open_ = sa.text("finished_at IS NULL")
    op.create_index("ix_audits_open", "audits", ["ready_at"], sqlite_where=open_, postgresql_where=open_)
    op.create_table(
        "audit_totals",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("healed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_audit_totals")),
    )
    made = op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    op.bulk_insert(made, [{"name": "cursors", "value": secrets.token_bytes(32)}])
    op.add_column("stages", sa.Column("refilled_at", sa.BigInteger(), nullable=True))
    refilled = sa.text("refilled_at IS NOT NULL")
    op.create_index("ix_stages_refilled", "stages", ["index_id"], sqlite_where=refilled, postgresql_where=refilled)


def downgrade() -> None:
    op.drop_index("ix_stages_refilled", "stages")
    op.drop_column("stages", "refilled_at")
    op.drop_table("secrets")
    op.drop_table("audit_totals")
    op.drop_table("audits")
