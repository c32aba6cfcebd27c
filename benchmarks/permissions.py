"""Permissions: every case of acl_scifact_dev against an oracle that shares no code with the program.

The oracle evaluates the access rules over the data set's own files. What leaves the program (hits, counts, prompts,
citations, texts, page images, errors) is compared with it; hits are compared with an exact reference, too.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from benchmarks.recording_model import RecordingModel, recording_model
from benchmarks.served import data_set
from core.db.access import change_document_access, effective_of
from core.db.chunks import chunks_of, embeddings_of
from core.db.directory import impersonated
from core.db.statuses import DocumentStatus
from core.domain import EVERYONE, Principal
from core.ids import DEFAULT_TENANT, DocumentId
from core.intake import Intake, UploadRequest
from core.observability import configure_logging
from core.settings import Settings
from footnote.bench.beir import load
from footnote.client import Client, Problem
from footnote.runtime import Runtime
from footnote.serving import LocalServer, serving
from retrieval.catalogue import DatabaseCatalogue
from retrieval.factory import build_embedder, build_sparse
from retrieval.index.memory import MemoryIndex
from retrieval.ports import IndexPoint
from retrieval.search import HybridSearch
from retrieval.sparse import bm25_text

LIMIT = 10
STALE_SHARE = 0.99
RECORDED = "openai:recorder"
PASSAGE = re.compile(r"^==\w+== passage \[\d+\]: (\S+)", re.MULTILINE)
QUOTED = 80  # Characters of a unit's text that a prompt is searched for.
OWNER = Principal(tenant=DEFAULT_TENANT, closure=frozenset({"user:owner", EVERYONE}), user="owner", role="admin")


@dataclass(frozen=True, slots=True)
class Oracle:
    """Who may read what, worked out the plainest way from the data set's files."""

    principals: dict[str, Any]
    units: dict[str, dict[str, Any]]

    def groups(self, user: str) -> set[str]:
        """Return all groups of the user, through any nesting."""
        found = set(self.principals["users"].get(user, []))
        found |= {name for name, group in self.principals["groups"].items() if user in group["members"]}
        while True:
            above = {
                name for name, group in self.principals["groups"].items() if found & set(group.get("subgroups", []))
            }
            if above <= found:
                return found
            found |= above

    def readable(self, user: str) -> set[str]:
        """Return the units that the user may read."""
        if user in self.principals["suspended"]:
            return set()
        names = {f"user:{user}", "*"} | {f"group:{group}" for group in self.groups(user)}
        return {unit for unit, row in self.units.items() if self._may_read(row, names)}

    def _may_read(self, row: dict[str, Any], names: set[str]) -> bool:
        folder = self.principals["folders"].get(row["folder"], {}) if row.get("inherit", True) else {}
        allow = set(row["allow"]) | set(folder.get("allow", []))
        deny = set(row["deny"]) | set(folder.get("deny", []))
        return bool(names & allow) and not names & deny


@dataclass(slots=True)
class Findings:
    """What was seen; every leak is a failure."""

    cases: int = 0
    leaks: Counter[str] = field(default_factory=Counter)
    recalls: list[float] = field(default_factory=list)
    short: int = 0
    prompts: int = 0
    counts_wrong: int = 0


def main() -> None:
    """Print the figures as one JSON object; exit 1 on any leak."""
    argparse.ArgumentParser(prog="python -m benchmarks.permissions", description=__doc__).parse_args()
    configure_logging("warning")
    folder = data_set("acl_scifact_dev")
    oracle = Oracle(
        json.loads((folder / "principals.json").read_text()), {row["unit"]: row for row in _lines(folder / "acl.jsonl")}
    )
    collection = load(data_set("scifact_dev"))
    cases = list(_lines(folder / "cases.jsonl"))
    for row in _lines(folder / "readable_counts.jsonl"):
        if len(oracle.readable(row["user"])) != row["readable_units"]:
            sys.exit(f"the oracle disagrees with the data set about {row['user']}")
    findings = Findings()
    with (
        recording_model() as recorder,
        tempfile.TemporaryDirectory(prefix="footnote-permissions-") as data,
        serving(_settings(Path(data), recorder)) as local,
    ):
        ids = _ingest(local.runtime, collection.rows, oracle)
        owner = Client(local.url, local.runtime.directory.owner_key())
        content = (folder / "principals.json").read_bytes()
        owner.call("PUT", "/v1/admin/directory", content=content, headers={"Content-Type": "application/json"})
        _wait(local.runtime)
        reference = _exact_reference(local.runtime)
        texts = {row.id: _plain(row.text) for row in collection.rows}
        for case in cases:
            query = collection.queries[case["query_id"]]
            _run_case(local, reference, query, case, oracle, ids, findings)
            _check_prompt(local, recorder, query, case, oracle, texts, findings)
        _check_counts(local, oracle, findings)
        stale = _stale(local, oracle, ids, [collection.queries[case["query_id"]] for case in cases])
    recall = sum(findings.recalls) / len(findings.recalls)
    figures = {
        "cases": findings.cases,
        "prompts": findings.prompts,
        "leaks": sum(findings.leaks.values()),
        "leaks_by_path": dict(findings.leaks),
        "recall_of_exact_top_10": round(recall, 4),
        "cases_with_fewer_hits_than_the_reference": findings.short,
        "users_with_wrong_counts": findings.counts_wrong,
        "stale_payload": stale,
    }
    json.dump(figures, sys.stdout, indent=1)
    sys.exit(bool(figures["leaks"] or stale["leaks"] or stale["queries_not_filled"] or findings.counts_wrong))


