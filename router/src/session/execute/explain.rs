//! EXPLAIN: which shards a statement runs on and why, above what PostgreSQL itself says.
//!
//! A single shard's plan follows as it is; of several shards each one's stands indented under its
//! name. Only FORMAT TEXT has room for this: in the others a single shard's answer is passed on.

use topology::ShardId;
use wire::backend::{DataRow, tag, write};

use super::super::fault::Fault;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use super::reply::Reply;
use crate::error::RouterError;
use crate::merge::{Merge, RowCount};
use crate::plan::{Action, Explain, Fallback, Plan, Scatter, SessionCommand, Split};

/// What is told of a statement.
struct Account<'a> {
    kind: &'static str,
    shards: Vec<ShardId>,
    merge: Option<&'a Merge>,
    why: &'a str,
}

impl Session {
    pub(super) async fn explain(
        &mut self,
        explain: &Explain,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let account = self.account(&explain.inner, invocation)?;
        let is_text = explain.format.eq_ignore_ascii_case("text");
        if explain.analyze {
            check_analyze(&explain.inner)?;
        }
        if !is_text {
            let [only] = account.shards[..] else {
                return Err(format_over_shards(&explain.format).into());
            };
            return self
                .run_on_one(only, &explain.text, plan.effect, invocation)
                .await;
        }
        if plan.effect.writes && account.shards.len() > 1 {
            self.open_around();
        }
        self.explain_as_text(&account, plan, invocation).await
    }

    async fn explain_as_text(
        &mut self,
        account: &Account<'_>,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let mut reply = Reply::to(invocation);
        let mut complete = Vec::new();
        // The first shard alone, as a write to a reference table goes: see `broadcast`.
        let first_alone = usize::from(plan.effect.writes);
        let (first, others) = account.shards.split_at(first_alone);
        for group in [first, others] {
            let mut asked = self.ask_all(group, None, plan.effect, invocation).await?;
            for position in 0..asked.len() {
                let begins = complete.is_empty();
                let told = self
                    .explain_shard(&mut asked, position, account, begins, &mut reply)
                    .await;
                complete = self.unless_called_off(&mut asked, told).await?;
            }
        }
        self.reply_complete(reply, &complete)
    }

    /// One shard's plan; the account goes ahead of the first.
    async fn explain_shard(
        &mut self,
        asked: &mut [super::asking::Asked],
        position: usize,
        account: &Account<'_>,
        begins: bool,
        reply: &mut Reply,
    ) -> Result<Vec<u8>, Fault> {
        let shard = self.shard_of(&asked[position]);
        let several = account.shards.len() > 1;
        let mut complete = Vec::new();
        while let Some(message) = self.next_message(asked, position).await? {
            match message.tag {
                tag::ROW_DESCRIPTION => {
                    if begins {
                        self.reply_description(reply, shard, &message.bytes, 0)?;
                        self.reply_lines(reply, &account.lines()).await?;
                    }
                    if several {
                        self.reply_lines(reply, &[format!("  Shard {shard}:")])
                            .await?;
                    }
                }
                tag::DATA_ROW => {
                    let row = DataRow::parse(message.body())?;
                    let line = row.nth(0).flatten().unwrap_or_default();
                    let indent = if several { "    " } else { "" };
                    let line = [indent.as_bytes(), line].concat();
                    self.reply_lines(reply, &[line]).await?;
                }
                tag::COMMAND_COMPLETE => complete = message.bytes.to_vec(),
                _ => {}
            }
        }
        Ok(complete)
    }

    async fn reply_lines(
        &mut self,
        reply: &mut Reply,
        lines: &[impl AsRef<[u8]>],
    ) -> Result<(), Fault> {
        for line in lines {
            self.reply_row(reply, |out| {
                write::data_row(out, [Some(line.as_ref())]);
                Ok(true)
            })
            .await?;
        }
        Ok(())
    }

