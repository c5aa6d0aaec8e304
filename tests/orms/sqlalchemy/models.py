"""A social network's models: nothing in them knows of shards."""

import datetime

from sqlalchemy import (
    BigInteger, CheckConstraint, DateTime, ForeignKey, ForeignKeyConstraint, Identity, Index, Integer, String, Text, func,
)  # fmt: skip
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    handle: Mapped[str] = mapped_column(String(40), unique=True)
    email: Mapped[str | None] = mapped_column(Text, unique=True)
    settings: Mapped[dict] = mapped_column(JSONB, default=dict, server_default="{}")
    interests: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default="{}")
    followers_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    joined: Mapped[datetime.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    posts: Mapped[list["Post"]] = relationship(back_populates="author", cascade="all, delete-orphan", passive_deletes=True)
    following: Mapped[list["Follow"]] = relationship(
        foreign_keys="Follow.follower_id", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (CheckConstraint("followers_count >= 0", name="followers_not_negative"),)
    # An UPDATE that finds another version fails.
    __mapper_args__ = {"version_id_col": version}


class Post(Base):
    __tablename__ = "posts"

    # The shard key is part of the primary key: a post is found, and kept unique, on its author's shard alone.
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    likes: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    written: Mapped[datetime.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    author: Mapped[User] = relationship(back_populates="posts")
    tags: Mapped[list["Tag"]] = relationship(secondary="post_tags", order_by="Tag.name")

    __table_args__ = (Index("posts_recent", "author_id", "written"),)


class Follow(Base):
    __tablename__ = "follows"

    follower_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    followee_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)

    followee: Mapped[User] = relationship(primaryjoin="foreign(Follow.followee_id) == User.id", viewonly=True)


class Tag(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)


class PostTag(Base):
    __tablename__ = "post_tags"

    author_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    post_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id"), primary_key=True)

    __table_args__ = (
        ForeignKeyConstraint(["author_id", "post_id"], ["posts.author_id", "posts.id"], ondelete="CASCADE"),
    )
