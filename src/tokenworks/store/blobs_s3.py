"""Blobs in an S3-compatible bucket, with a local cache. An upload is visible whole or not at all: S3 sees to that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tokenworks.core.errors import ErasedError, IntegrityError, MissingExtraError, NotFoundError, StoreError
from tokenworks.store.blobs import hash_file
from tokenworks.store.blobs_local import LocalBlobs

_ABSENT = {"404", "NoSuchKey", "NotFound"}


class S3Blobs:
    """Objects `prefix/ab/cd/abcd...` of one bucket. Credentials come from where boto3 looks for them."""

    def __init__(self, bucket: str, prefix: str, cache: LocalBlobs, endpoint: str = "") -> None:
        self._bucket, self._prefix, self._cache = bucket, prefix, cache
        self._client = _client(endpoint)
        with self._explained(""):
            self._client.head_bucket(Bucket=bucket)

    def put(self, source: BinaryIO) -> tuple[str, int]:
        """Stage the bytes in the cache, then upload them unless the bucket has them."""
        digest, size = self._cache.put(source)
        if not self.has(digest):
            with self._explained(digest):
                self._client.upload_file(str(self._cache.local(digest)), self._bucket, self._key(digest))
        return digest, size

    def has(self, digest: str) -> bool:
        """Return whether the bucket has the bytes; the cache alone does not count."""
        try:
            self.size(digest)
        except NotFoundError:
            return False
        return True

    def size(self, digest: str) -> int:
        """Return the number of bytes; raise `NotFoundError`."""
        with self._explained(digest):
            return int(self._client.head_object(Bucket=self._bucket, Key=self._key(digest))["ContentLength"])

    def open(self, digest: str) -> BinaryIO:
        """Return the cached file, downloaded and verified first where it is not there or damaged."""
        return self.local(digest).open("rb")

    def digests(self) -> Iterator[str]:
        """Yield the digest of everything in the bucket below the prefix."""
        pages = self._client.get_paginator("list_objects_v2")
        root = f"{self._prefix}/" if self._prefix else ""
        with self._explained(""):
            for page in pages.paginate(Bucket=self._bucket, Prefix=root):
                for item in page.get("Contents", ()):
                    if not str(item["Key"]).startswith(f"{root}erased/"):
                        yield str(item["Key"]).rsplit("/", 1)[-1]

    def local(self, digest: str) -> Path:
        """Return the cached file, downloaded and verified first where it is not there or damaged."""
        if self._cache.has(digest):
            if hash_file(self._cache.local(digest)) == digest:
                return self._cache.local(digest)
            self._cache.drop(digest)
        found = self._download(digest)
        if found != digest:
            self._cache.drop(found)
            raise IntegrityError(
                f"artifact {digest} at {self.place(digest)}: the bytes are not those that were stored; "
                "delete that object and run the stage again, or restore an older version of it"
            )
        return self._cache.local(digest)

    def _download(self, digest: str) -> str:
        try:
            with self._explained(digest):
                body = self._client.get_object(Bucket=self._bucket, Key=self._key(digest))["Body"]
                return self._cache.put(body)[0]
        except NotFoundError:
            if because := self.erased(digest):
                raise ErasedError(
                    f"artifact {digest} was erased on request ({because}); make what needs it anew"
                ) from None
            raise

    def place(self, digest: str) -> str:
        """Return the address, for people."""
        return f"s3://{self._bucket}/{self._key(digest)}"

    def erase(self, digest: str, because: str) -> None:
        """Keep `because` under another key, then delete the object and the cached file.

        A bucket with versioning keeps the old version: delete it there, or let its life cycle rule do it.
        """
        with self._explained(digest):
            self._client.put_object(Bucket=self._bucket, Key=self._tombstone(digest), Body=because.encode())
            self._client.delete_object(Bucket=self._bucket, Key=self._key(digest))
        self._cache.drop(digest)

    def erased(self, digest: str) -> str:
        """Return why the bytes were erased, empty where they were not or came back since."""
        if self.has(digest):
            return ""
        try:
            with self._explained(digest):
                body = self._client.get_object(Bucket=self._bucket, Key=self._tombstone(digest))["Body"].read()
        except NotFoundError:
            return ""
        return bytes(body).decode()

    def _tombstone(self, digest: str) -> str:
        return f"{self._prefix}/erased/{digest}" if self._prefix else f"erased/{digest}"

    def _key(self, digest: str) -> str:
        path = f"{digest[:2]}/{digest[2:4]}/{digest}"
        return f"{self._prefix}/{path}" if self._prefix else path

    @contextlib.contextmanager
    def _explained(self, digest: str) -> Iterator[None]:
        """Turn what S3 says into what an operator can do."""
        from botocore.exceptions import BotoCoreError, ClientError  # heavy, and an extra

        place = self.place(digest) if digest else f"s3://{self._bucket}/{self._prefix}"
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if digest and code in _ABSENT:
                raise NotFoundError(f"artifact {digest} is not at {place}; run the stage that makes it again") from None
            hint = "create the bucket" if code in {*_ABSENT, "NoSuchBucket"} else "check credentials and permissions"
            raise StoreError(f"{place}: {error}; {hint}") from error
        except (BotoCoreError, OSError) as error:
            raise StoreError(f"{place}: {error}; check store.s3_endpoint and the network") from error


def _client(endpoint: str) -> Any:
    try:
        import boto3  # heavy (0.3 s) and an extra: loaded only where the store is in S3
        from botocore.config import Config
    except ImportError:
        raise MissingExtraError("an artifact store in S3", "s3") from None
    # Servers other than Amazon's rarely answer to bucket names as host names.
    config = Config(
        retries={"max_attempts": 5, "mode": "standard"}, s3={"addressing_style": "path"} if endpoint else None
    )
    session = boto3.session.Session()
    return session.client(
        "s3", endpoint_url=endpoint or None, region_name=session.region_name or "us-east-1", config=config
    )
