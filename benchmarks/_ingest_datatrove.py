"""The peer of `ingest.py`: the same work as a datatrove pipeline. Runs in an environment that has datatrove, not ours.

Usage: python _ingest_datatrove.py SOURCE OUT PROCESSES spacy|whitespace; the last line printed is the number kept.
"""

import sys
from pathlib import Path

import py3langid
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import JsonlWriter


class TextFiles(BaseDiskReader):
    """A document a file."""

    name = "Text files"

    def read_file(self, filepath):
        """Yield the file as one document."""
        with self.data_folder.open(filepath, "r", encoding="utf-8", errors="replace") as file:
            with self.track_time():
                document = self.get_document_from_dict({"text": file.read()}, filepath, 0)
            if document:
                yield document


def language(document) -> bool:
    """Note the language of the middle of the text, as the other side does; keep everything."""
    middle = max(0, len(document.text) // 2 - 300)
    document.metadata["language"] = py3langid.classify(document.text[middle : middle + 600])[0]
    return True


def main() -> None:
    """Run the five steps of datatrove's own MinHash example behind its readers and filters."""
    source, out, processes, words = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    tokenizer = "eng"
    if words == "whitespace":
        from datatrove.utils.word_tokenizers import WhitespaceTokenizer

        tokenizer = WhitespaceTokenizer()
    config = MinhashConfig()

    def execute(name, pipeline, tasks=processes) -> None:
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=processes, logging_dir=str(out / "logs" / name)
        ).run()

    execute(
        "filter",
        [
            TextFiles(source),
            LambdaFilter(language),
            GopherQualityFilter(min_doc_words=20, max_non_alpha_words_ratio=0.4, language=tokenizer),
            JsonlWriter(str(out / "filtered"), compression=None),
        ],
    )
    filtered = JsonlReader(str(out / "filtered"), compression=None)
    execute("signatures", [filtered, MinhashDedupSignature(str(out / "signatures"), config=config, language=tokenizer)])
    execute(
        "buckets",
        [MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"), config=config)],
        tasks=config.num_buckets,
    )
    execute("cluster", [MinhashDedupCluster(str(out / "buckets"), str(out / "remove"), config=config)], tasks=1)
    execute(
        "write",
        [filtered, MinhashDedupFilter(str(out / "remove")), JsonlWriter(str(out / "corpus"), compression=None)],
    )
    print(sum(1 for path in (out / "corpus").iterdir() for _ in path.open("rb")))


if __name__ == "__main__":
    main()
