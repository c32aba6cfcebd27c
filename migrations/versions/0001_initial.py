"""First schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "indexes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_indexes")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_table(
        "audit",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.String(length=300), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=4096), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_audit_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_time", "audit", ["tenant", "created_at"])
    op.create_table(
        "blobs",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("reference_count", sa.Integer(), nullable=False),
        sa.Column("unreferenced_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_blobs_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "hash", name=op.f("pk_blobs")),
    )
    op.create_table(
        "conversations",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.String(length=300), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_conversations_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_conversations")),
    )
    op.create_index("ix_conversations_owner", "conversations", ["tenant", "owner", "updated_at"])
    op.create_table(
        "embeddings",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("text_hash", sa.String(length=64), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_embeddings_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "model", "text_hash", name=op.f("pk_embeddings")),
    )
    op.create_table(
        "groups",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_groups_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_groups")),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("index_id", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("promoted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('building', 'candidate', 'live', 'previous', 'retired', 'drifted')",
            name=op.f("ck_releases_state"),
        ),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_releases_index_id_indexes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
    )
    op.create_table(
        "sources",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=4096), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_sources_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_sources")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_sources_tenant_name")),
    )
    op.create_table(
        "stage_results",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("input_hash", sa.String(length=64), nullable=False),
        sa.Column("output_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_stage_results_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "input_hash", name=op.f("pk_stage_results")),
    )
    op.create_table(
        "usage",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.String(length=300), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_usage_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_usage")),
    )
    op.create_table(
        "users",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_users_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_users")),
    )
    op.create_table(
        "answers",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.String(length=300), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("release_id", sa.Uuid(), nullable=True),
        sa.Column("prompt_version", sa.String(length=32), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("abstained", sa.Boolean(), nullable=False),
        sa.Column("cited", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'error', 'stopped')", name=op.f("ck_answers_state")),
        sa.ForeignKeyConstraint(
            ["tenant", "conversation_id"],
            ["conversations.tenant", "conversations.id"],
            name=op.f("fk_answers_tenant_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_answers")),
    )
    op.create_index("ix_answers_conversation", "answers", ["tenant", "conversation_id", "created_at"])
    op.create_table(
        "api_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_name", sa.String(length=255), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("role IN ('reader', 'editor', 'admin')", name=op.f("ck_api_keys_role")),
        sa.ForeignKeyConstraint(
            ["tenant", "user_name"],
            ["users.tenant", "users.name"],
            name=op.f("fk_api_keys_tenant_user_name_users"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_api_keys_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_table(
        "documents",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=4096), nullable=False),
        sa.Column("folder", sa.String(length=4096), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("uploader", sa.String(length=300), nullable=False),
        sa.Column("inherit", sa.Boolean(), nullable=False),
        sa.Column("acl_revision", sa.Integer(), nullable=False),
        sa.Column("current_version", sa.Uuid(), nullable=True),
        sa.Column("newest_version", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "parent_id"],
            ["documents.tenant", "documents.id"],
            name=op.f("fk_documents_tenant_parent_id_documents"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "source_id"],
            ["sources.tenant", "sources.id"],
            name=op.f("fk_documents_tenant_source_id_sources"),
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_documents_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_documents")),
    )
    op.create_index("ix_documents_folder", "documents", ["tenant", "folder"])
    op.create_index("ix_documents_parent", "documents", ["tenant", "parent_id"])
    op.create_index(
        "uq_documents_name",
        "documents",
        ["tenant", "source_id", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "memberships",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("member", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "group_name"],
            ["groups.tenant", "groups.name"],
            name=op.f("fk_memberships_tenant_group_name_groups"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "group_name", "member", name=op.f("pk_memberships")),
    )
    op.create_index("ix_memberships_member", "memberships", ["tenant", "member", "group_name"])
    op.create_table(
        "access_entries",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("source_id", sa.Uuid(), nullable=True),
        sa.Column("folder", sa.String(length=1024), nullable=True),
        sa.Column("principal", sa.String(length=300), nullable=False),
        sa.Column("effect", sa.String(length=5), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("effect IN ('allow', 'deny')", name=op.f("ck_access_entries_effect")),
        sa.CheckConstraint("(document_id IS NULL) <> (folder IS NULL)", name=op.f("ck_access_entries_target")),
        sa.CheckConstraint(
            "document_id IS NULL OR source_id IS NULL", name=op.f("ck_access_entries_document_or_source")
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "document_id"],
            ["documents.tenant", "documents.id"],
            name=op.f("fk_access_entries_tenant_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "source_id"],
            ["sources.tenant", "sources.id"],
            name=op.f("fk_access_entries_tenant_source_id_sources"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_access_entries_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_access_entries")),
    )
    op.create_index("ix_access_entries_document", "access_entries", ["tenant", "document_id"])
    op.create_index("ix_access_entries_folder", "access_entries", ["tenant", "folder"])
    op.create_table(
        "answer_events",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("answer_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "answer_id"],
            ["answers.tenant", "answers.id"],
            name=op.f("fk_answer_events_tenant_answer_id_answers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "answer_id", "seq", name=op.f("pk_answer_events")),
    )
    op.create_table(
        "browser_sessions",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("csrf_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('link', 'session')", name=op.f("ck_browser_sessions_kind")),
        sa.ForeignKeyConstraint(
            ["tenant", "key_id"],
            ["api_keys.tenant", "api_keys.id"],
            name=op.f("fk_browser_sessions_tenant_key_id_api_keys"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "token_hash", name=op.f("pk_browser_sessions")),
    )
    op.create_index("ix_browser_sessions_token", "browser_sessions", ["token_hash"], unique=True)
    op.create_table(
        "deletion_receipts",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("store", sa.String(length=64), nullable=False),
        sa.Column("removed", sa.Integer(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "document_id"],
            ["documents.tenant", "documents.id"],
            name=op.f("fk_deletion_receipts_tenant_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "document_id", "store", name=op.f("pk_deletion_receipts")),
    )
    op.create_table(
        "index_tasks",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('access', 'purge_version', 'purge_document')", name=op.f("ck_index_tasks_kind")),
        sa.ForeignKeyConstraint(
            ["tenant", "document_id"],
            ["documents.tenant", "documents.id"],
            name=op.f("fk_index_tasks_tenant_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_index_tasks")),
    )
    op.create_index("ix_index_tasks_document", "index_tasks", ["tenant", "document_id"])
    op.create_index("ix_index_tasks_open", "index_tasks", ["done_at", "ready_at"])
    op.create_table(
        "versions",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("blob_hash", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(length=255), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("language", sa.String(length=16), nullable=True),
        sa.Column("page_count", sa.Integer(), nullable=True),
        sa.Column("pages_lost", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("notes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("parsed_hash", sa.String(length=64), nullable=True),
        sa.Column("chunk_count", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "document_id"],
            ["documents.tenant", "documents.id"],
            name=op.f("fk_versions_tenant_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_versions")),
        sa.UniqueConstraint("tenant", "document_id", "ordinal", name=op.f("uq_versions_tenant_document_id_ordinal")),
    )
    op.create_table(
        "chunks",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("start_offset", sa.Integer(), nullable=False),
        sa.Column("end_offset", sa.Integer(), nullable=False),
        sa.Column("page_first", sa.Integer(), nullable=True),
        sa.Column("page_last", sa.Integer(), nullable=True),
        sa.Column("headings", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("embedded_hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "version_id"],
            ["versions.tenant", "versions.id"],
            name=op.f("fk_chunks_tenant_version_id_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_chunks")),
    )
    op.create_index("ix_chunks_embedded", "chunks", ["tenant", "embedded_hash"])
    op.create_index("ix_chunks_version", "chunks", ["tenant", "version_id", "ordinal"])
    op.create_table(
        "stages",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("index_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("ready_at", sa.BigInteger(), nullable=False),
        sa.Column("input_hash", sa.String(length=64), nullable=True),
        sa.Column("output_hash", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("progress", sa.Double(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("name IN ('parse', 'chunk', 'embed', 'index')", name=op.f("ck_stages_name")),
        sa.CheckConstraint(
            "state IN ('waiting', 'queued', 'leased', 'done', 'failed', 'cancelled')", name=op.f("ck_stages_state")
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "version_id"],
            ["versions.tenant", "versions.id"],
            name=op.f("fk_stages_tenant_version_id_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_stages")),
        sa.UniqueConstraint(
            "tenant", "version_id", "name", "index_id", name=op.f("uq_stages_tenant_version_id_name_index_id")
        ),
    )
    op.create_index("ix_stages_claim", "stages", ["name", "state", "ready_at"])
    op.create_table(
        "wakeups",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("stage_id", sa.Uuid(), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "stage_id"],
            ["stages.tenant", "stages.id"],
            name=op.f("fk_wakeups_tenant_stage_id_stages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_wakeups")),
    )
    op.create_index("ix_wakeups_stage", "wakeups", ["tenant", "stage_id"])
    op.create_index("ix_wakeups_unsent", "wakeups", ["sent_at", "id"])


def downgrade() -> None:
    for table in (
        "wakeups",
        "stages",
        "chunks",
        "versions",
        "index_tasks",
        "deletion_receipts",
        "browser_sessions",
        "answer_events",
        "access_entries",
        "memberships",
        "documents",
        "api_keys",
        "answers",
        "users",
        "usage",
        "stage_results",
        "sources",
        "releases",
        "groups",
        "embeddings",
        "conversations",
        "blobs",
        "audit",
        "tenants",
        "indexes",
    ):
        op.drop_table(table)  # its indexes go with it
