"""Runs Alembic on the application's database. Each run is one transaction, so a migration is applied wholly or not at all."""

from alembic import context
from flask import current_app
from sqlalchemy import Table

migrate = current_app.extensions["migrate"]


def include_object(thing: object, name: str | None, kind: str, reflected: bool, _compare_to: object) -> bool:
    """Whether Alembic compares this object. Tables and indexes that are not ours, such as TimescaleDB's, are left out."""
    if kind == "table" and reflected:
        return name in migrate.db.metadata.tables
    return not (
        kind == "index"
        and reflected
        and str(name).endswith("_idx")
        and isinstance(getattr(thing, "table", None), Table)
    )


with migrate.db.engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=migrate.db.metadata,
        include_object=include_object,
        transactional_ddl=True,
        **migrate.configure_args,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a large history may take long
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        context.run_migrations()
