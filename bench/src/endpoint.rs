//! Where a leg listens, and the few SQL statements that a measurement runs besides its load.

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The role and database that every leg uses; authentication is trust on all of them.
pub const USER: &str = "postgres";
pub const DATABASE: &str = "postgres";

#[derive(Debug, Clone)]
pub struct Endpoint {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    pub database: String,
}

impl Endpoint {
    pub fn new(port: u16) -> Self {
        Self {
            port,
            database: DATABASE.to_owned(),
        }
    }

    pub fn url(&self) -> String {
        format!(
            "postgres://{USER}@127.0.0.1:{}/{}",
            self.port, self.database
        )
    }

    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub async fn answers(&self) -> bool {
        match self.connect().await {
            Ok(client) => client.simple_query("SELECT 1").await.is_ok(),
            Err(_) => false,
        }
    }

    /// Runs each statement by itself.
    pub async fn execute(&self, statements: &[&str]) -> anyhow::Result<()> {
        let client = self.connect().await?;
        for statement in statements {
            client.simple_query(statement).await?;
        }
        Ok(())
    }

    /// First column of the first row, as text.
    pub async fn value(&self, statement: &str) -> anyhow::Result<Option<String>> {
        let messages = self.connect().await?.simple_query(statement).await?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }
}
