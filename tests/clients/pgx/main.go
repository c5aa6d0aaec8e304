// pgx against PostgreSQL or Oskol; see ../README.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	table = "client_users_pgx"
	rows  = 100
)

type step func(ctx context.Context, conn *pgx.Conn) error

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "pgx:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	conn, err := connect(ctx, pgx.QueryExecModeCacheStatement)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	steps := []step{
		createTable, preparedStatements, binaryParameters, keyLists, allRows, transaction, failures, batch, copyRows,
		copyText, cancel, deadline, otherModes,
	}
	for _, step := range steps {
		name := nameOf(step)
		if err := step(ctx, conn); err != nil {
			return fmt.Errorf("%s failed: %w", name, err)
		}
		fmt.Println("ok", name)
	}
	_, err = conn.Exec(ctx, "DROP TABLE "+table)
	return err
}

func connect(ctx context.Context, mode pgx.QueryExecMode) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(os.Getenv("CLIENT_TEST_URL"))
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = mode
	return pgx.ConnectConfig(ctx, config)
}

func nameOf(step step) string {
	name := runtime.FuncForPC(reflect.ValueOf(step).Pointer()).Name()
	return name[strings.LastIndex(name, ".")+1:]
}

func check(holds bool, format string, arguments ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, arguments...)
}

func expectState(err error, state string) error {
	var server *pgconn.PgError
	if errors.As(err, &server) && server.Code == state {
		return nil
	}
	return fmt.Errorf("SQLSTATE %s was expected, not %v", state, err)
}

func createTable(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE "+table+" (id bigint PRIMARY KEY, name text)"); err != nil {
		return err
	}
	if os.Getenv("OSKOL") != "1" {
		return nil
	}
	_, err := conn.Exec(ctx, "SELECT oskol.shard_table('"+table+"', 'id')")
	return err
}

func preparedStatements(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Prepare(ctx, "insert", "INSERT INTO "+table+" (id, name) VALUES ($1, $2)"); err != nil {
		return err
	}
	if _, err := conn.Prepare(ctx, "select", "SELECT name FROM "+table+" WHERE id = $1"); err != nil {
		return err
	}
	for id := range rows {
		if _, err := conn.Exec(ctx, "insert", id, fmt.Sprint("user ", id)); err != nil {
			return err
		}
	}
	for id := range rows {
		var name string
		if err := conn.QueryRow(ctx, "select", id).Scan(&name); err != nil {
			return err
		}
		if name != fmt.Sprint("user ", id) {
			return fmt.Errorf("row %d reads %q", id, name)
		}
	}
	return conn.Deallocate(ctx, "insert")
}

// pgx sends and takes numbers, times and arrays in binary format.
func binaryParameters(ctx context.Context, conn *pgx.Conn) error {
	at := time.Date(2024, 2, 29, 12, 30, 0, 0, time.UTC)
	var (
		big     int64
		float   float64
		raw     []byte
		text    string
		flag    bool
		list    []int64
		moment  time.Time
		nothing *string
	)
	err := conn.QueryRow(ctx,
		"SELECT $1::int8, $2::float8, $3::bytea, $4::text, $5::bool, $6::int8[], $7::timestamptz, $8::text",
		int64(1)<<40, 1.5, []byte{0, 255}, "žluť", true, []int64{1, 2}, at, nil,
	).Scan(&big, &float, &raw, &text, &flag, &list, &moment, &nothing)
	if err != nil {
		return err
	}
	same := big == 1<<40 && float == 1.5 && bytes.Equal(raw, []byte{0, 255}) && text == "žluť" && flag &&
		reflect.DeepEqual(list, []int64{1, 2}) && moment.Equal(at) && nothing == nil
	return check(same, "values come back changed: %v %v %v %v %v %v %v", big, float, raw, text, list, moment, nothing)
}

func ids(ctx context.Context, conn *pgx.Conn, text string, arguments ...any) ([]int64, error) {
	found, err := conn.Query(ctx, text, arguments...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowTo[int64])
}

func expectIds(ctx context.Context, conn *pgx.Conn, expected []int64, text string, arguments ...any) error {
	found, err := ids(ctx, conn, text, arguments...)
	if err != nil {
		return err
	}
	return check(reflect.DeepEqual(found, expected), "%s reads %v", text, found)
}

func keyLists(ctx context.Context, conn *pgx.Conn) error {
	text := "SELECT id FROM " + table + " WHERE id = ANY($1) ORDER BY id"
	return expectIds(ctx, conn, []int64{1, 50, 99}, text, []int64{1, 50, 99})
}

func allRows(ctx context.Context, conn *pgx.Conn) error {
	if err := expectIds(ctx, conn, []int64{rows}, "SELECT count(*) FROM "+table); err != nil {
		return err
	}
	return expectIds(ctx, conn, []int64{99, 98, 97}, "SELECT id FROM "+table+" ORDER BY id DESC LIMIT 3")
}

