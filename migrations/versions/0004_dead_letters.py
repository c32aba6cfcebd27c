"""Dead letters: the page and the log excerpt that are kept with a failed stage, and an index of nothing but those."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stages", sa.Column("page", sa.Integer(), nullable=True))
    op.add_column("stages", sa.Column("excerpt", sa.Text(), nullable=True))
    failed = sa.text("state = 'failed'")
    op.create_index(
        "ix_stages_failed", "stages", ["tenant", "document_id"], sqlite_where=failed, postgresql_where=failed
    )


def downgrade() -> None:
    op.drop_index("ix_stages_failed", "stages")
    op.drop_column("stages", "excerpt")
    op.drop_column("stages", "page")
