//! EXPLAIN: which shards a statement runs on and why, above what PostgreSQL itself says.
//!
//! A single shard's plan follows as it is; of several shards each one's stands indented under its
//! name. Only FORMAT TEXT has room for this: in the others a single shard's answer is passed on.

mod account;

use wire::backend::{DataRow, tag, write};

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::asking::Asked;
use super::reply::Reply;
use crate::error::RouterError;
use crate::plan::{Action, Copies, Explain, Plan, Split};
use account::Account;
pub(super) use account::{merge_words, shards_in_words};

impl Session {
    pub(super) async fn explain(
        &mut self,
        explain: &Explain,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let is_text = explain.format.eq_ignore_ascii_case("text");
        if let Action::Gather(gather) = &explain.inner.action {
            if !is_text {
                return Err(format_over_shards(&explain.format).into());
            }
            return self
                .explain_gather(gather, explain, plan.effect, invocation)
                .await;
        }
        if let Action::InParts(in_parts) = &explain.inner.action {
            if !is_text {
                return Err(format_over_shards(&explain.format).into());
            }
            if explain.analyze {
                check_analyze(&explain.inner)?;
            }
            return self.explain_in_parts(in_parts, explain, invocation).await;
        }
        if let Action::InsertRows(insert) = &explain.inner.action {
            if !is_text {
                return Err(format_over_shards(&explain.format).into());
            }
            if explain.analyze {
                check_analyze(&explain.inner)?;
            }
            return self.explain_insert_rows(insert, explain, invocation).await;
        }
        let routed = match &explain.inner.action {
            Action::Scatter(scatter) => scatter.routes.entry.as_ref(),
            _ => None,
        };
        let routed = match routed {
            Some(route) => self
                .shard_by_entry(route, invocation)
                .await?
                .zip(Some(route)),
            None => None,
        };
        let list = match &explain.inner.action {
            Action::Scatter(scatter) => scatter.routes.listed.as_ref(),
            _ => None,
        };
        let listed = match list {
            Some(list) => self.rows_by_list(list, invocation).await?.zip(Some(list)),
            None => None,
        };
        let mut account = self.account(&explain.inner, invocation)?;
        if let Some((shard, route)) = routed {
            account.goes_by_entry(shard, &route.name);
        }
        if let Some((rows, list)) = listed {
            account.goes_by_list(rows.shards, &list.name);
        }
        if let Action::Scatter(scatter) = &explain.inner.action
            && let (Some(route), false) = (&scatter.routes.routed, account.goes_by_unique_key())
        {
            let shards = self.routed_shards(route, invocation).await?;
            account.goes_by_routing_index(shards, &route.name);
        }
        account.single_shard = explain.single_shard.as_deref();
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
        self.explain_as_text(explain, &account, plan, invocation)
            .await
    }

    async fn explain_as_text(
        &mut self,
        explain: &Explain,
        account: &Account<'_>,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let mut reply = Reply::to(invocation);
        let mut complete = Vec::new();
        // The first shard alone, as a write to a reference table goes: see `broadcast`.
        let first_alone = usize::from(plan.effect.writes);
        let (first, others) = account.shards.split_at(first_alone);
        let text = account.text.map(|text| format!("{}{text}", explain.head));
        for group in [first, others] {
            let mut asked = self
                .ask_all(group, text.as_deref(), plan.effect, invocation)
                .await?;
            for position in 0..asked.len() {
                let begins = complete.is_empty();
                let told = self
                    .explain_shard(&mut asked, position, account, begins, &mut reply)
                    .await;
                complete = self.unless_called_off(&mut asked, told).await?;
            }
        }
        self.reply_complete(reply, &complete).await
    }

    /// One shard's plan; the account goes ahead of the first.
    async fn explain_shard(
        &mut self,
        asked: &mut [Asked],
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

    pub(super) async fn reply_lines(
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
}

/// EXPLAIN ANALYZE runs the statement, so it must be the client's own text that shards run.
fn check_analyze(inner: &Plan) -> Result<(), RouterError> {
    let changes = match &inner.action {
        Action::ByKey(by_key) => by_key.rewrite.is_some(),
        Action::Broadcast(broadcast) => {
            broadcast.rewrite.is_some() || matches!(broadcast.copies, Copies::Mirrored(_))
        }
        Action::Split(Split::Insert(_) | Split::Unnest(_))
        | Action::InsertRows(_)
        | Action::InParts(_)
        | Action::Upsert(_)
        | Action::Ddl(_) => true,
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
