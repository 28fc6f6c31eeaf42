"""Does adapting the embedding model find more? Recall@10 on held-out questions and on documents it never saw.

    python benchmarks/adaptation.py [--by question|page] [--budget 120] [--collection sourcegraph-handbook]

Questions are the anchors of the documents' own links, answers the pages linked to. Two thirds are clicks to learn from,
the others are only asked: divided by the hash of the question's words, or, which is harder, of the page, so that nobody
ever clicked on what is asked for. General: the other collections, no page of which is trained on. Peer:
sentence-transformers' own training on the same pairs for the same number of steps.
Results: benchmarks/results/adaptation-question.json and .md, or -page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.stage import Bench
from tokenworks.line.evaluate.baselines import bm25
from tokenworks.line.evaluate.intervals import mean_score
from tokenworks.line.evaluate.paired import paired_scores
from tokenworks.line.evaluate.report import Item
from tokenworks.line.train import embed
from tokenworks.line.train._click_pairs import material
from tokenworks.line.train._clicks import cut, read_clicks
from tokenworks.line.train._encoder_torch import embed_rows, has_bf16, load_encoder, prepare
from tokenworks.line.train._pairs import mine
from tokenworks.line.train._tokens import tokenize
from tokenworks.line.train.bases import resolve_base
from tokenworks.store.artifacts import open_artifacts

RESULTS = Path(__file__).parent / "results"
COLLECTIONS = ("sourcegraph-handbook", "govuk-developer-docs", "opensearch-docs")
THREADS, DEPTH, RRF = 2, 10, 60
Question = dict[str, str]


class Collection:
    """Documents and questions of one collection."""

    def __init__(self, data: Path, name: str) -> None:
        root = data / "docs-enterprise"
        self.name = name
        self.questions = list(
            {
                (row["query"], row["target"]): row
                for row in map(json.loads, (root / "qrels-links" / f"{name}.jsonl").read_text().splitlines())
            }.values()
        )
        folder = next((one for one in sorted((root / name).iterdir()) if one.name[:2] == "20"), root / name)
        wanted = {row["target"] for row in self.questions}
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and (path.suffix in (".md", ".erb") or path.relative_to(folder).as_posix() in wanted)
        )
        self.documents = [_document(name, path, folder) for path in files]
        known = {one.path for one in self.documents}
        self.questions = [row for row in self.questions if row["target"] in known]
        pairs = [(number, text) for number, one in enumerate(self.documents) for text in cut(one)]
        self.owners = np.array([number for number, _ in pairs])
        self.passages = [text for _, text in pairs]


def _document(name: str, path: Path, folder: Path) -> Document:
    text = path.read_text(errors="replace")
    title = next(
        (line.split(":", 1)[1].strip(" \"'") for line in text.splitlines()[:12] if line.startswith("title:")), ""
    )
    title = title or next((line.strip("# ") for line in text.splitlines() if line.startswith("# ")), path.stem)
    return Document(
        path=path.relative_to(folder).as_posix(), source=name, sha256="0", media_type="text/markdown", text=text,
        title=title,
    )  # fmt: skip


def held_out(question: Question, by: str) -> bool:
    """Tell whether a question is only asked: by its own words, or by the page that it is about."""
    name = question["target"] if by == "page" else question["query"].strip().lower()
    return hashlib.sha256(name.encode()).digest()[0] % 3 == 0


def dense(folder: Path, collection: Collection, questions: Sequence[Question]) -> np.ndarray:
    """Return the score of each document for each question: that of its best passage."""
    encoder, bf16 = load_encoder(folder), has_bf16()
    passages = embed_rows(encoder, tokenize(folder, collection.passages), bf16=bf16).numpy()
    asked = embed_rows(encoder, tokenize(folder, [one["query"] for one in questions]), bf16=bf16).numpy()
    scores = np.full((len(questions), len(collection.documents)), -2.0, np.float32)
    np.maximum.at(scores.T, collection.owners, passages @ asked.T)
    return scores


def rank_of(scores: np.ndarray) -> np.ndarray:
    """Return the rank of every document for every question, from 0."""
    return np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)


def words(collection: Collection, questions: Sequence[Question]) -> np.ndarray:
    """Return the rank of every document by BM25 of its best passage."""
    ranked = bm25.rank(collection.passages, [one["query"] for one in questions], depth=len(collection.passages))
    ranks = np.empty((len(questions), len(collection.documents)))
    for row, order in enumerate(ranked):
        first = dict.fromkeys(collection.owners[order].tolist())
        ranks[row, list(first)] = np.arange(len(first))
        ranks[row, [at for at in range(ranks.shape[1]) if at not in first]] = len(first)
    return ranks


def items(ranks: np.ndarray, collection: Collection, questions: Sequence[Question]) -> list[Item]:
    """Return whether each question's page is among the first ten; questions about one page are one cluster."""
    number = {one.path: at for at, one in enumerate(collection.documents)}
    return [
        Item(id=str(row), score=float(ranks[row, number[one["target"]]] < DEPTH), cluster=one["target"])
        for row, one in enumerate(questions)
    ]


