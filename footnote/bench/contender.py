"""One embedder or pipeline, in a process of its own, over given texts: `python -m footnote.bench.contender NAME MODEL`.

Reads a JSON list of texts from stdin, embeds a few to warm up and then all of them, and prints one JSON object on its
last line: {"seconds": what the texts took, "count": how many pieces were embedded}.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.settings import Settings
from retrieval.factory import build_embedder, original_model

OURS = ("openvino", "openvino-int8")
WARM_UP = 32  # Texts before the clock starts.
CHUNK_TOKENS = 512  # Of LlamaIndex's splitter, by its own way of counting: it need not cut.

Embed = Callable[[Sequence[str]], int]  # Texts to the number of vectors.


def main() -> None:
    """Run the contender that the command line names."""
    name, model = sys.argv[1:3]
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="true")
    texts: list[str] = json.load(sys.stdin)
    embed = _CONTENDERS[name](model)
    embed(texts[:WARM_UP])
    started = time.perf_counter()
    count = embed(texts)
    result = {"seconds": time.perf_counter() - started, "count": count}
    sys.stdout.write(f"{json.dumps(result)}\n")


def _ours(kind: str) -> Callable[[str], Embed]:
    def load(model: str) -> Embed:
        embedder = build_embedder(Settings(embedder=f"{kind}:{model}"), mode="throughput")

        def embed(texts: Sequence[str]) -> int:
            return _counted(embedder.embed_documents(texts))

        return embed

    return load


def _sentence_transformers(model: str) -> Embed:
    """At its defaults: float32, batches of 32."""
    peer: Any = import_module("sentence_transformers").SentenceTransformer(str(original_model(model)), device="cpu")

    def embed(texts: Sequence[str]) -> int:
        return _counted(peer.encode(list(texts), show_progress_bar=False))

    return embed


def _llama_index(model: str) -> Embed:
    """Its ingestion pipeline, splitter and embedding, over texts that are parsed already and short enough."""
    pipeline: Any = import_module("llama_index.core.ingestion").IngestionPipeline(
        disable_cache=True,  # Otherwise what warmed it up would not be measured.
        transformations=[
            import_module("llama_index.core.node_parser").SentenceSplitter(chunk_size=CHUNK_TOKENS),
            import_module("llama_index.embeddings.huggingface").HuggingFaceEmbedding(
                str(original_model(model)), device="cpu"
            ),
        ],
    )
    document: Any = import_module("llama_index.core").Document

    def embed(texts: Sequence[str]) -> int:
        nodes = pipeline.run(documents=[document(text=text) for text in texts])
        return _counted(np.asarray([node.embedding for node in nodes]))

    return embed


def _counted(vectors: NDArray[np.float32]) -> int:
    if not np.isfinite(vectors).all():
        raise ValueError("these are no vectors")
    return len(vectors)


_CONTENDERS: dict[str, Callable[[str], Embed]] = {
    **{kind: _ours(kind) for kind in OURS},
    "sentence-transformers": _sentence_transformers,
    "llama-index": _llama_index,
}


if __name__ == "__main__":
    main()
