"""How alike two texts are, 0 to 1, by the measures that maintained libraries have."""

from __future__ import annotations

from collections.abc import Callable

from tokenworks.core.errors import MissingExtraError

Measure = Callable[[str, str], float]  # (answer, reference) -> 0 to 1


def measure_named(name: str) -> Measure | None:
    """Return the measure; None for one that is not computed here.

    `fuzzy_match` is rapidfuzz' ratio (normalised indel similarity), `bleu` sacrebleu's smoothed sentence BLEU,
    `rouge_N` and `rouge_l` the F1 of rouge-score, without stemming.
    """
    if name == "fuzzy_match":
        return _fuzzy
    if name == "bleu":
        return _bleu
    if name in ("rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"):
        kind = name.replace("rouge_l", "rougeL").replace("rouge_", "rouge")
        return lambda answer, reference: _rouge(kind, answer, reference)
    return None


MEASURES = ("fuzzy_match", "bleu", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l")


def _fuzzy(answer: str, reference: str) -> float:
    try:
        from rapidfuzz.fuzz import ratio
    except ImportError:
        raise MissingExtraError("text_similarity by fuzzy_match", "evals") from None
    return float(ratio(answer, reference)) / 100


def _bleu(answer: str, reference: str) -> float:
    try:
        from sacrebleu.metrics.bleu import BLEU  # slow to import
    except ImportError:
        raise MissingExtraError("text_similarity by bleu", "evals") from None
    return float(BLEU(effective_order=True).sentence_score(answer, [reference]).score) / 100


def _rouge(kind: str, answer: str, reference: str) -> float:
    try:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # slow to import: it brings nltk
    except ImportError:
        raise MissingExtraError("text_similarity by rouge", "evals") from None
    return float(RougeScorer([kind]).score(reference, answer)[kind].fmeasure)
