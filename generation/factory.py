"""Composition: which models answer, and what they answer from. The only module that names chat-model adapters."""

from uuid import UUID

from core.blobs import BlobStore
from core.db.releases import live_release
from core.db.session import Database
from core.errors import InvalidInput
from core.settings import Settings
from generation.answering import AnswerQuestion
from generation.places import ParsedPlaces
from generation.ports import ChatModel, EvidenceSearch
from generation.providers.extractive import ExtractiveModel
from generation.providers.openai_compatible import OpenAICompatibleModel
from retrieval.ports import Embedder
from retrieval.reranking.late_interaction import TokenVectorCache

EXTRACTIVE = "extractive"
_OPENAI = "openai:"


def build_chat_model(settings: Settings, name: str, vectors: TokenVectorCache) -> ChatModel:
    """Return the model of that name: `extractive` or `openai:MODEL`.

    :raises InvalidInput: it names none.
    """
    if name == EXTRACTIVE:
        return ExtractiveModel(vectors=vectors)
    if name.startswith(_OPENAI) and (model := name.removeprefix(_OPENAI)):
        return OpenAICompatibleModel(
            model=model,
            base_url=settings.openai_base_url,
            api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
            context_tokens=settings.chat_context_tokens,
        )
    raise InvalidInput(f"There is no chat model {name!r}. Set FOOTNOTE_CHAT_MODEL to extractive or openai:MODEL.")


def build_answering(
    settings: Settings,
    *,
    database: Database,
    blobs: BlobStore,
    search: EvidenceSearch,
    embedder: Embedder,
    vectors: TokenVectorCache | None = None,
) -> AnswerQuestion:
    """Return the use case over the configured model; the extractive one can always be asked for by name.

    `vectors` are the reranker's (`LateInteractionReranker.vectors`), where it is one: what it has read need not be
    computed again.

    :raises InvalidInput: the settings name no model.
    """

    def release() -> UUID | None:
        with database.reading() as session:
            live = live_release(session)
        return None if live is None else live.id

    kept = vectors or TokenVectorCache(embedder)
    models = {name: build_chat_model(settings, name, kept) for name in {settings.chat_model, EXTRACTIVE}}
    return AnswerQuestion(
        search=search,
        models=models,
        default_model=settings.chat_model,
        database=database,
        locator=ParsedPlaces(database=database, blobs=blobs),
        release=release,
        keep_seconds=settings.answer_keep_seconds,
        max_question_chars=settings.max_query_chars,
    )
