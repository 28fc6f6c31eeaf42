"""NVML by NVIDIA's own binding, over a library with the same functions: no board is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pynvml", reason="nvidia-ml-py (extra 'nvml') is not installed")

LIBRARY = r"""
#include <stdio.h>
#include <stdlib.h>
static const char *folder(void) { return getenv("BOARDS"); }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "the board is lost"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned at, void **board) { *board = (void *)(long)(at + 1); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(void *board, unsigned long long *energy) {
    char path[512];
    snprintf(path, sizeof path, "%s/%ld", folder(), (long)board - 1);
    FILE *file = fopen(path, "r");
    if (!file) return 15; /* NVML_ERROR_GPU_IS_LOST */
    int found = fscanf(file, "%llu", energy);
    fclose(file);
    return found == 1 ? 0 : 15;
}
"""
ASK = """
from pathlib import Path
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.power import nvml
from tokenworks.metering.source import MeterError
from tokenworks.settings import MeterSettings
boards = Path(__import__("sys").argv[1])
source = nvml.open_source(MeterSettings(), Calibration())
print([(one.zone, one.value, one.power) for one in source.read()], source.grade)
(boards / "1").unlink()
try:
    source.read()
except MeterError as error:
    print(error)
source.close()
"""
NONE = """
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.power import nvml
from tokenworks.settings import MeterSettings
try:
    nvml.open_source(MeterSettings(), Calibration())
except Exception as error:
    print(type(error).__name__, error)
"""


def run(script: str, *arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, env={**os.environ, **environ}, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def test_each_board_is_a_counter_and_a_lost_one_an_error(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the library with")
    (tmp_path / "library.c").write_text(LIBRARY)
    target = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(target), str(tmp_path / "library.c")], check=True)
    (tmp_path / "0").write_text("1500")
    (tmp_path / "1").write_text("7000250")
    said = run(ASK, str(tmp_path), LD_LIBRARY_PATH=str(tmp_path), BOARDS=str(tmp_path))
    assert said.splitlines() == ["[('gpu0', 1.5, False), ('gpu1', 7000.25, False)] nvml", "NVML: GPU is lost"]


def test_a_machine_without_the_library_is_told_so(tmp_path: Path) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has boards")
    assert "ConfigError meter.source nvml: NVML Shared Library Not Found" in run(NONE)
