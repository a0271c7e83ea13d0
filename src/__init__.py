"""Exact nearest-neighbour evaluation of metric-learning networks."""

import os
from pathlib import Path

# configs/paths/default.yaml starts every path here, so that the entry points run from any folder.
os.environ["PROJECT_ROOT"] = str(Path(__file__).resolve().parents[1])

# MLflow reads these when it is imported: no telemetry, no chatter about its tables, no
# bars of single downloads, and an unreachable server costs seconds, not minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
