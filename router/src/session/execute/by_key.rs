//! INSERT of rows that go to one shard, with ids that the router fills in. In the extended protocol the
//! changed text is prepared like any other, and the ids are parameters behind the client's own: so it
//! stays in the pipeline of its shard.

use std::rc::Rc;

use topology::ShardId;
use wire::Format;
use wire::frontend::Bind;

use super::super::extended::{Portal, Prepared};
use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::filling::{self, Filling};
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::{Action, ByKey, Effect, Fallback, Plan, Rewrite, Split};
use crate::route::{self, Arguments, Target};

/// PostgreSQL's oid of the type of ids.
pub(in crate::session) const INT8: u32 = 20;

/// A rewritten statement as shards get it.
#[derive(Debug)]
pub(super) struct Filled {
    pub identity: Rc<StatementIdentity>,
    /// Parameters behind the client's own, of type int8 in binary.
    pub ids: Vec<[u8; 8]>,
}

impl Filled {
    /// A statement without holes.
    pub fn with(identity: Rc<StatementIdentity>) -> Self {
        Self {
            identity,
            ids: Vec::new(),
        }
    }
}

impl Session {
    /// Takes ids for a statement that runs as it then is on any number of shards.
    pub(super) async fn fill_rewrite(
        &mut self,
        rewrite: &Rewrite,
        invocation: &Invocation<'_>,
    ) -> Result<Filled, Fault> {
        let Invocation::Extended { identity, bind, .. } = invocation else {
            let filling = self.fill(&rewrite.pieces).await?;
            let mut text = String::new();
            filling::literal_text(&rewrite.pieces, &filling.values, &mut text);
            return Ok(Filled::with(super::shares::unshared(&text, &[])));
        };
        check_parameter_count(bind, client_parameters(rewrite, &identity.types))?;
        let filling = self.fill(&rewrite.pieces).await?;
        Ok(Filled {
            identity: self.rewritten_statement(rewrite, identity),
            ids: images(&filling.values),
        })
    }

    /// A ByKey statement that cannot be sent on as it is: it needs ids, or its key is not known.
    pub(super) async fn run_by_key(
        &mut self,
        by_key: &ByKey,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let Some(rewrite) = &by_key.rewrite else {
            return Err(unknown_key(by_key));
        };
        let filling = self.fill(&rewrite.pieces).await?;
        let shard = self.shard_of_new_row(by_key, invocation.arguments(), &filling)?;
        let mut text = String::new();
        filling::literal_text(&rewrite.pieces, &filling.values, &mut text);
        self.run_on_one(shard, &text, plan.effect, invocation).await
    }

    /// Sends `text` in the client's protocol to one shard and passes the reply on.
    pub(super) async fn run_on_one(
        &mut self,
        shard: ShardId,
        text: &str,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let index = self.joined(shard).await?;
        self.note_effect(index, effect);
        if matches!(invocation, Invocation::Extended { .. }) {
            self.forward_text(index, text, invocation).await?;
            return Ok(());
        }
        self.tell_collects(index);
        let server = &mut self.transaction.branches[index].server;
        server.queue_query(text.as_bytes());
        server.count_statement();
        self.relay_query(index).await
    }

    fn shard_of_new_row(
        &self,
        by_key: &ByKey,
        arguments: Arguments<'_>,
        filling: &Filling,
    ) -> Result<ShardId, Fault> {
        let map = &self.space.state.map;
        let encoding = self.encoding();
        let (key, key_type) = (&by_key.key, by_key.key_type);
        match route::target(key, key_type, arguments, &filling.ids, encoding, map) {
            Target::Shard(shard) => Ok(shard),
            Target::Nowhere => Ok(self.any_shard()),
            Target::Unknown => Err(unknown_key(by_key)),
        }
    }

