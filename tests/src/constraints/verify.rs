//! What the router's own VERIFY says.

use tokio_postgres::SimpleQueryMessage;

use crate::connect;

/// VERIFY looks at all databases, and others are dropped meanwhile.
const RETRIES: usize = 10;

/// The faults of one database, one line each; none: all is well.
pub async fn faults(admin_url: &str, database: &str) -> Vec<String> {
    let admin = connect(admin_url).await;
    let admin = admin.unwrap_or_else(|error| panic!("{admin_url}: {error}"));
    let mut answer = admin.simple_query("VERIFY").await;
    for _ in 0..RETRIES {
        if answer.is_ok() {
            break;
        }
        answer = admin.simple_query("VERIFY").await;
    }
    let answer = answer.unwrap_or_else(|error| panic!("VERIFY: {:?}", error.as_db_error()));
    let lines = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get("database") == Some(database) => {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or_default());
            Some(cells.collect::<Vec<_>>().join(" | "))
        }
        _ => None,
    });
    lines.collect()
}
