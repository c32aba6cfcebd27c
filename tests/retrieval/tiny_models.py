"""Models of a few kilobytes with random weights, made on the spot: there are none to download."""

from pathlib import Path

WORDS = "the plan pays for emergency visits leave expires in march query : . ##s".split()  # noqa: SIM905 - words


def save_tiny_bert(folder: Path, *, labels: int | None = None) -> None:
    """Save a BERT and its tokenizer; with `labels`, as a classifier with so many outputs."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    if labels:
        config.num_labels = labels
    model = BertForSequenceClassification(config) if labels else BertModel(config)
    model.save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)


def save_tiny_sentence_model(folder: Path) -> Path:
    """Save a sentence-transformers model with prompts and pooling by the first token; return its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    save_tiny_bert(folder / "bert")
    model = SentenceTransformer(
        modules=[Transformer(str(folder / "bert"), max_seq_length=32), Pooling(32, pooling_mode="cls")],
        prompts={"query": "query: ", "document": ""},
        device="cpu",
    )
    model.save(str(folder / "saved"))
    return folder / "saved"
