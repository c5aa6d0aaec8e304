import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Timer;
import java.util.TimerTask;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** pgjdbc against PostgreSQL or Oskol; see ../README.md. */
public final class Client {
    private static final String TABLE = "client_users_pgjdbc";
    private static final int ROWS = 100;
    private static final boolean BEHIND_OSKOL = "1".equals(System.getenv("OSKOL"));

    private interface Step {
        void run(Connection connection) throws Exception;
    }

    private Client() {}

    public static void main(String[] arguments) {
        String failed = "connect";
        try (Connection connection = connect(Map.of())) {
            for (Map.Entry<String, Step> step : steps().entrySet()) {
                failed = step.getKey();
                step.getValue().run(connection);
                System.out.println("ok " + failed);
            }
            execute(connection, "DROP TABLE " + TABLE);
        } catch (Throwable error) {
            System.err.println("pgjdbc: " + failed + " failed: " + error);
            System.exit(1);
        }
    }

    private static Map<String, Step> steps() {
        Map<String, Step> steps = new LinkedHashMap<>();
        steps.put("createTable", Client::createTable);
        steps.put("preparedStatements", Client::preparedStatements);
        steps.put("binaryParameters", Client::binaryParameters);
        steps.put("keyLists", Client::keyLists);
        steps.put("allRows", Client::allRows);
        steps.put("transaction", Client::transaction);
        steps.put("failures", Client::failures);
        steps.put("batch", Client::batch);
        steps.put("fetchSize", Client::fetchSize);
        steps.put("copy", Client::copy);
        steps.put("cancel", Client::cancel);
        steps.put("metadata", Client::metadata);
        steps.put("otherModes", connection -> otherModes());
        return steps;
    }

    private static Connection connect(Map<String, String> options) throws Exception {
        URI uri = new URI(System.getenv("CLIENT_TEST_URL"));
        Properties properties = new Properties();
        String[] user = uri.getRawUserInfo().split(":", 2);
        properties.put("user", URLDecoder.decode(user[0], StandardCharsets.UTF_8));
        if (user.length == 2) {
            properties.put("password", URLDecoder.decode(user[1], StandardCharsets.UTF_8));
        }
        // From the first execution on: named statements, parameters and results in binary format.
        properties.put("prepareThreshold", "-1");
        properties.putAll(options);
        String url = "jdbc:postgresql://" + uri.getHost() + ":" + uri.getPort() + uri.getPath();
        return DriverManager.getConnection(url, properties);
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    private static void expect(String state, Step action, Connection connection) throws Exception {
        try {
            action.run(connection);
        } catch (SQLException error) {
            check(state.equals(error.getSQLState()), state + " was expected, not " + error);
            return;
        }
        throw new AssertionError(state + " was expected");
    }

    private static void execute(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
        }
    }