def judge(models: dict[str, Path], collection: Collection, questions: Sequence[Question]) -> dict[str, Any]:
    """Return recall@10 of words, vectors and both, and the paired differences to the base."""
    by_words = words(collection, questions)
    found = {"words": items(by_words, collection, questions)}
    for name, folder in models.items():
        ranks = rank_of(dense(folder, collection, questions))
        found[name] = items(ranks, collection, questions)
        both = 1 / (RRF + 1 + by_words) + 1 / (RRF + 1 + ranks)
        found[f"{name} + words"] = items(rank_of(both), collection, questions)
    recall = {
        name: mean_score("recall@10", [i.score for i in one], [i.cluster for i in one]) for name, one in found.items()
    }
    pairs = [(name, "base") for name in models if name != "base"]
    pairs += [(f"{name} + words", "base + words") for name in models if name != "base"]
    gains = {name: paired_scores(found[name], found[before], alpha=0.025) for name, before in pairs}
    return {
        "questions": len(questions), "documents": len(collection.documents),
        "recall": {name: [one.value, one.low, one.high] for name, one in recall.items()},
        "gain": {name: [one.difference, one.low, one.high] for name, one in gains.items()},
    }  # fmt: skip


def adapt(collection: Collection, clicks: Sequence[Question], budget_s: float, place: Path) -> dict[str, Any]:
    """Run PLAN and TRAIN as the line does; return the model's folder, log, plan and seconds."""
    (place / "scratch").mkdir()
    bench = Bench(
        artifacts=open_artifacts(str(place / "artifacts"), cache=place / "cache"), scratch=place / "scratch",
        cache=place / "other", threads=THREADS,
    )  # fmt: skip
    write_parts(place / "corpus", collection.documents)
    lines = "".join(
        json.dumps({"query": one["query"], "document": f"{collection.name}/{one['target']}"}) + "\n" for one in clicks
    )
    inputs = {
        "corpus": bench.artifacts.put_folder(place / "corpus"),
        "base": bench.artifacts.put_folder(resolve_base("minilm", Path())),
        "clicks": bench.artifacts.put_bytes(lines.encode()),
    }
    params, began = embed.Params(budget_s=budget_s), time.monotonic()
    inputs |= embed.PLAN.run(inputs, params, bench)
    out = embed.TRAIN.run(inputs, params, bench)
    return {
        "folder": bench.artifacts.folder(out["model"]), "seconds": time.monotonic() - began,
        "log": json.loads(bench.artifacts.get_bytes(out["log"])),
        "plan": json.loads(bench.artifacts.get_bytes(inputs["plan"])), "lines": lines.encode().splitlines(),
    }  # fmt: skip


