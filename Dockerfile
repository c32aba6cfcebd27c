# Footnote: one image for the API and every worker; the command decides what a container is.
# Nothing is fetched when it runs: packages and the converted model are in the image.

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/footnote
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY api api
COPY core core
COPY evaluation evaluation
COPY footnote footnote
COPY generation generation
COPY ingestion ingestion
COPY migrations migrations
COPY retrieval retrieval
RUN /opt/footnote/bin/pip install --constraint constraints.txt '.[distributed]'

# The model is converted where torch is, and once more with int8 weights (FOOTNOTE_EMBEDDER=openvino-int8:…); only what
# came of it goes on.
FROM build AS model
RUN /opt/footnote/bin/pip install --constraint constraints.txt 'torch==2.13.0' \
 && /opt/footnote/bin/pip install --constraint constraints.txt '.[local-models]'
RUN /opt/footnote/bin/python -P -m retrieval.embedding.convert --cache /opt/models
RUN /opt/footnote/bin/python -P -m retrieval.embedding.quantize --cache /opt/models

FROM python:${PYTHON} AS footnote
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 footnote \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin footnote \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data /blobs
COPY --from=build /opt/footnote /opt/footnote
COPY --from=model /opt/models /opt/models
ENV PATH=/opt/footnote/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    FOOTNOTE_DATA=/data \
    FOOTNOTE_CACHE=/opt/models
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --retries=4 \
    CMD ["python", "-P", "-m", "footnote.container_health"]
ENTRYPOINT ["tini", "--", "footnote"]
CMD ["up", "--host", "0.0.0.0", "--port", "8080"]

# The same with torch, for a worker that embeds on a GPU (FOOTNOTE_EMBEDDER=sentence-transformers:…).
FROM footnote AS footnote-gpu
COPY --from=model /opt/footnote /opt/footnote

FROM footnote