    private static List<Long> ids(Connection connection, String text, Object... arguments) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            for (int index = 0; index < arguments.length; index++) {
                statement.setObject(index + 1, arguments[index]);
            }
            List<Long> found = new ArrayList<>();
            ResultSet rows = statement.executeQuery();
            while (rows.next()) {
                found.add(rows.getLong(1));
            }
            return found;
        }
    }

    private static void createTable(Connection connection) throws SQLException {
        execute(connection, "DROP TABLE IF EXISTS " + TABLE);
        execute(connection, "CREATE TABLE " + TABLE + " (id bigint PRIMARY KEY, name text)");
        if (BEHIND_OSKOL) {
            execute(connection, "SELECT oskol.shard_table('" + TABLE + "', 'id')");
        }
    }

    private static void preparedStatements(Connection connection) throws SQLException {
        String insert = "INSERT INTO " + TABLE + " (id, name) VALUES (?, ?)";
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            for (int id = 0; id < ROWS; id++) {
                statement.setLong(1, id);
                statement.setString(2, "user " + id);
                check(statement.executeUpdate() == 1, "one row is inserted");
            }
        }
        String select = "SELECT name FROM " + TABLE + " WHERE id = ?";
        try (PreparedStatement statement = connection.prepareStatement(select)) {
            for (int id = 0; id < ROWS; id++) {
                statement.setLong(1, id);
                ResultSet row = statement.executeQuery();
                check(row.next() && row.getString(1).equals("user " + id), "row " + id + " reads its name");
            }
        }
    }

    private static void binaryParameters(Connection connection) throws SQLException {
        UUID uuid = new UUID(0, 7);
        OffsetDateTime at = OffsetDateTime.of(2024, 2, 29, 12, 30, 0, 0, ZoneOffset.UTC);
        String text = "SELECT ?::int8, ?::float8, ?::numeric, ?::bytea, ?::uuid, ?::timestamptz, ?::int8[], ?::text";
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            for (int repetition = 0; repetition < 3; repetition++) {
                statement.setLong(1, 1L << 40);
                statement.setDouble(2, 1.5);
                statement.setBigDecimal(3, new BigDecimal("12345.6789"));
                statement.setBytes(4, new byte[] {0, -1});
                statement.setObject(5, uuid);
                statement.setObject(6, at);
                statement.setArray(7, connection.createArrayOf("int8", new Long[] {1L, 2L}));
                statement.setString(8, null);
                ResultSet row = statement.executeQuery();
                check(row.next(), "one row comes back");
                check(row.getLong(1) == 1L << 40 && row.getDouble(2) == 1.5, "numbers come back");
                check(row.getBigDecimal(3).equals(new BigDecimal("12345.6789")), "a numeric comes back");
                check(Arrays.equals(row.getBytes(4), new byte[] {0, -1}), "bytes come back");
                check(row.getObject(5).equals(uuid), "a uuid comes back");
                check(row.getObject(6, OffsetDateTime.class).isEqual(at), "a time comes back");
                check(Arrays.equals((Long[]) row.getArray(7).getArray(), new Long[] {1L, 2L}), "an array comes back");
                check(row.getString(8) == null, "NULL comes back");
            }
        }
    }

    private static void keyLists(Connection connection) throws SQLException {
        Array keys = connection.createArrayOf("int8", new Long[] {1L, 50L, 99L});
        List<Long> found = ids(connection, "SELECT id FROM " + TABLE + " WHERE id = ANY(?) ORDER BY id", keys);
        check(found.equals(List.of(1L, 50L, 99L)), "= ANY reads " + found);
        found = ids(connection, "SELECT id FROM " + TABLE + " WHERE id IN (?, ?) ORDER BY id", 7L, 70L);
        check(found.equals(List.of(7L, 70L)), "IN reads " + found);
    }

    private static void allRows(Connection connection) throws SQLException {
        List<Long> count = ids(connection, "SELECT count(*) FROM " + TABLE);
        check(count.equals(List.of((long) ROWS)), "count(*) reads " + count);
        List<Long> last = ids(connection, "SELECT id FROM " + TABLE + " ORDER BY id DESC LIMIT 3");
        check(last.equals(List.of(99L, 98L, 97L)), "ORDER BY and LIMIT read " + last);
    }

    private static void transaction(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        execute(connection, "UPDATE " + TABLE + " SET name = 'changed' WHERE id = 1");
        execute(connection, "UPDATE " + TABLE + " SET name = 'changed' WHERE id = 2");
        Savepoint savepoint = connection.setSavepoint();
        execute(connection, "DELETE FROM " + TABLE + " WHERE id = 1");
        connection.rollback(savepoint);
        connection.commit();
        execute(connection, "DELETE FROM " + TABLE + " WHERE id = 3");
        connection.rollback();
        connection.setAutoCommit(true);
        String text = "SELECT id FROM " + TABLE + " WHERE name = 'changed' OR id = 3 ORDER BY id";
        List<Long> found = ids(connection, text);
        check(found.equals(List.of(1L, 2L, 3L)), "commits keep and rollbacks restore: " + found);
    }

    private static void failures(Connection connection) throws Exception {
        Step insert = other -> execute(other, "INSERT INTO " + TABLE + " (id, name) VALUES (5, 'again')");
        expect("23505", insert, connection);
        expect("42703", other -> execute(other, "SELECT nothing FROM " + TABLE + " WHERE id = 1"), connection);
        connection.setAutoCommit(false);
        expect("23505", insert, connection);
        expect("25P02", other -> execute(other, "SELECT 1"), connection);
        connection.rollback();
        connection.setAutoCommit(true);
        check(connection.isValid(5), "the connection lives on after errors");
    }

    private static void batch(Connection connection) throws SQLException {
        String insert = "INSERT INTO " + TABLE + " (id, name) VALUES (?, 'batch')";
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            addKeys(statement, 3000, 3050);
            check(statement.executeBatch().length == 50, "a batch gives a count per statement");
            addKeys(statement, 3049, 3060);
            try {
                statement.executeBatch();
                throw new AssertionError("a repeated key was accepted");
            } catch (BatchUpdateException error) {
                check("23505".equals(error.getSQLState()), "a repeated key gives " + error);
            }
        }
        List<Long> count = ids(connection, "SELECT count(*) FROM " + TABLE + " WHERE name = 'batch'");
        check(count.equals(List.of(50L)), "a failed batch leaves nothing: " + count);
    }

    private static void addKeys(PreparedStatement statement, int from, int to) throws SQLException {
        for (long id = from; id < to; id++) {
            statement.setLong(1, id);
            statement.addBatch();
        }
    }

    /** Inside a transaction a fetch size reads the portal in parts. */
    private static void fetchSize(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement statement =
                connection.prepareStatement("SELECT id FROM " + TABLE + " WHERE id < ?")) {
            statement.setFetchSize(7);
            statement.setLong(1, ROWS);
            long count = 0;
            ResultSet rows = statement.executeQuery();
            while (rows.next()) {
                count++;
            }
            check(count == ROWS, "a portal fetched in parts gives " + count + " rows");
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    private static void copy(Connection connection) throws Exception {
        StringBuilder lines = new StringBuilder();
        for (int id = 1000; id < 1500; id++) {
            lines.append(id).append("\tcopied ").append(id).append('\n');
        }
        CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
        long taken = manager.copyIn("COPY " + TABLE + " FROM STDIN", new StringReader(lines.toString()));
        check(taken == 500, "COPY FROM took " + taken + " rows");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        long given = manager.copyOut("COPY " + TABLE + " TO STDOUT (FORMAT csv)", out);
        check(given == ROWS + 550, "COPY TO gave " + given + " rows");
        check(out.toString(StandardCharsets.UTF_8).contains("1234,copied 1234"), "a copied row comes back");
    }

    private static void cancel(Connection connection) throws Exception {
        Timer timer = new Timer(true);
        try (Statement statement = connection.createStatement()) {
            timer.schedule(cancelling(statement), 300);
            expect("57014", other -> statement.execute("SELECT pg_sleep(60)"), connection);
        }
        timer.cancel();
        check(connection.isValid(5), "the connection lives on after a cancel");
    }

    private static TimerTask cancelling(Statement statement) {
        return new TimerTask() {
            @Override
            public void run() {
                try {
                    statement.cancel();
                } catch (SQLException error) {
                    System.err.println("cancel: " + error);
                }
            }
        };
    }

    /** What tools ask through the driver about a table. */
    private static void metadata(Connection connection) throws SQLException {
        ResultSet keys = connection.getMetaData().getPrimaryKeys(null, "public", TABLE);
        check(keys.next() && keys.getString("COLUMN_NAME").equals("id"), "the primary key is known");
        ResultSet columns = connection.getMetaData().getColumns(null, "public", TABLE, "%");
        List<String> names = new ArrayList<>();
        while (columns.next()) {
            names.add(columns.getString("COLUMN_NAME"));
        }
        check(names.equals(List.of("id", "name")), "the columns are " + names);
    }

    private static void otherModes() throws Exception {
        for (String mode : List.of("simple", "extended", "extendedForPrepared", "extendedCacheEverything")) {
            try (Connection connection = connect(Map.of("preferQueryMode", mode, "prepareThreshold", "5"))) {
                List<Long> found = ids(connection, "SELECT id FROM " + TABLE + " WHERE id = ?", 42L);
                check(found.equals(List.of(42L)), mode + " reads " + found);
            }
        }
    }
}