func transaction(ctx context.Context, conn *pgx.Conn) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, id := range []int64{1, 2} {
			if _, err := tx.Exec(ctx, "UPDATE "+table+" SET name = 'changed' WHERE id = $1", id); err != nil {
				return err
			}
		}
		nested, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := nested.Exec(ctx, "DELETE FROM "+table+" WHERE id = $1", 1); err != nil {
			return err
		}
		return nested.Rollback(ctx)
	})
	if err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "DELETE FROM "+table+" WHERE id = $1", 3); err != nil {
		return err
	}
	if err := tx.Rollback(ctx); err != nil {
		return err
	}
	text := "SELECT id FROM " + table + " WHERE name = 'changed' OR id = 3 ORDER BY id"
	return expectIds(ctx, conn, []int64{1, 2, 3}, text)
}

func failures(ctx context.Context, conn *pgx.Conn) error {
	insert := "INSERT INTO " + table + " (id, name) VALUES ($1, 'again')"
	_, err := conn.Exec(ctx, insert, 5)
	if err := expectState(err, "23505"); err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, insert, 5)
	if err := expectState(err, "23505"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT 1")
	if err := expectState(err, "25P02"); err != nil {
		return err
	}
	if err := tx.Rollback(ctx); err != nil {
		return err
	}
	return conn.Ping(ctx)
}

// A batch is one pipeline: many statements, one Sync.
func batch(ctx context.Context, conn *pgx.Conn) error {
	queries := &pgx.Batch{}
	for id := 10; id < 40; id++ {
		queries.Queue("SELECT name FROM "+table+" WHERE id = $1", id)
	}
	results := conn.SendBatch(ctx, queries)
	for id := 10; id < 40; id++ {
		var name string
		if err := results.QueryRow().Scan(&name); err != nil {
			return err
		}
		if name != fmt.Sprint("user ", id) {
			return fmt.Errorf("statement %d of a batch reads %q", id, name)
		}
	}
	if err := results.Close(); err != nil {
		return err
	}
	return failingBatch(ctx, conn)
}

// What a batch did before its error is undone with it.
func failingBatch(ctx context.Context, conn *pgx.Conn) error {
	queries := &pgx.Batch{}
	for _, id := range []int{4000, 5, 4001} {
		queries.Queue("INSERT INTO "+table+" (id, name) VALUES ($1, 'batch')", id)
	}
	if err := expectState(conn.SendBatch(ctx, queries).Close(), "23505"); err != nil {
		return err
	}
	return expectIds(ctx, conn, []int64{0}, "SELECT count(*) FROM "+table+" WHERE name = 'batch'")
}

// CopyFrom is COPY in binary format.
func copyRows(ctx context.Context, conn *pgx.Conn) error {
	source := pgx.CopyFromSlice(500, func(number int) ([]any, error) {
		return []any{1000 + number, fmt.Sprint("copied ", 1000+number)}, nil
	})
	count, err := conn.CopyFrom(ctx, pgx.Identifier{table}, []string{"id", "name"}, source)
	if err != nil {
		return err
	}
	if err := check(count == 500, "COPY FROM took %d rows", count); err != nil {
		return err
	}
	return expectIds(ctx, conn, []int64{1234}, "SELECT id FROM "+table+" WHERE name = $1 AND id = $2", "copied 1234", 1234)
}

func copyText(ctx context.Context, conn *pgx.Conn) error {
	var lines strings.Builder
	for id := 2000; id < 2500; id++ {
		fmt.Fprintf(&lines, "%d\t\\N\n", id)
	}
	raw := conn.PgConn()
	if _, err := raw.CopyFrom(ctx, strings.NewReader(lines.String()), "COPY "+table+" FROM STDIN"); err != nil {
		return err
	}
	var out bytes.Buffer
	if _, err := raw.CopyTo(ctx, &out, "COPY "+table+" TO STDOUT (FORMAT csv)"); err != nil {
		return err
	}
	count := bytes.Count(out.Bytes(), []byte("\n"))
	return check(count == rows+1000, "COPY TO gives %d rows", count)
}

func cancel(ctx context.Context, conn *pgx.Conn) error {
	timer := time.AfterFunc(300*time.Millisecond, func() { _ = conn.PgConn().CancelRequest(ctx) })
	defer timer.Stop()
	_, err := conn.Exec(ctx, "SELECT pg_sleep(60)")
	if err := expectState(err, "57014"); err != nil {
		return err
	}
	return conn.Ping(ctx)
}

// A context that ends closes the connection; the next one must be as good as new.
func deadline(ctx context.Context, _ *pgx.Conn) error {
	conn, err := connect(ctx, pgx.QueryExecModeCacheStatement)
	if err != nil {
		return err
	}
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	if _, err := conn.Exec(short, "SELECT pg_sleep(60)"); err == nil {
		return errors.New("the deadline did not end the statement")
	}
	again, err := connect(ctx, pgx.QueryExecModeCacheStatement)
	if err != nil {
		return err
	}
	defer again.Close(ctx)
	return again.Ping(ctx)
}

// The other ways in which pgx can talk: unnamed statements, and simple queries.
func otherModes(ctx context.Context, _ *pgx.Conn) error {
	modes := []pgx.QueryExecMode{
		pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	}
	for _, mode := range modes {
		conn, err := connect(ctx, mode)
		if err != nil {
			return err
		}
		err = expectIds(ctx, conn, []int64{42}, "SELECT id FROM "+table+" WHERE id = $1", 42)
		conn.Close(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", mode, err)
		}
	}
	return nil
}
