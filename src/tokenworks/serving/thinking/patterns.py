"""Regular expressions that callers send: bounded in size and in time, since some never end.

They let go of the interpreter while they look: called in a thread, they hold up nobody.
"""

from __future__ import annotations

from tokenworks.core.errors import DataError

LONGEST = 1000  # characters of a pattern
LONGEST_TEXT = 200_000
TIMEOUT_S = 0.25


class Pattern:
    """A compiled pattern. Raises `DataError` for one that is none, and where it takes too long."""

    def __init__(self, pattern: str) -> None:
        import regex  # type: ignore[import-untyped]  # the only engine with a time-out; loaded where a pattern is used

        if len(pattern) > LONGEST:
            raise DataError(f"the pattern has {len(pattern)} characters; at most {LONGEST} are taken")
        try:
            self._compiled = regex.compile(pattern)
        except (regex.error, OverflowError, RecursionError) as error:
            raise DataError(f"the pattern {pattern[:80]!r} is not a regular expression: {error}") from None
        self._pattern = pattern

    def last(self, text: str) -> str:
        """Return the first group of the last match, all of it where there is no group, "" where nothing matches."""
        found = ""
        try:
            for match in self._compiled.finditer(text[:LONGEST_TEXT], concurrent=True, timeout=TIMEOUT_S):
                found = match.group(1 if self._compiled.groups else 0) or ""
        except TimeoutError:
            raise self._too_long() from None
        return found

    def found_in(self, text: str) -> bool:
        """Return whether it matches anywhere."""
        try:
            return self._compiled.search(text[:LONGEST_TEXT], concurrent=True, timeout=TIMEOUT_S) is not None
        except TimeoutError:
            raise self._too_long() from None

    def _too_long(self) -> DataError:
        return DataError(f"the pattern {self._pattern[:80]!r} took longer than {TIMEOUT_S:g} s; write a simpler one")
