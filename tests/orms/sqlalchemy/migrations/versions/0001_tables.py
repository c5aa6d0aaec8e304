"""People, posts, follows and tags."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("handle", sa.String(40), nullable=False, unique=True),
        sa.Column("settings", postgresql.JSONB, nullable=False, server_default="{}"),
        sa.Column("interests", postgresql.ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("followers_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("joined", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("followers_count >= 0", name="followers_not_negative"),
    )
    op.create_table(
        "posts",
        sa.Column("author_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("likes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("written", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("posts_recent", "posts", ["author_id", "written"])
    op.create_table(
        "follows",
        sa.Column("follower_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("followee_id", sa.BigInteger, primary_key=True),
    )
    op.create_table(
        "tags",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("name", sa.String(40), nullable=False, unique=True),
    )
    op.create_table(
        "post_tags",
        sa.Column("author_id", sa.BigInteger, primary_key=True),
        sa.Column("post_id", sa.BigInteger, primary_key=True),
        sa.Column("tag_id", sa.Integer, sa.ForeignKey("tags.id"), primary_key=True),
        sa.ForeignKeyConstraint(["author_id", "post_id"], ["posts.author_id", "posts.id"], ondelete="CASCADE"),
    )


def downgrade():
    for table in ("post_tags", "tags", "follows", "posts", "users"):
        op.drop_table(table)
