"""SQLAlchemy 2 against PostgreSQL or Oskol; see ../README.md and docs/sqlalchemy.md."""

import asyncio
import os
import pathlib
import sys
import threading

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, delete, func, inspect, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, aliased, joinedload, raiseload, selectinload, sessionmaker, subqueryload
from sqlalchemy.orm.exc import StaleDataError

from models import Base, Follow, Post, PostTag, Tag, User

URL = os.environ["CLIENT_TEST_URL"].split("://", 1)[1]
PEOPLE = 60

# An ordinary engine. `pool_pre_ping` asks before a connection is used again, as after a restart of the router.
engine = create_engine("postgresql+psycopg://" + URL, pool_pre_ping=True, pool_size=5)
Sessions = sessionmaker(engine)


def check(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")


def migrations():
    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        command.upgrade(config, "head")
        command.downgrade(config, "0001")
        command.upgrade(config, "head")
        # Alembic reads the tables back and finds that they are what the models say.
        command.check(config)


def reflection():
    inspector = inspect(engine)
    tables = {"users", "posts", "follows", "tags", "post_tags"}
    check(tables - set(inspector.get_table_names()), set(), "tables read back")
    check(inspector.get_pk_constraint("posts")["constrained_columns"], ["author_id", "id"], "primary key")
    (key,) = inspector.get_foreign_keys("posts")
    check((key["referred_table"], key["options"]), ("users", {"ondelete": "CASCADE"}), "foreign key")
    unique = {constraint["name"] for constraint in inspector.get_unique_constraints("users")}
    check(unique, {"users_handle_key", "users_email_key"}, "unique constraints")
    check([index["name"] for index in inspector.get_indexes("posts")], ["posts_recent"], "indexes")
    check(len(inspector.get_check_constraints("users")), 1, "check constraints")


def bulk_insert():
    """Rows of one flush are one INSERT; each object gets the id of its own row."""
    with Sessions.begin() as session:
        users = [User(handle=f"user-{n:02}", email=f"user-{n:02}@example.com") for n in range(PEOPLE)]
        session.add_all(users)
        session.flush()
        handles = {user.id: user.handle for user in users}
        check(len(handles), PEOPLE, "ids")
        session.add_all(Post(author=user, body=f"{user.handle} {n}", likes=n) for user in users for n in range(3))
        session.add_all(Tag(name=name) for name in ("birds", "boats", "bread"))
    with Sessions() as session:
        for id, handle in handles.items():
            check(session.get(User, id).handle, handle, "a row by its key")
        post = session.scalars(select(Post).where(Post.body == "user-07 2")).one()
        check(session.get(Post, (post.author_id, post.id)).likes, 2, "a row by a key of two columns")
    with Sessions.begin() as session:
        handles = [f"bulk-{n}" for n in range(40)]
        made = insert(User).returning(User.id, User.handle, sort_by_parameter_order=True)
        rows = session.execute(made, [{"handle": handle} for handle in handles]).all()
        check([row.handle for row in rows], handles, "returned rows in the order of the parameters")
        session.execute(delete(User).where(User.handle.startswith("bulk-")))


def loading():
    with Sessions() as session:
        for load in (selectinload, joinedload, subqueryload):
            query = select(User).options(load(User.posts), raiseload("*")).order_by(User.id)
            users = session.scalars(query).unique().all()
            check([len(user.posts) for user in users], [3] * PEOPLE, load.__name__)
            session.expunge_all()
        posts = session.scalars(select(Post).options(joinedload(Post.author)).order_by(Post.id)).all()
        check([post.author.handle for post in posts[:3]], ["user-00"] * 3, "joined the other way")


def many_to_many():
    with Sessions.begin() as session:
        birds, boats = session.scalars(select(Tag).where(Tag.name.in_(["birds", "boats"])).order_by(Tag.name))
        for post in session.scalars(select(Post).where(Post.likes == 0)):
            post.tags = [birds, boats] if post.author_id % 2 else [birds]
    with Sessions() as session:
        tagged = select(func.count()).select_from(Post).where(Post.tags.any(Tag.name == "birds"))
        check(session.scalar(tagged), PEOPLE, "posts with a tag")
        posts = session.scalars(select(Post).options(selectinload(Post.tags)).where(Post.likes == 0)).all()
        check({tag.name for post in posts for tag in post.tags}, {"birds", "boats"}, "tags")
        used = select(Tag.name, func.count(PostTag.post_id)).outerjoin(PostTag).group_by(Tag.name).order_by(Tag.name)
        check(dict(session.execute(used).all())["bread"], 0, "a tag without posts")


def feed():
    """Posts of those whom one person follows."""
    with Sessions.begin() as session:
        users = session.scalars(select(User).order_by(User.id)).all()
        session.add_all(Follow(follower_id=users[0].id, followee_id=user.id) for user in users[1:11])
    with Sessions() as session:
        me = session.scalars(select(User).where(User.handle == "user-00")).one()
        followees = select(Follow.followee_id).where(Follow.follower_id == me.id)
        query = (
            select(Post).where(Post.author_id.in_(followees)).options(joinedload(Post.author))
            .order_by(Post.id.desc()).limit(5)
        )  # fmt: skip
        newest = session.scalars(query).all()
        check([post.author.handle for post in newest], ["user-10"] * 3 + ["user-09"] * 2, "the feed")
        check(sorted(follow.followee.handle for follow in me.following)[:2], ["user-01", "user-02"], "followees")


def queries():
    with Sessions() as session:
        likes = select(Post.likes, func.count(), func.avg(Post.likes)).group_by(Post.likes).order_by(Post.likes)
        check([tuple(row) for row in session.execute(likes)], [(n, PEOPLE, n) for n in range(3)], "groups")
        place = func.row_number().over(partition_by=Post.author_id, order_by=Post.likes.desc()).label("place")
        best = select(Post.body, place).subquery()
        check(session.scalar(select(func.count()).select_from(best).where(best.c.place == 1)), PEOPLE, "windows")
        other = aliased(User)
        pairs = select(func.count()).select_from(User).join(other, other.id > User.id).where(User.followers_count == 0)
        check(session.scalar(pairs), PEOPLE * (PEOPLE - 1) // 2, "a table joined with itself")
        circle = select(Follow.followee_id).where(Follow.follower_id == 1).cte("circle", recursive=True)
        circle = circle.union(select(Follow.followee_id).join(circle, Follow.follower_id == circle.c.followee_id))
        session.execute(select(circle)).all()
        few = select(User.handle).where(User.handle < "user-02").union_all(select(User.handle).where(User.handle > "user-58"))
        check(sorted(session.scalars(few)), ["user-00", "user-01", "user-59"], "UNION ALL")
        nobody = select(User).where(~select(Post).where(Post.author_id == User.id).exists())
        check(session.scalars(nobody).all(), [], "NOT EXISTS")
        row = select(User.settings["theme"].astext, User.interests).where(User.handle == "user-03")
        check(tuple(session.execute(row).one()), (None, []), "JSON and arrays")


def streaming():
    with Sessions() as session:
        posts = session.scalars(select(Post).order_by(Post.id).execution_options(yield_per=17))
        check([post.likes for post in posts], [0, 1, 2] * PEOPLE, "rows by a cursor of the server")


def writing():
    with Sessions.begin() as session:
        me = session.scalars(select(User).where(User.handle == "user-05")).one()
        me.settings = {"theme": "dark"}
        me.interests = ["birds", "žluťoučký kůň"]
    with Sessions() as session:
        dark = session.scalars(select(User).where(User.settings["theme"].astext == "dark")).one()
        check((dark.interests, dark.version), (["birds", "žluťoučký kůň"], 2), "a changed row")
    with Sessions.begin() as session:
        changed = session.execute(update(Post).where(Post.likes == 2).values(likes=Post.likes + 10))
        check(changed.rowcount, PEOPLE, "rows changed on all shards")
        rows = session.execute(update(User).where(User.handle == "user-06").values(followers_count=7).returning(User.handle))
        check(rows.all(), [("user-06",)], "UPDATE ... RETURNING")
    with Sessions.begin() as session:
        handles = ["user-05", "new-1", "new-2"]
        upsert = postgresql.insert(Tag).values([{"name": name} for name in ("birds", "new")])
        upsert = upsert.on_conflict_do_nothing(index_elements=["name"])
        session.execute(upsert)
        ids = session.scalars(select(User.id).where(User.handle < "user-03").order_by(User.id)).all()
        by_key = postgresql.insert(User).values([{"id": id, "handle": f"x{id}", "version": 1} for id in ids])
        by_key = by_key.on_conflict_do_update(index_elements=["id"], set_={"followers_count": User.followers_count + 1})
        check(len(session.execute(by_key.returning(User.id)).all()), 3, "upserts by the key")
        check(session.scalar(select(func.count()).where(User.followers_count == 1)), 3, "updated by conflict")
        check(session.scalar(select(func.count()).select_from(Tag).where(Tag.name.in_(handles + ["new"]))), 1, "tags")


def unique():
    """Kept over all shards, as the constraint says."""
    for n in range(8):
        with Sessions() as session:
            session.add(User(handle=f"user-{n:02}"))
            try:
                session.commit()
            except IntegrityError as error:
                check(error.orig.diag.constraint_name, "users_handle_key", "the constraint's name")
                check(error.orig.sqlstate, "23505", "SQLSTATE")
            else:
                raise AssertionError(f"user-{n:02} is there twice")
    with Sessions() as session:
        try:
            session.execute(update(User).where(User.handle == "user-01").values(followers_count=-1))
        except IntegrityError as error:
            check(error.orig.diag.constraint_name, "followers_not_negative", "the check's name")
        else:
            raise AssertionError("a check was not made")


def transactions():
    with Sessions() as session:
        one, two = session.scalars(select(User).where(User.handle.in_(["user-20", "user-21"])).order_by(User.id))
        one.followers_count = 100
        with session.begin_nested() as savepoint:
            two.followers_count = 100
            session.flush()
            savepoint.rollback()
        session.commit()
        check((one.followers_count, two.followers_count), (100, 0), "a savepoint rolled back")
        one.followers_count = 0
        session.flush()
        session.rollback()
        check(one.followers_count, 100, "a transaction rolled back")
    first, second = Sessions(), Sessions()
    stale = first.scalars(select(User).where(User.handle == "user-22")).one()
    newer = second.scalars(select(User).where(User.handle == "user-22")).one()
    newer.followers_count = 1
    second.commit()
    stale.followers_count = 2
    try:
        first.commit()
    except StaleDataError:
        first.rollback()
    else:
        raise AssertionError("an old version was written")
    first.close(), second.close()
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    with Session(repeatable) as session:
        before = session.scalar(select(func.sum(User.followers_count)))
        with Sessions.begin() as other:
            other.execute(update(User).values(followers_count=User.followers_count + 1))
        check(session.scalar(select(func.sum(User.followers_count))), before, "one snapshot of all shards")


def locks():
    def add(times):
        for _ in range(times):
            with Sessions.begin() as session:
                user = session.scalars(select(User).where(User.handle == "user-30").with_for_update()).one()
                user.followers_count += 1

    with Sessions() as session:
        before = session.scalar(select(User.followers_count).where(User.handle == "user-30"))
    threads = [threading.Thread(target=add, args=(10,)) for _ in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    with Sessions() as session:
        after = session.scalar(select(User.followers_count).where(User.handle == "user-30"))
        check(after - before, 40, "updates of four threads")
        id = session.scalar(select(User.id).where(User.handle == "user-30").with_for_update())
        with Sessions() as other:
            free = other.scalars(select(User).where(User.id == id).with_for_update(skip_locked=True)).all()
            check(free, [], "a locked row is skipped")


def deleting():
    with Sessions.begin() as session:
        user = session.scalars(select(User).where(User.handle == "user-40")).one()
        session.delete(user)
    with Sessions() as session:
        check(session.scalar(select(func.count()).select_from(Post).where(Post.author_id == user.id)), 0, "posts left")
        gone = session.execute(delete(Post).where(Post.author_id.in_(select(User.id).where(User.handle == "user-41"))))
        check(gone.rowcount, 3, "rows deleted by a subquery")
        session.rollback()


def with_asyncpg():
    async def run():
        engine = create_async_engine("postgresql+asyncpg://" + URL, pool_size=4)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            users = [User(handle=f"async-{n}", interests=["a", "b"], settings={"n": n}) for n in range(20)]
            session.add_all(users)
            await session.commit()
            query = select(User).where(User.handle.startswith("async-")).options(selectinload(User.posts)).order_by(User.id)
            found = (await session.scalars(query)).all()
            check([user.settings["n"] for user in found], list(range(20)), "rows by asyncpg")
            stream = await session.stream_scalars(select(User.id).order_by(User.id).execution_options(yield_per=9))
            check(len([id async for id in stream]), PEOPLE + 19, "rows by a cursor of asyncpg")

        async def one(n):
            async with AsyncSession(engine) as session:
                return await session.scalar(select(User.settings["n"].as_integer()).where(User.handle == f"async-{n}"))

        check(await asyncio.gather(*map(one, range(20))), list(range(20)), "many at a time")
        await engine.dispose()

    asyncio.run(run())


STEPS = (
    migrations, reflection, bulk_insert, loading, many_to_many, feed, queries, streaming, writing, unique, transactions,
    locks, deleting, with_asyncpg,
)  # fmt: skip


def main():
    for step in STEPS:
        try:
            step()
        except Exception as error:
            sys.exit(f"sqlalchemy: {step.__name__} failed: {type(error).__name__}: {error}")
        print(f"ok {step.__name__}", flush=True)
    engine.dispose()


main()
