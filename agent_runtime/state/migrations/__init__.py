"""Steps from one schema of the database to the next, run at every start; a step that was released never changes."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


class NewerSchemaError(Exception):
    """The database has a schema that this runtime does not know."""


def migrate(connection: Connection) -> None:
    """Bring a database to the newest schema, within the transaction of `connection`.

    Raises:
        NewerSchemaError: a newer runtime has written it; its schema is left as it is.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent))
    configuration.attributes["connection"] = connection
    known = {step.revision for step in ScriptDirectory.from_config(configuration).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise NewerSchemaError(f"it has the schema {current}, which this runtime does not know")
    command.upgrade(configuration, "head")
