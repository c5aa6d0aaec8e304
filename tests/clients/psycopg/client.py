"""psycopg 3 against PostgreSQL or Oskol; see ../README.md."""

import datetime
import decimal
import os
import sys
import threading
import uuid

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

URL = os.environ["CLIENT_TEST_URL"]
BEHIND_OSKOL = os.environ.get("OSKOL") == "1"
TABLE = sql.Identifier("client_users_psycopg")
ROWS = 100


def query(text):
    return sql.SQL(text).format(t=TABLE)


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def expect_error(kind, action):
    try:
        action()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected")


def table(conn):
    conn.execute(query("DROP TABLE IF EXISTS {t}"))
    conn.execute(query("CREATE TABLE {t} (id bigint PRIMARY KEY, name text)"))
    if BEHIND_OSKOL:
        conn.execute("SELECT oskol.shard_table('client_users_psycopg', 'id')")


def prepared_statements(conn):
    for number in range(ROWS):
        conn.execute(
            query("INSERT INTO {t} (id, name) VALUES (%s, %s)"), (number, f"user {number}"), prepare=True
        )
    for number in range(ROWS):
        row = conn.execute(query("SELECT name FROM {t} WHERE id = %s"), (number,), prepare=True).fetchone()
        check(row == (f"user {number}",), f"row {number} reads {row}")


def binary_parameters(conn):
    with conn.cursor(binary=True) as cursor:
        cursor.execute(query("SELECT id, name FROM {t} WHERE id = %b"), (42,))
        check(cursor.fetchone() == (42, "user 42"), "a binary key finds its row")
    values = (
        2**40,
        1.5,
        decimal.Decimal("12345.6789"),
        b"\x00\xff",
        uuid.UUID(int=7),
        datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc),
        datetime.date(1999, 12, 31),
        [1, 2, 3],
        "žluť",
        True,
        None,
    )
    for form in ("%b", "%t"):
        for binary in (False, True):
            with conn.cursor(binary=binary) as cursor:
                cursor.execute(
                    f"SELECT {form}::int8, {form}::float8, {form}::numeric, {form}::bytea, {form}::uuid,"
                    f" {form}::timestamptz, {form}::date, {form}::int8[], {form}::text, {form}::bool, {form}::text",
                    values,
                )
                check(cursor.fetchone() == values, f"values come back as they were ({form}, binary={binary})")
    row = conn.execute("SELECT %s::jsonb", (Jsonb({"a": [1, None]}),)).fetchone()
    check(row == ({"a": [1, None]},), "jsonb comes back as it was")


def key_lists(conn):
    rows = conn.execute(query("SELECT id FROM {t} WHERE id = ANY(%s) ORDER BY id"), ([1, 50, 99],)).fetchall()
    check(rows == [(1,), (50,), (99,)], f"= ANY reads {rows}")
    rows = conn.execute(query("SELECT id FROM {t} WHERE id IN (%s, %s) ORDER BY id"), (7, 70)).fetchall()
    check(rows == [(7,), (70,)], f"IN reads {rows}")


def all_rows(conn):
    check(conn.execute(query("SELECT count(*) FROM {t}")).fetchone() == (ROWS,), "every row is counted once")
    rows = conn.execute(query("SELECT id FROM {t} ORDER BY id DESC LIMIT 3")).fetchall()
    check(rows == [(99,), (98,), (97,)], f"ORDER BY and LIMIT read {rows}")


def transaction(conn):
    with conn.transaction():
        conn.execute(query("UPDATE {t} SET name = %s WHERE id = %s"), ("changed", 1))
        conn.execute(query("UPDATE {t} SET name = %s WHERE id = %s"), ("changed", 2))
        with conn.transaction(force_rollback=True):
            conn.execute(query("DELETE FROM {t} WHERE id = %s"), (1,))
    rows = conn.execute(query("SELECT id FROM {t} WHERE name = 'changed' ORDER BY id")).fetchall()
    check(rows == [(1,), (2,)], f"a transaction over two keys is kept: {rows}")
    with conn.transaction(force_rollback=True):
        conn.execute(query("DELETE FROM {t} WHERE id = %s"), (3,))
        check(conn.execute(query("SELECT 1 FROM {t} WHERE id = 3")).fetchone() is None, "own delete is seen")
    check(conn.execute(query("SELECT 1 FROM {t} WHERE id = 3")).fetchone() == (1,), "a rollback restores")