def _settings(data: Path, recorder: RecordingModel) -> Settings:
    return Settings.model_validate({"data": data, "chat_model": RECORDED, "openai_base_url": recorder.url})


def _ingest(runtime: Runtime, rows: Collection[Any], oracle: Oracle) -> dict[str, str]:
    services = runtime.services
    intake = Intake(database=services.database, blobs=services.blobs, max_bytes=10**9)
    ids = {}
    for row in rows:
        rule = oracle.units[row.id]
        request = UploadRequest(
            name=f"{rule['folder'].strip('/')}/{row.id}", source="acl", allow=rule["allow"], deny=rule["deny"]
        )
        status: DocumentStatus = intake.upload(OWNER, request, row.as_html())
        ids[row.id] = str(status.document)
        if not rule.get("inherit", True):
            with services.database.transaction() as session:
                change_document_access(session, DEFAULT_TENANT, status.document, inherit=False)
    services.wake()
    return ids


def _wait(runtime: Runtime) -> None:
    from core.db.index_tasks import has_due_task  # noqa: PLC0415 - used once
    from core.db.stages import has_open  # noqa: PLC0415 - used once
    from core.domain import StageName  # noqa: PLC0415 - used once

    while True:
        with runtime.database.reading() as session:
            if not has_open(session, list(StageName)) and not has_due_task(session):
                return
        time.sleep(0.5)


def _exact_reference(runtime: Runtime) -> HybridSearch:
    """Return a search over exact scores in memory, with the same vectors, statistics, fusion and reranker."""
    embedder, sparse = build_embedder(runtime.settings), build_sparse(runtime.settings)
    index = MemoryIndex()
    seen: dict[tuple[Any, Any], None] = dict.fromkeys(
        (stored.document, stored.version) for stored in runtime.index.stored()
    )
    with runtime.database.reading() as session:
        access = effective_of(session, DEFAULT_TENANT, [document for document, _ in seen])
        for document, version in seen:
            chunks = chunks_of(session, DEFAULT_TENANT, version)
            vectors = embeddings_of(session, DEFAULT_TENANT, embedder.id, [text_hash for _, text_hash in chunks])
            index.upsert(
                [
                    IndexPoint(
                        chunk=chunk.id,
                        tenant=chunk.tenant,
                        document=document,
                        version=version,
                        dense=vectors[text_hash],
                        sparse=sparse.encode_document(bm25_text(chunk)),
                        allow=tuple(access[document].allow),
                        deny=tuple(access[document].deny),
                    )
                    for chunk, text_hash in chunks
                ]
            )
    return HybridSearch(
        embedder=embedder,
        sparse=sparse,
        index=index,
        catalogue=DatabaseCatalogue(runtime.database),
        rrf_k=runtime.settings.rrf_k,
    )


