"""Which bytes the factory itself is made of: whoever deletes a file with the same bytes must not take them away."""

from __future__ import annotations

from tokenworks.line.descent import files_of
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.catalog import Catalog


class Needed:
    """Asked by digest. What a folder consists of never changes, so each is read once."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactStore) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._files: dict[str, frozenset[str]] = {}

    def __call__(self, digest: str) -> bool:
        """Return whether a model version or a result of a stage is, or has in its folder, the bytes of `digest`."""
        made = {each for result in self._catalog.stages.all() for each in result.outputs.values()}
        models = self._catalog.models
        versions = [version for name in models.names() for version in models.of(name)]
        made |= {each for version in versions for each in (version.folder, version.evaluation) if each}
        return digest in made or any(digest in self._of(folder) for folder in {one.folder for one in versions})

    def _of(self, folder: str) -> frozenset[str]:
        if folder not in self._files:
            self._files[folder] = frozenset(files_of(self._artifacts, folder))
        return self._files[folder]
