"""What Alembic runs: all steps in the transaction of the connection it is given (`config.attributes["connection"]`)."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