def _run_case(
    local: LocalServer,
    reference: HybridSearch,
    query: str,
    case: dict[str, Any],
    oracle: Oracle,
    ids: dict[str, str],
    findings: Findings,
) -> None:
    findings.cases += 1
    readable = {ids[unit] for unit in oracle.readable(case["user"])}
    client = Client(local.url, local.runtime.directory.owner_key(), read_as=f"user:{case['user']}")
    hits = client.call("POST", "/v1/search", json={"query": query, "limit": LIMIT, "explain": True})["hits"]
    findings.leaks["hits"] += sum(hit["document"] not in readable for hit in hits)
    with local.runtime.database.reading() as session:
        principal = impersonated(session, DEFAULT_TENANT, [f"user:{case['user']}"])
    # The reranker reads the same candidates in both, so the fused order is what is compared.
    exact = reference.search(query, principal=principal, limit=LIMIT, stage="hybrid").hits
    engine = local.runtime.search.search(query, principal=principal, limit=LIMIT, stage="hybrid").hits
    wanted = {hit.chunk.id for hit in exact}
    findings.recalls.append(len(wanted & {hit.chunk.id for hit in engine}) / len(wanted) if wanted else 1.0)
    findings.short += len(hits) < len(exact)
    answer = client.call("POST", "/v1/chat", json={"question": query, "model": "extractive"})
    findings.leaks["citations"] += sum(citation["document"] not in readable for citation in answer["citations"])
    events = client.call("GET", f"/v1/conversations/{answer['conversation']}") if "conversation" in answer else {}
    findings.leaks["conversation"] += sum(ids[unit] in json.dumps(events) for unit in case["forbidden_relevant"])
    for unit in case["forbidden_relevant"]:
        _check_absent(client, ids[unit], findings)
    client.close()


def _check_prompt(
    local: LocalServer,
    recorder: RecordingModel,
    query: str,
    case: dict[str, Any],
    oracle: Oracle,
    texts: dict[str, str],
    findings: Findings,
) -> None:
    recorder.prompts.clear()
    readable = oracle.readable(case["user"])
    client = Client(local.url, local.runtime.directory.owner_key(), read_as=f"user:{case['user']}")
    answer = client.call("POST", "/v1/chat", json={"question": query, "model": RECORDED})
    client.close()
    findings.prompts += len(recorder.prompts)
    if not recorder.prompts and answer["citations"]:
        sys.exit("an answer with citations, and the recorder was sent no prompt: it records nothing")
    for prompt in recorder.prompts:
        shown = {name.rpartition("/")[2] for name in PASSAGE.findall(prompt)}
        if not shown:
            sys.exit("a prompt without a passage: its form is not what this benchmark reads")
        plain = _plain(prompt)
        findings.leaks["prompt names"] += len(shown - readable)
        findings.leaks["prompt texts"] += sum(
            text[:QUOTED] in plain for unit, text in texts.items() if unit not in readable
        )


def _plain(text: str) -> str:
    return " ".join(text.split())


def _check_absent(client: Client, document: str, findings: Findings) -> None:
    for suffix in ("", "/text", "/pages/1.png", "/acl"):
        forbidden = _problem(client, f"/v1/documents/{document}{suffix}")
        unknown = _problem(client, f"/v1/documents/{uuid4()}{suffix}")
        findings.leaks[f"route {suffix or '/'}"] += forbidden is None or forbidden != unknown


def _problem(client: Client, path: str) -> dict[str, Any] | None:
    try:
        client.call("GET", path)
    except Problem as problem:
        return {key: value for key, value in problem.body.items() if key not in {"instance", "request_id"}}
    return None


def _check_counts(local: LocalServer, oracle: Oracle, findings: Findings) -> None:
    for user in oracle.principals["users"]:
        client = Client(local.url, local.runtime.directory.owner_key(), read_as=f"user:{user}")
        totals = client.call("GET", "/v1/documents", params={"limit": 1})["totals"]
        findings.counts_wrong += sum(totals.values()) != len(oracle.readable(user))
        client.close()


def _stale(local: LocalServer, oracle: Oracle, ids: dict[str, str], queries: list[str]) -> dict[str, int]:
    """Make 99 % of the payloads say that everybody may read, and see whether the catalogue holds."""
    stale = sorted(ids.values())[: int(len(ids) * STALE_SHARE)]
    for document in stale:
        local.runtime.index.set_access(DEFAULT_TENANT, DocumentId(UUID(document)), allow=[EVERYONE], deny=[])
    leaks = unfilled = 0
    user = "u_contractor"
    readable = {ids[unit] for unit in oracle.readable(user)}
    client = Client(local.url, local.runtime.directory.owner_key(), read_as=f"user:{user}")
    asked = queries[:100]
    for query in asked:
        hits = client.call("POST", "/v1/search", json={"query": query, "limit": LIMIT})["hits"]
        leaks += sum(hit["document"] not in readable for hit in hits)
        unfilled += len(hits) < LIMIT
    client.close()
    return {"queries": len(asked), "leaks": leaks, "queries_not_filled": unfilled}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


if __name__ == "__main__":
    main()
