"""The tables kept up with the log: read on from where they are, batch by batch, each with its place in one step."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tokenworks.ledger.entries import AnyEntry, RequestEntry
from tokenworks.ledger.position import Position
from tokenworks.ledger.reader import Cursor, writers
from tokenworks.ledger.sql.database import Answer, Database, Sqlite
from tokenworks.ledger.sql.tables import TABLES, Row, Usage

BATCH = 20_000
Placed = tuple[Position, AnyEntry]


class Views:
    """The tables in `database` over the log at `root`. Any number of processes may fold and ask at the same time."""

    def __init__(self, root: Path, database: Database) -> None:
        self._root, self._database = root, database
        self._cursors: dict[str, Cursor] = {}
        self._lock = threading.Lock()
        database.prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def catch_up(self) -> int:
        """Take in what the log has gained; return how many entries were added. Raises `IntegrityError` at damage."""
        with self._lock:
            try:
                return sum(self._fold(name) for name in writers(self._root))
            except BaseException:
                self._cursors.clear()  # they may stand behind entries that were not kept
                raise

    def rebuild(self) -> int:
        """Drop everything and fold the whole log again; return how many entries it has."""
        with self._lock:
            self._cursors.clear()
            self._database.drop()
        return self.catch_up()

    def ask(self, query: str, values: Sequence[object] = ()) -> contextlib.AbstractContextManager[Answer]:
        """Give the answer to one statement over what is folded. Raises `ConfigError` for one that is wrong."""
        return self._database.ask(query, values)

    def _fold(self, writer: str) -> int:
        added = 0
        while True:
            if writer not in self._cursors:
                with self._database.fold() as fold:
                    self._cursors[writer] = Cursor(self._root / writer, fold.place(writer) + 1)
            entries = self._cursors[writer].entries()
            while batch := list(itertools.islice(entries, BATCH)):
                taken = self._take(writer, batch)
                if taken is None:
                    break
                added += taken
            else:
                return added
            del self._cursors[writer]  # somebody dropped the tables meanwhile: begin where they are now

    def _take(self, writer: str, batch: list[Placed]) -> int | None:
        """Add what is not in yet, in one transaction; return how many. None where entries before it are missing."""
        with self._database.fold() as fold:
            last = fold.place(writer)
            if last + 1 < batch[0][0].index:
                return None
            new = [one for one in batch if one[0].index > last]  # another process may have been faster
            if not new:
                return 0
            rows, usage = dict[str, list[Row]](), Usage()
            for position, entry in new:
                table = TABLES[type(entry)]
                rows.setdefault(table.name, []).append((writer, position.index, *table.row(entry)))
                if isinstance(entry, RequestEntry):
                    usage.add(entry)
            for name, found in rows.items():
                fold.add(name, found)
            fold.add_usage(usage.rows())
            fold.move(writer, new[-1][0].index)
            return len(new)


def open_views(root: Path, folder: Path, catalog_url: str) -> Views:
    """Return the views of the log at `root`: in PostgreSQL where the catalog is there, else in a file in `folder`."""
    if catalog_url.startswith("postgresql"):
        from tokenworks.ledger.sql.postgres import Postgres  # an extra

        return Views(root, Postgres(catalog_url))
    return Views(root, Sqlite(folder / "ledger.db"))
