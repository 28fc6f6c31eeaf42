"""Fine-tuning jobs of the API: run one after the other by the line, each in a process of its own."""

from __future__ import annotations

from typing import Literal

Until = Literal["validated", "released"]  # how far a process takes a job