    /// Binds a statement whose text the router changes but which goes to one shard: it stays in that
    /// shard's pipeline. `None`: the router itself has to run it.
    pub(in crate::session) async fn bind_with_ids(
        &mut self,
        bind: &Bind<'_>,
        prepared: &Rc<Prepared>,
        parsed_now: bool,
    ) -> Result<Option<Portal>, Fault> {
        let (by_key, sent) = match (&prepared.plan.action, &prepared.rewritten) {
            (Action::ByKey(by_key), Some(sent)) => (by_key, sent),
            (Action::Split(Split::Insert(insert)), _) => {
                return self
                    .bind_insert_whole(insert, bind, prepared, parsed_now)
                    .await;
            }
            _ => return Ok(None),
        };
        let Some(rewrite) = &by_key.rewrite else {
            return Ok(None);
        };
        check_parameter_count(bind, client_parameters(rewrite, &prepared.identity.types))?;
        let filling = self.fill(&rewrite.pieces).await?;
        let arguments = Arguments::Bound {
            bind,
            types: &prepared.identity.types,
        };
        let shard = self.shard_of_new_row(by_key, arguments, &filling)?;
        let bound = self.bind_on(shard, bind, prepared, sent, &filling.values, parsed_now);
        Ok(Some(bound.await?))
    }

    /// Sends a Bind of `sent` with `ids` behind the client's own parameters.
    pub(super) async fn bind_on(
        &mut self,
        shard: ShardId,
        bind: &Bind<'_>,
        prepared: &Prepared,
        sent: &Rc<StatementIdentity>,
        ids: &[i64],
        parsed_now: bool,
    ) -> Result<Portal, Fault> {
        let index = self.activate(shard).await?;
        self.note_effect(index, prepared.plan.effect);
        self.ensure_prepared(index, sent, parsed_now, bind.statement)?;
        let images = images(ids);
        let appended: Vec<_> = images
            .iter()
            .map(|image| (Format::Binary, Some(image.as_slice())))
            .collect();
        let rows = self.send_bind(index, bind, sent, &appended).await?;
        Ok(Portal::OnShard { shard, rows })
    }

    /// The statement as shards get it, where its text is not the client's own.
    pub(in crate::session) fn rewritten(
        &self,
        plan: &Plan,
        identity: &StatementIdentity,
    ) -> Option<Rc<StatementIdentity>> {
        let Action::ByKey(ByKey {
            rewrite: Some(rewrite),
            ..
        }) = &plan.action
        else {
            return None;
        };
        Some(self.rewritten_statement(rewrite, identity))
    }

    /// The identity of a rewrite whose holes are parameters.
    pub(in crate::session) fn rewritten_statement(
        &self,
        rewrite: &Rewrite,
        identity: &StatementIdentity,
    ) -> Rc<StatementIdentity> {
        let own = client_parameters(rewrite, &identity.types);
        let mut types = identity.types.to_vec();
        types.resize(own, 0);
        types.resize(own + filling::holes(rewrite), INT8);
        let text = filling::parameter_text(rewrite, own);
        self.identity(&text, &types)
    }
}

/// The ids in binary.
fn images(ids: &[i64]) -> Vec<[u8; 8]> {
    ids.iter().map(|id| id.to_be_bytes()).collect()
}

/// How many parameters the client's own statement has: those used, or declared.
pub(in crate::session) fn client_parameters(rewrite: &Rewrite, types: &[u32]) -> usize {
    usize::from(rewrite.client_parameters).max(types.len())
}

/// PostgreSQL's own error: with appended parameters the shard's would name other numbers.
pub(in crate::session) fn check_parameter_count(
    bind: &Bind<'_>,
    wanted: usize,
) -> Result<(), Fault> {
    let given = bind.parameter_count();
    if given == wanted {
        return Ok(());
    }
    let name = String::from_utf8_lossy(bind.statement);
    let message = format!(
        "bind message supplies {given} parameters, but prepared statement \"{name}\" requires {wanted}"
    );
    Err(RouterError::new("08P01", message).into())
}

/// A statement whose key cannot be computed and that may not scatter.
fn unknown_key(by_key: &ByKey) -> Fault {
    match &by_key.fallback {
        Fallback::Refuse(error) => error.clone().into(),
        Fallback::Scatter(_) => RouterError::unsupported(
            "insert-key-unknown",
            "the row's shard is not known before it is inserted",
        )
        .into(),
    }
}
