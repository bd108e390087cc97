# Three images: api (no torch), worker (torch, trains), engine (vLLM).
#
#   docker build --target api    --tag retune-api    .
#   docker build --target worker --tag retune-worker .
#   docker build --target engine --tag retune-engine .
#
# Packages come from one index: pip's default, or --build-arg PIP_INDEX_URL=…

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ── What every image shares: our user, its directories, our code ──
FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    RETUNE_DATA_DIR=/data \
    RETUNE_BASES_DIR=/bases
# A fixed number, so that volumes and security policies can name it.
RUN groupadd --gid 10001 retune \
    && useradd --uid 10001 --gid retune --create-home --shell /usr/sbin/nologin retune \
    && install --directory --owner retune --group retune /data /bases
WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY requirements requirements
COPY schemas schemas
COPY serving serving
COPY jobs jobs
COPY api api

# ── api: HTTP, SQL, queue ──
FROM base AS api
ARG PIP_INDEX_URL
RUN pip install --no-cache-dir --constraint requirements/known-good.txt .
USER 10001:10001
VOLUME ["/data", "/bases"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["retune"]
CMD ["serve", "--only", "api", "--host", "0.0.0.0", "--port", "8000"]

# ── worker: checks files, trains, publishes ──
FROM base AS worker
ARG PIP_INDEX_URL
RUN pip install --no-cache-dir --constraint requirements/known-good.txt ".[train]"
USER 10001:10001
VOLUME ["/data", "/bases"]
# A stop lets the running step end and a resume point be written.
STOPSIGNAL SIGTERM
ENTRYPOINT ["retune"]
CMD ["serve", "--only", "worker"]

# ── engine: vLLM for one base and its adapters; never reachable from outside ──
FROM base AS engine
ARG PIP_INDEX_URL
RUN pip install --no-cache-dir "vllm>=0.33,<0.34" \
    && pip install --no-cache-dir --no-deps .
ENV VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 \
    VLLM_PLUGINS=retune_cpu_lora \
    VLLM_NO_USAGE_STATS=1 \
    HF_HUB_OFFLINE=1
USER 10001:10001
VOLUME ["/data", "/bases"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["python", "-m", "vllm.entrypoints.openai.api_server"]
CMD ["--help"]