    /// Where the statement inside would go now.
    fn account<'a>(
        &self,
        inner: &'a Plan,
        invocation: &Invocation<'_>,
    ) -> Result<Account<'a>, Fault> {
        let one = match self.one_shard(inner, invocation.arguments()) {
            OneShard::Shard(shard) => Some(vec![shard]),
            OneShard::No => None,
        };
        let home = || vec![self.home()];
        let all = || self.space.state.map.shards().to_vec();
        let (kind, shards, merge) = match &inner.action {
            Action::Refuse(error) => return Err(error.clone().into()),
            Action::AnyShard => ("any shard", one, None),
            Action::Home => ("home shard", one, None),
            Action::Temporary(_) => ("home shard", Some(home()), None),
            Action::ByKey(by_key) => match (&by_key.fallback, one) {
                (_, Some(one)) => ("single-shard", Some(one), None),
                (_, None) if by_key.rewrite.is_some() => {
                    ("single-shard, ids filled in", Some(home()), None)
                }
                (Fallback::Refuse(error), None) => return Err(error.clone().into()),
                (Fallback::Scatter(scatter), None) => ("scatter", None, Some(scatter.as_ref())),
            },
            Action::Split(Split::Insert(_) | Split::Unnest(_)) => {
                ("rows divided by key", Some(home()), None)
            }
            Action::Split(
                split @ (Split::Keys { scatter, .. } | Split::KeyArray { scatter, .. }),
            ) => {
                let listed = self.split_shards(split, invocation.arguments());
                ("the shards of the keys", one.or(listed), Some(scatter))
            }
            Action::Scatter(scatter) => ("scatter", None, Some(scatter)),
            Action::Broadcast(_) => ("broadcast", None, None),
            Action::Ddl(_) => ("home shard", Some(home()), None),
            Action::Session(SessionCommand::DeclareCursor { plan, .. }) => {
                return self.account(plan, invocation);
            }
            Action::Session(_) | Action::Copy(_) | Action::Cluster(_) | Action::Explain(_) => {
                return Err(not_explained().into());
            }
        };
        let shards = shards.unwrap_or_else(all);
        let merge = merge.filter(|_| shards.len() > 1);
        Ok(Account {
            kind,
            shards,
            why: merge.map_or(inner.reason.as_str(), |scatter: &Scatter| &scatter.why),
            merge: merge.map(|scatter| &scatter.merge),
        })
    }
}

impl Account<'_> {
    fn lines(&self) -> Vec<String> {
        let shards: Vec<String> = self.shards.iter().map(ToString::to_string).collect();
        let word = if shards.len() == 1 { "shard" } else { "shards" };
        let mut lines = vec![format!(
            "Oskol: {}, {word} {}",
            self.kind,
            shards.join(", ")
        )];
        if !self.why.is_empty() {
            lines.push(format!("  Why: {}", self.why));
        }
        if let Some(merge) = self.merge {
            lines.push(format!("  Merge: {}", merge_words(merge)));
        }
        lines
    }
}

fn merge_words(merge: &Merge) -> String {
    let how = match merge {
        Merge::Concatenate { .. } => "one shard's rows after another's".to_owned(),
        Merge::Sort { keys, .. } => {
            let columns = keys.iter().map(|key| {
                let direction = if key.descending { " descending" } else { "" };
                format!("column {}{direction}", key.column + 1)
            });
            format!("sorted by {}", columns.collect::<Vec<_>>().join(", "))
        }
        Merge::Aggregate { .. } => "partial aggregates folded".to_owned(),
        Merge::CountOnly => "row counts added".to_owned(),
    };
    let (limit, offset) = merge.row_counts();
    let count = |word: &str, count: Option<&RowCount>| match count {
        None => String::new(),
        Some(RowCount::Constant(value)) => format!(", {word} {value}"),
        Some(RowCount::Parameter(number)) => format!(", {word} ${number}"),
    };
    how + &count("offset", offset) + &count("limit", limit)
}

/// EXPLAIN ANALYZE runs the statement, so it must be the client's own text that shards run.
fn check_analyze(inner: &Plan) -> Result<(), RouterError> {
    let changes = match &inner.action {
        Action::ByKey(by_key) => by_key.rewrite.is_some(),
        Action::Broadcast(broadcast) => broadcast.rewrite.is_some(),
        Action::Split(Split::Insert(_) | Split::Unnest(_)) | Action::Ddl(_) => true,
        _ => false,
    };
    if !changes {
        return Ok(());
    }
    Err(RouterError::unsupported(
        "explain-analyze-rewritten",
        "EXPLAIN ANALYZE of this statement is not supported",
    )
    .detail("The router fills in ids or divides the rows, so no shard runs the statement as it is written.")
    .hint("Leave ANALYZE out, or explain an INSERT of one row with all its ids given."))
}

fn format_over_shards(format: &str) -> RouterError {
    RouterError::unsupported(
        "explain-format-over-shards",
        format!("EXPLAIN (FORMAT {format}) over several shards is not supported"),
    )
    .detail("The statement runs on several shards, and their plans do not make one document.")
    .hint("Use FORMAT TEXT, or restrict the statement to one shard key.")
}

fn not_explained() -> RouterError {
    RouterError::unsupported(
        "explain-router-statement",
        "EXPLAIN of a statement that the router itself carries out is not supported",
    )
    .detail("No shard has a plan of its own for it.")
    .hint("Explain the query that it runs.")
}
