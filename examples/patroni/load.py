"""Writes through a router from eight connections until a file is there, then compares what was acknowledged with what is there.

Usage: load.py PORT STOPFILE      Connects as PGUSER with PGPASSWORD.
"""
import os
import sys
import threading
import time

import psycopg2

PORT, STOP = int(sys.argv[1]), sys.argv[2]
WRITERS, KEYS = 8, 16
FIRST = time.time_ns()


def connect():
    connection = psycopg2.connect(host="127.0.0.1", port=PORT, dbname="postgres", connect_timeout=10)
    connection.autocommit = True
    return connection


class Writer(threading.Thread):
    """Each entry is on two accounts, mostly of two shards, in one transaction; every other one on one account."""

    def __init__(self, number):
        super().__init__()
        self.number, self.acknowledged, self.failed, self.times = number, set(), {}, []

    def run(self):
        connection, entry = connect(), FIRST + self.number * 10**9
        while not os.path.exists(STOP):
            entry += 1
            accounts = [self.number, self.number + WRITERS] if entry % 2 else [self.number]
            try:
                with connection.cursor() as cursor:
                    inserts = [f"insert into ledger values ({account}, {entry})" for account in accounts]
                    cursor.execute(";".join(["begin"] + inserts + ["commit"]))
                self.acknowledged.update((account, entry) for account in accounts)
                self.times.append(time.monotonic())
            except psycopg2.Error as error:
                self.failed[entry] = f"{error.pgcode} {str(error).splitlines()[0]}"
                if not connection.closed:
                    connection.close()
                connection = connect()


writers = [Writer(number) for number in range(WRITERS)]
for writer in writers:
    writer.start()
for writer in writers:
    writer.join()

with connect().cursor() as cursor:
    cursor.execute("select account, entry from ledger where entry >= %s" % FIRST)
    rows = cursor.fetchall()
there = set(rows)
acknowledged = set().union(*(writer.acknowledged for writer in writers))
failed = {entry: why for writer in writers for entry, why in writer.failed.items()}
unsure = {row for row in there if row not in acknowledged and row[1] not in failed}
halves = {row for row in there if row[1] % 2 and (row[0] + WRITERS if row[0] < WRITERS else row[0] - WRITERS, row[1]) not in there}
gap = max(later - earlier for writer in writers for earlier, later in zip(writer.times, writer.times[1:]))
print(f"{len(acknowledged)} rows acknowledged; {len(acknowledged - there)} lost, {len(rows) - len(there)} doubled, "
      f"{len(unsure)} never asked for, {len(halves)} of half a transaction")
print(f"{len(failed)} statements failed: {sorted(set(failed.values()))}")
print(f"the longest time of a connection without a write: {gap:.1f} s")
sys.exit(bool(acknowledged - there or len(rows) - len(there) or unsure or halves))
