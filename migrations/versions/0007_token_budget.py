"""Passages know their tokens, stages how often a parser's child died of them; index tasks are claimed by tenant.

What wake-ups noted of being sent was never written: a row goes when its message is with the broker.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chunks", sa.Column("tokens", sa.Integer(), nullable=True))
    op.add_column("stages", sa.Column("child_deaths", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.drop_index("ix_wakeups_unsent", "wakeups")
    op.drop_column("wakeups", "sent_at")
    op.create_index("ix_wakeups_order", "wakeups", ["id"])
    op.drop_index("ix_index_tasks_open", "index_tasks")
    op.create_index("ix_index_tasks_open", "index_tasks", ["done_at", "tenant", "kind", "ready_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_index_tasks_open", "index_tasks")
    op.create_index("ix_index_tasks_open", "index_tasks", ["done_at", "ready_at"])
    op.drop_index("ix_wakeups_order", "wakeups")
    op.add_column("wakeups", sa.Column("sent_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_wakeups_unsent", "wakeups", ["sent_at", "id"])
    op.drop_column("stages", "child_deaths")
    op.drop_column("chunks", "tokens")