def peer(collection: Collection, made: dict[str, Any], place: Path) -> tuple[Path, float] | None:
    """Train sentence-transformers on the same pairs for the same steps; None where it is not installed."""
    try:
        from sentence_transformers import InputExample, SentenceTransformer, losses
        from torch.utils.data import DataLoader
    except ImportError:
        return None
    base = resolve_base("minilm", Path())
    clicked = read_clicks(made["lines"], collection.documents)
    pairs = material(mine(collection.documents, 0), clicked, load_encoder(base), base, bf16=has_bf16()).learn
    began = time.monotonic()
    model = SentenceTransformer(str(base), device="cpu")
    model.max_seq_length = embed.MAX_TOKENS
    rows = DataLoader([InputExample(texts=[p.anchor, p.positive]) for p in pairs], shuffle=True, batch_size=embed.BATCH)
    steps = made["plan"]["steps"]
    model.fit(
        [(rows, losses.MultipleNegativesRankingLoss(model))], epochs=1, steps_per_epoch=steps,
        warmup_steps=steps // 10, optimizer_params={"lr": embed.PEAK}, show_progress_bar=False,
    )  # fmt: skip
    model.save(str(place / "peer"))
    return place / "peer", time.monotonic() - began


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    log = report["log"]
    lines = [
        "# Adaptation: recall@10 before and after",
        "",
        f"{report['machine']['cpu']}, {THREADS} threads. {report['collection']}, divided by {report['by']}:",
        f"{report['clicks']} clicks learnt from, {report['plan']['steps']} steps, share of adapted weights "
        f"{log['share_adapted']},",
        f"{report['seconds']:.0f} s for plan, training and choice; peer {report['peer_s']:.0f} s.",
        "Gain: paired difference to the base with its 95 % interval, questions about one page drawn together.",
        "",
        "| set | questions | method | recall@10 | gain |",
        "|---|---|---|---|---|",
    ]
    for name, one in report["sets"].items():
        for method, (value, low, high) in one["recall"].items():
            gain = one["gain"].get(method)
            shown = f"{gain[0]:+.3f} ({gain[1]:+.3f} to {gain[2]:+.3f})" if gain else "-"
            lines.append(f"| {name} | {one['questions']} | {method} | {value:.3f} ({low:.3f}-{high:.3f}) | {shown} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Adapt, judge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--by", default="question", choices=["question", "page"])
    parser.add_argument("--budget", type=float, default=120)
    parser.add_argument("--collection", default=COLLECTIONS[0], choices=COLLECTIONS)
    parser.add_argument("--general", nargs="*", default=["govuk-developer-docs"], choices=COLLECTIONS)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--data", default=os.environ.get("TOKENWORKS_DATA", f"{tempfile.gettempdir()}/tokenworks-data"))
    options = parser.parse_args()
    data = Path(options.data)
    if not (data / "docs-enterprise" / "qrels-links").is_dir():
        print(f"adaptation: skipped, no docs-enterprise below {data}; unpack shared/data or give --data")
        return
    prepare(THREADS)
    collection = Collection(data, options.collection)
    clicks = [one for one in collection.questions if not held_out(one, options.by)]
    asked = [one for one in collection.questions if held_out(one, options.by)]
    with tempfile.TemporaryDirectory() as place:
        made = adapt(collection, clicks, options.budget, Path(place))
        models = {"base": resolve_base("minilm", Path()), "adapted": made["folder"]}
        other = None if options.no_peer else peer(collection, made, Path(place))
        if other is not None:
            models["sentence-transformers"] = other[0]
        sets = {f"{options.collection}, held out": judge(models, collection, asked)}
        for name in options.general:
            if name != options.collection:
                general = Collection(data, name)
                sets[f"{name}, general"] = judge(models, general, general.questions)
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?:?")
    report = {
        "machine": {"cpu": cpu.split(":")[1].strip(), "cores": os.cpu_count(), "os": platform.platform()},
        "collection": options.collection, "by": options.by, "clicks": len(clicks), "seconds": made["seconds"],
        "peer_s": other[1] if other else 0.0, "plan": made["plan"], "log": {**made["log"], "losses": []}, "sets": sets,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"adaptation-{options.by}.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / f"adaptation-{options.by}.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
