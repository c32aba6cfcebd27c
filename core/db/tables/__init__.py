"""Every table, by subject. The tenant is the first part of every key and foreign key of what a tenant owns."""

from core.db.tables.access import (
    AccessEntryRow,
    ApiKeyRow,
    BrowserSessionRow,
    GroupRow,
    MembershipRow,
    TenantRow,
    UserRow,
)
from core.db.tables.answers import AnswerEventRow, AnswerRow, AuditRow, ConversationRow, UsageRow
from core.db.tables.audits import AuditTotalRow, IndexAuditRow
from core.db.tables.catalogue import (
    BlobRow,
    ChunkRow,
    DocumentRow,
    EmbeddingRow,
    SourceRow,
    StageResultRow,
    UploadKeyRow,
    VersionRow,
)
from core.db.tables.work import (
    DeletionReceiptRow,
    IndexRow,
    IndexTaskRow,
    ReleaseRow,
    SecretRow,
    StageRow,
    TurnRow,
    WakeupRow,
)

__all__ = [
    "AccessEntryRow",
    "AnswerEventRow",
    "AnswerRow",
    "ApiKeyRow",
    "AuditRow",
    "AuditTotalRow",
    "BlobRow",
    "BrowserSessionRow",
    "ChunkRow",
    "ConversationRow",
    "DeletionReceiptRow",
    "DocumentRow",
    "EmbeddingRow",
    "GroupRow",
    "IndexAuditRow",
    "IndexRow",
    "IndexTaskRow",
    "MembershipRow",
    "ReleaseRow",
    "SecretRow",
    "SourceRow",
    "StageResultRow",
    "StageRow",
    "TenantRow",
    "TurnRow",
    "UploadKeyRow",
    "UsageRow",
    "UserRow",
    "VersionRow",
    "WakeupRow",
]
