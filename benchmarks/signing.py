"""Signing a model folder: our small implementation beside the `model-signing` package, same key, same format.

Run `python benchmarks/signing.py`; it writes `results/signing.json` and `results/signing.md`. Decision 0081 reads it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from durable import footprint, machine, spread

RESULTS = Path(__file__).parent / "results"
SIZES_MB = (20, 500)
ROUNDS = 3
_COMMON = """
import json, os, sys, time
from pathlib import Path
folder, home = Path(sys.argv[1]), Path(sys.argv[2])
def timed(work):
    before = time.perf_counter(); work(); return time.perf_counter() - before
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
"""
OURS = """
def load():
    global keys, inspect, sign
    from tokenworks.line.release import inspect, keys, sign
import_s = timed(load); import_mb = resident_mb()
key = keys.ensure_signing_key(home)
sign_s = timed(lambda: sign.sign_folder(folder, key, name="m"))
verify_s = timed(lambda: inspect.verify_folder(folder, key.public))
print(json.dumps({"import_s": import_s, "import_mb": import_mb, "sign_s": sign_s, "verify_s": verify_s}))
"""
OFFICIAL = """
def load():
    global model_signing
    import model_signing
import_s = timed(load); import_mb = resident_mb()
from model_signing import hashing, signing, verifying
signature = folder / "model.sig"
ignoring = hashing.Config().set_ignored_paths(paths=[signature.name], ignore_git_paths=True)
signer = signing.Config().use_elliptic_key_signer(private_key=home / "keys/signing.pem").set_hashing_config(ignoring)
verifier = verifying.Config().use_elliptic_key_verifier(public_key=home / "keys/signing.pub.pem")
sign_s = timed(lambda: signer.sign(folder, signature))
verify_s = timed(lambda: verifier.verify(folder, signature))
print(json.dumps({"import_s": import_s, "import_mb": import_mb, "sign_s": sign_s, "verify_s": verify_s}))
"""
WAYS = {"ours": OURS, "model-signing": OFFICIAL}


def main() -> None:
    """Measure, and write the results."""
    with tempfile.TemporaryDirectory() as name:
        figures = _measure(Path(name))
    added = footprint("model-signing", beside="tokenworks")
    result = {"machine": machine(), "figures": figures, "added by model-signing": added}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "signing.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "signing.md").write_text(_markdown(result))
    print(_markdown(result))


def _measure(root: Path) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for size_mb in SIZES_MB:
        folder = _folder(root / f"{size_mb}", size_mb)
        for _ in range(ROUNDS):
            for way, program in WAYS.items():  # ours first: it makes the key
                once = _run(program, folder, root / "home")
                for name in ("sign_s", "verify_s"):
                    found[way].setdefault(f"{name} {size_mb} MB", []).append(once[name])
                for name in ("import_s", "import_mb"):
                    found[way].setdefault(name, []).append(once[name])
    return found


def _folder(folder: Path, size_mb: int) -> Path:
    """Write a model folder of two weight files of random numbers."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    size = size_mb * 2**20 // 2
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    for name in ("model", "head"):
        with (folder / f"{name}.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.writelines(os.urandom(2**20) for _ in range(size >> 20))
    return folder


def _run(program: str, folder: Path, home: Path) -> dict[str, float]:
    command = [sys.executable, "-c", _COMMON + program, str(folder), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _markdown(result: dict) -> str:
    figures, about, added = result["figures"], result["machine"], result["added by model-signing"]
    names = list(figures["ours"])
    rows = [f"| {name} | {' | '.join(spread(figures[way][name], 2) for way in WAYS)} |" for name in sorted(names)]
    ratios = {
        name: statistics.median(figures["model-signing"][name]) / statistics.median(figures["ours"][name])
        for name in names
    }
    lines = [
        "# Signing a model folder",
        "",
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, load {about['load']:.1f}; warm file cache, "
        f"each in a process of its own, median (min - max), interleaved. Ours verifies and inspects.",
        "",
        f"| | {' | '.join(WAYS)} |",
        "| --- | --- | --- |",
        *rows,
        "",
        "model-signing : ours = " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in sorted(ratios.items())),
        "",
        f"model-signing adds {len(added['distributions'])} distributions, {added['mb']} MB to the core install: "
        f"{', '.join(added['distributions'])}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
