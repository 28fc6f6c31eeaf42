"""The catalog's tables as they are at `HEAD`. Every change here comes with a migration beside it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

HEAD = "0006"  # the newest migration; a test compares

metadata = MetaData()
_bigint = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by INTEGER PRIMARY KEY only

tenants = Table(
    "tenants",
    metadata,
    Column("name", String, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("closed_at", Float),
)
projects = Table(
    "projects",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("closed_at", Float),
)
people = Table(
    "people",
    metadata,
    Column("id", String, primary_key=True),
    Column("handle", String, nullable=False, unique=True),
    Column("tenant", String, nullable=False, index=True),
    Column("roles", Text, nullable=False),  # JSON
    Column("claimed", Text, nullable=False),  # JSON
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
)
access_changes = Table(
    "access_changes",  # changes under way: planned here, recorded in the ledger, then done and gone from here
    metadata,
    Column("id", String, primary_key=True),
    Column("place", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("entry", Text, nullable=False),  # JSON
    Column("first", Text, nullable=False),  # JSON
    Column("then", Text, nullable=False),  # JSON
)
keys = Table(
    "keys",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("prefix", String, nullable=False),
    Column("tenant", String, nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("scopes", Text, nullable=False),  # JSON
    Column("clearance", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("id", String, nullable=False, server_default="", index=True),
    Column("project", String, nullable=False, server_default=""),
    Column("owner", String, nullable=False, server_default=""),
    Column("roles", Text, nullable=False, server_default="[]"),  # JSON
    Column("ended_by", String, nullable=False, server_default=""),
    Column("parent", String, nullable=False, server_default="", index=True),
    Column("models", Text, nullable=False, server_default="[]"),  # JSON
    Column("budget", Text, nullable=False, server_default="null"),  # JSON
)
owners = Table(
    "owners",
    metadata,
    Column("address", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("since", Float, nullable=False),
)
tasks = Table(
    "tasks",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("deputy", String, nullable=False),
    Column("label", String, nullable=False),
    Column("spec", Text, nullable=False),  # JSON
    Column("digest", String, nullable=False),
    Column("updated_at", Float, nullable=False),
)
sources = Table(
    "sources",
    metadata,
    Column("task", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("path", String, nullable=False),
    Column("label", String, nullable=False),
    Column("licence", String, nullable=False),
)
corpora = Table(
    "corpora",
    metadata,
    Column("task", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("label", String, nullable=False),
    Column("documents", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
)
datasets = Table(
    "datasets",
    metadata,
    Column("task", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("train", String(64), nullable=False),
    Column("gold", String(64), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("label", String, nullable=False),
    Column("created_at", Float, nullable=False),
)
stage_results = Table(
    "stage_results",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("stage", String, nullable=False),
    Column("task", String, nullable=False, index=True),
    Column("inputs", Text, nullable=False),  # JSON
    Column("outputs", Text, nullable=False),  # JSON
    Column("params", Text, nullable=False),  # JSON
    Column("seconds", Float, nullable=False),
    Column("finished_at", Float, nullable=False),
)
stage_outputs = Table(
    "stage_outputs",  # artifact -> the stages that made it: lineage is asked backwards
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key", String(64), primary_key=True),
)
runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("task", String, nullable=False, index=True),
    Column("started_at", Float, nullable=False),
    Column("status", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("finished_at", Float),
    Column("error", Text, nullable=False),
)
counters = Table(
    "counters",  # the last version number given out, per noun and name
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Integer, nullable=False),
)
model_versions = Table(
    "model_versions",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("folder", String(64), nullable=False),
    Column("kind", String, nullable=False),
    Column("label", String, nullable=False),
    Column("licence", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("base", String, nullable=False),
    Column("stage_key", String, nullable=False),
    Column("evaluation", String, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("tenant", String, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("model", "folder", name="one_version_per_folder"),
)
releases = Table(
    "releases",
    metadata,
    Column("number", _bigint, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("alias", String, nullable=False),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("action", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("evidence", String, nullable=False),
    Column("canary", Integer, nullable=False, server_default="0"),
    Column("share", Float, nullable=False, server_default="0"),
    Column("mode", String, nullable=False, server_default=""),
    Index("releases_by_alias", "alias", "number"),
)
objects = Table(
    "objects",  # what callers and turns keep here under an id: files, jobs, evals, turns
    metadata,
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("scope", String, nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Column("created_at", Float, nullable=False),
    Column("revision", Integer, nullable=False),
    Index("objects_by_scope", "kind", "scope", "created_at"),
)
