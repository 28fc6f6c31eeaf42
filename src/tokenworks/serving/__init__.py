"""A release to tokens: engine processes, who starts and watches them, and how they are reached."""

import sys

# OpenVINO tells a statistics service abroad of its every import, from a process that it forks for it. It does without
# where that package is missing; who imports OpenVINO after us finds it so.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