def errors(conn):
    insert = query("INSERT INTO {t} (id, name) VALUES (5, 'again')")
    expect_error(psycopg.errors.UniqueViolation, lambda: conn.execute(insert))
    expect_error(psycopg.errors.UndefinedColumn, lambda: conn.execute(query("SELECT nothing FROM {t} WHERE id = 1")))
    with conn.transaction():
        with conn.transaction(force_rollback=True):
            expect_error(psycopg.errors.UniqueViolation, lambda: conn.execute(insert))
            expect_error(psycopg.errors.InFailedSqlTransaction, lambda: conn.execute("SELECT 1"))
        check(conn.execute("SELECT 1").fetchone() == (1,), "a savepoint saves the transaction")


def copy(conn):
    with conn.cursor() as cursor:
        with cursor.copy(query("COPY {t} (id, name) FROM STDIN")) as target:
            for number in range(1000, 1500):
                target.write_row((number, f"copied\t{number}"))
        with cursor.copy(query("COPY {t} (id, name) FROM STDIN (FORMAT BINARY)")) as target:
            target.set_types(["int8", "text"])
            for number in range(2000, 2500):
                target.write_row((number, None))
        with cursor.copy(query("COPY {t} TO STDOUT")) as source:
            source.set_types(["int8", "text"])
            rows = {row[0]: row[1] for row in source.rows()}
    check(len(rows) == ROWS + 1000, f"COPY TO gives {len(rows)} rows")
    check(rows[1234] == "copied\t1234" and rows[2345] is None, "copied values are whole")
    row = conn.execute(query("SELECT name FROM {t} WHERE id = 1499")).fetchone()
    check(row == ("copied\t1499",), "a copied row is found by its key")


def many(conn):
    with conn.cursor() as cursor:
        cursor.executemany(
            query("INSERT INTO {t} (id, name) VALUES (%s, %s) RETURNING id"),
            [(number, "many") for number in range(3000, 3050)],
            returning=True,
        )
        returned = [cursor.fetchone()[0]]
        while cursor.nextset():
            returned.append(cursor.fetchone()[0])
    check(returned == list(range(3000, 3050)), "executemany returns its rows in order")


def pipeline(conn):
    with conn.pipeline():
        cursors = [conn.execute(query("SELECT name FROM {t} WHERE id = %s"), (number,)) for number in range(10, 30)]
    check([c.fetchone()[0] for c in cursors] == [f"user {n}" for n in range(10, 30)], "a pipeline keeps its order")

    def failing():
        with conn.pipeline():
            conn.execute(query("INSERT INTO {t} (id, name) VALUES (4000, 'undone')"))
            conn.execute(query("INSERT INTO {t} (id, name) VALUES (5, 'again')"))
            conn.execute(query("INSERT INTO {t} (id, name) VALUES (4001, 'skipped')"))

    expect_error(psycopg.errors.UniqueViolation, failing)
    rows = conn.execute(query("SELECT id FROM {t} WHERE id IN (4000, 4001)")).fetchall()
    check(rows == [], f"an error undoes its pipeline up to the sync, but {rows} are there")


def server_cursor(conn):
    with conn.transaction(), conn.cursor(name="half") as cursor:
        cursor.itersize = 7
        cursor.execute(query("SELECT id FROM {t} WHERE id = %s"), (8,))
        check(cursor.fetchall() == [(8,)], "a server-side cursor reads its row")


def cancel(conn):
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    expect_error(psycopg.errors.QueryCanceled, lambda: conn.execute("SELECT pg_sleep(60)"))
    timer.join()
    check(conn.execute("SELECT 1").fetchone() == (1,), "the connection lives on after a cancel")


def settings(conn):
    conn.execute("SET TimeZone TO 'Asia/Tokyo'")
    check(conn.info.parameter_status("TimeZone") == "Asia/Tokyo", "ParameterStatus follows SET")
    for number in range(8):
        row = conn.execute(query("SELECT current_setting('TimeZone') FROM {t} WHERE id = %s"), (number,)).fetchone()
        check(row == ("Asia/Tokyo",), "a setting holds on every shard")
    conn.execute("RESET TimeZone")


STEPS = (
    table, prepared_statements, binary_parameters, key_lists, all_rows, transaction, errors, copy, many, pipeline,
    server_cursor, cancel, settings,
)  # fmt: skip


def main():
    with psycopg.connect(URL, autocommit=True) as conn:
        for step in STEPS:
            try:
                step(conn)
            except Exception as error:
                sys.exit(f"psycopg: {step.__name__} failed: {type(error).__name__}: {error}")
            print(f"ok {step.__name__}", flush=True)
        conn.execute(query("DROP TABLE {t}"))


main()
