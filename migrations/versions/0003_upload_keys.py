"""Idempotency keys of uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upload_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("uploader", sa.String(length=300), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.id"], name=op.f("fk_upload_keys_tenant_tenants"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "document_id"],
            ["documents.tenant", "documents.id"],
            name=op.f("fk_upload_keys_tenant_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "uploader", "key_hash", name=op.f("pk_upload_keys")),
    )
    op.create_index("ix_upload_keys_document", "upload_keys", ["tenant", "document_id"])
    op.create_index("ix_upload_keys_created", "upload_keys", ["created_at"])


def downgrade() -> None:
    op.drop_table("upload_keys")
