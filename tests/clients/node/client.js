// node-postgres against PostgreSQL or Oskol; see ../README.md.
"use strict";

const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const { Readable } = require("node:stream");
const { pipeline } = require("node:stream/promises");

// The packages may be installed in a directory that is not above this file.
const load = process.env.NODE_MODULES_ROOT ? createRequire(`${process.env.NODE_MODULES_ROOT}/`) : require;
const pg = load("pg");
const Cursor = load("pg-cursor");
const { from: copyFrom, to: copyTo } = load("pg-copy-streams");

const url = process.env.CLIENT_TEST_URL;
const behindOskol = process.env.OSKOL === "1";
const table = "client_users_node";
const ROWS = 100;

async function createTable(client) {
  await client.query(`DROP TABLE IF EXISTS ${table}`);
  await client.query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, name text)`);
  if (behindOskol) await client.query(`SELECT oskol.shard_table('${table}', 'id')`);
}

async function preparedStatements(client) {
  for (let number = 0; number < ROWS; number++) {
    await client.query({
      name: "insert-user",
      text: `INSERT INTO ${table} (id, name) VALUES ($1, $2)`,
      values: [number, `user ${number}`],
    });
  }
  for (let number = 0; number < ROWS; number++) {
    const result = await client.query({
      name: "select-user",
      text: `SELECT name FROM ${table} WHERE id = $1`,
      values: [number],
    });
    assert.deepEqual(result.rows, [{ name: `user ${number}` }]);
  }
}

async function binaryParameters(client) {
  // node-postgres sends a Buffer as a binary parameter and asks for binary results on request.
  const key = Buffer.alloc(8);
  key.writeBigInt64BE(42n);
  const byKey = await client.query({
    text: `SELECT name FROM ${table} WHERE id = $1`,
    values: [key],
  });
  assert.deepEqual(byKey.rows, [{ name: "user 42" }]);
  const bytes = Buffer.from([0, 255]);
  const asText = await client.query("SELECT $1::bytea AS bytes", [bytes]);
  assert.ok(asText.rows[0].bytes.equals(bytes));
  const asBinary = await client.query({
    text: "SELECT $1::int4 AS number, $2::bool AS flag, $3::text AS text",
    values: [7, true, "žluť"],
    binary: true,
  });
  assert.deepEqual(asBinary.rows, [{ number: 7, flag: true, text: "žluť" }]);
}

async function values(client) {
  const result = await client.query(
    "SELECT $1::int8 AS big, $2::numeric AS exact, $3::jsonb AS json, $4::timestamptz AS at, $5::int4[] AS list, $6::text AS nothing",
    ["9007199254740993", "12345.6789", { a: [1, null] }, new Date(0), [1, 2, 3], null],
  );
  assert.deepEqual(result.rows, [
    { big: "9007199254740993", exact: "12345.6789", json: { a: [1, null] }, at: new Date(0), list: [1, 2, 3], nothing: null },
  ]);
}

async function keyLists(client) {
  const text = `SELECT id FROM ${table} WHERE id = ANY($1) ORDER BY id`;
  const result = await client.query(text, [[1, 50, 99]]);
  assert.deepEqual(result.rows.map((row) => row.id), ["1", "50", "99"]);
}

async function allRows(client) {
  const count = await client.query(`SELECT count(*) FROM ${table}`);
  assert.deepEqual(count.rows, [{ count: String(ROWS) }]);
  const last = await client.query(`SELECT id FROM ${table} ORDER BY id DESC LIMIT 3`);
  assert.deepEqual(last.rows.map((row) => row.id), ["99", "98", "97"]);
}

async function severalStatements(client) {
  const results = await client.query(
    `SELECT name FROM ${table} WHERE id = 1; SELECT name FROM ${table} WHERE id = 2; SELECT 3 AS three`,
  );
  assert.deepEqual(results.map((result) => result.rows[0]), [{ name: "user 1" }, { name: "user 2" }, { three: 3 }]);
}

async function transaction(client) {
  await client.query("BEGIN");
  await client.query(`UPDATE ${table} SET name = 'changed' WHERE id = $1`, [1]);
  await client.query(`UPDATE ${table} SET name = 'changed' WHERE id = $1`, [2]);
  await client.query("COMMIT");
  const kept = await client.query(`SELECT id FROM ${table} WHERE name = 'changed' ORDER BY id`);
  assert.deepEqual(kept.rows.map((row) => row.id), ["1", "2"]);
  await client.query("BEGIN");
  await client.query(`DELETE FROM ${table} WHERE id = $1`, [3]);
  await client.query("ROLLBACK");
  const restored = await client.query(`SELECT id FROM ${table} WHERE id = $1`, [3]);
  assert.equal(restored.rowCount, 1);
}

async function errors(client) {
  const insert = () => client.query(`INSERT INTO ${table} (id, name) VALUES ($1, 'again')`, [5]);
  await assert.rejects(insert(), { code: "23505" });
  await assert.rejects(client.query(`SELECT nothing FROM ${table} WHERE id = 1`), { code: "42703" });
  await client.query("BEGIN");
  await assert.rejects(insert(), { code: "23505" });
  await assert.rejects(client.query("SELECT 1"), { code: "25P02" });
  await client.query("ROLLBACK");
  assert.equal((await client.query("SELECT 1 AS one")).rows[0].one, 1);
}

async function copy(client) {
  const lines = Array.from({ length: 500 }, (_, index) => `${1000 + index}\tcopied ${1000 + index}\n`);
  const into = client.query(copyFrom(`COPY ${table} (id, name) FROM STDIN`));
  await pipeline(Readable.from(lines), into);
  assert.equal(into.rowCount, 500);
  let text = "";
  for await (const chunk of client.query(copyTo(`COPY ${table} TO STDOUT`))) text += chunk;
  const rows = text.trimEnd().split("\n");
  assert.equal(rows.length, ROWS + 500);
  assert.ok(rows.includes("1234\tcopied 1234"));
}

async function portal(client) {
  await client.query("BEGIN");
  const cursor = client.query(new Cursor(`SELECT id FROM ${table} WHERE id = ANY($1)`, [[10, 11, 12]]));
  assert.equal((await cursor.read(2)).length, 2);
  assert.equal((await cursor.read(2)).length, 1);
  await cursor.close();
  await client.query("COMMIT");
}

async function cancel(client) {
  const sleeping = client.query("SELECT pg_sleep(60)");
  // The cancel request is a connection of its own that carries the pid and key of this one.
  const timer = setTimeout(() => sendCancel(client), 300);
  await assert.rejects(sleeping, { code: "57014" });
  clearTimeout(timer);
  assert.equal((await client.query("SELECT 1 AS one")).rows[0].one, 1);
}

function sendCancel(client) {
  const connection = new pg.Connection({});
  connection.on("error", () => {});
  connection.on("connect", () => connection.cancel(client.processID, client.secretKey));
  connection.connect(client.port, client.host);
}

async function pool() {
  const pool = new pg.Pool({ connectionString: url, max: 8 });
  const text = `SELECT name FROM ${table} WHERE id = $1`;
  const results = await Promise.all(Array.from({ length: 64 }, (_, id) => pool.query(text, [id + 20])));
  assert.ok(results.every((result, id) => result.rows[0].name === `user ${id + 20}`));
  await pool.end();
}

const steps = [
  createTable, preparedStatements, binaryParameters, values, keyLists, allRows, severalStatements, transaction, errors,
  copy, portal, cancel, pool,
];

async function main() {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  for (const step of steps) {
    try {
      await step(client);
    } catch (error) {
      throw new Error(`${step.name} failed: ${error.message}`, { cause: error });
    }
    console.log(`ok ${step.name}`);
  }
  await client.query(`DROP TABLE ${table}`);
  await client.end();
}

main().catch((error) => {
  console.error(`node-postgres: ${error.message}`);
  process.exit(1);
});
