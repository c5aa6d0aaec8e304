"""Alembic's environment: the connection comes from whoever runs it."""

from alembic import context

from models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, transaction_per_migration=True
)
with context.begin_transaction():
    context.run_migrations()
