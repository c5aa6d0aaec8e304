//! What is asked of every leg: the two loads, as pgbench scripts, and the three protocols.

use clap::ValueEnum;

/// Rows of pgbench_accounts per unit of scale.
const ACCOUNTS_PER_SCALE: u64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// One SELECT by key.
    Select,
    /// BEGIN, SELECT and UPDATE of one key, COMMIT: four messages, four answers.
    Transaction,
}

impl Load {
    pub fn script(self, scale: u32) -> String {
        let accounts = u64::from(scale) * ACCOUNTS_PER_SCALE;
        let key = format!("\\set aid random(1, {accounts})\n");
        let select = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n";
        match self {
            Load::Select => key + select,
            Load::Transaction => format!(
                "{key}\\set delta random(-5000, 5000)\n\
                 BEGIN;\n\
                 {select}\
                 UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;\n\
                 COMMIT;\n"
            ),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Load::Select => "select",
            Load::Transaction => "transaction",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Load::Select => "`SELECT` by key",
            Load::Transaction => "Transaction: begin, select, update by the same key, commit",
        }
    }

    pub fn writes(self) -> bool {
        self == Load::Transaction
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Simple,
    Extended,
    Prepared,
}

impl Protocol {
    /// As pgbench's `-M` names it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
            Protocol::Prepared => "prepared",
        }
    }
}
