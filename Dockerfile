# The worker, and the command line `refold`.
FROM python:3.12-slim

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

WORKDIR /app

# Packages first: this layer changes only with the lock.
COPY requirements.lock ./
RUN pip install --require-hashes --no-deps -r requirements.lock

COPY pyproject.toml README.md LICENSE worker.py ./
COPY refold ./refold
COPY workflows ./workflows
COPY activities ./activities
COPY projections ./projections
# Editable, so that there is one copy of the code: a volume over projections/ takes effect.
RUN pip install --no-deps --no-build-isolation --editable . \
    && useradd --system --uid 10001 --no-create-home refold

USER refold

# As process 1 it gets the SIGTERM itself, and finishes its batches.
CMD ["python", "worker.py"]
