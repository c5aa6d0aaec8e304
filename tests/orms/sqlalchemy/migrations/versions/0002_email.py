"""An e-mail address, unique over all people."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("users", sa.Column("email", sa.Text))
    op.create_unique_constraint("users_email_key", "users", ["email"])
    op.execute("UPDATE users SET email = handle || '@example.com'")


def downgrade():
    op.drop_column("users", "email")
