//! Rows that go to several shards in one global transaction, and the rows that RETURNING gives back, in the
//! order of the client's own. Takes each shard's statement; must never know how rows were divided.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::Format;
use wire::backend::{CommandComplete, RowDescription, tag};

use super::super::fault::Fault;
use super::super::oids::rows::RowOids;
use super::super::state::Session;
use super::Invocation;
use super::asking::{Asked, Request};
use super::reply::Reply;
use crate::backend::Message;
use crate::backend::prepared::StatementIdentity;
use crate::plan::Effect;

/// A parameter of one shard's statement.
pub(super) type Parameter<'a> = (Format, Option<Cow<'a, [u8]>>);

/// What one shard is to insert.
#[derive(Debug)]
pub(super) struct Share<'a> {
    pub shard: ShardId,
    pub text: String,
    /// Of `parameters`, in the home shard's oids; 0 where the shard finds out.
    pub types: Vec<u32>,
    pub parameters: Vec<Parameter<'a>>,
}

/// In which order rows come back.
pub(super) enum Order<'a> {
    /// The n-th row of the client's statement comes from the share of this position.
    Given(&'a [usize]),
    /// Some rows may be missing, and none tells which: one share after another.
    ByShare,
}

/// What one share gave back: few rows, as its statement has one row of VALUES.
pub(super) struct Tried {
    shard: ShardId,
    messages: Vec<Message>,
}

impl Tried {
    /// Rows inserted or updated.
    pub fn rows(&self) -> Result<u64, Fault> {
        let mut messages = self.messages.iter();
        let complete = messages.find(|message| message.tag == tag::COMMAND_COMPLETE);
        match complete {
            Some(message) => Ok(CommandComplete::parse(message.body())?.rows().unwrap_or(0)),
            None => Ok(0),
        }
    }
}

impl Session {
    /// Runs every share at once and replies to the client.
    pub(super) async fn run_shares(
        &mut self,
        shares: &[Share<'_>],
        order: &Order<'_>,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        self.open_around();
        let mut relay = Relay::new(Reply::to(invocation));
        self.run_round(shares, order, effect, invocation, &mut relay)
            .await?;
        let complete = relay.complete()?;
        self.reply_complete(relay.reply, &complete).await
    }

    /// Runs every share at once; what comes back goes where the rounds before it went.
    pub(super) async fn run_round(
        &mut self,
        shares: &[Share<'_>],
        order: &Order<'_>,
        effect: Effect,
        invocation: &Invocation<'_>,
        relay: &mut Relay,
    ) -> Result<(), Fault> {
        let mut asked = Vec::with_capacity(shares.len());
        let outcome = match self
            .ask_shares(shares, effect, invocation, &mut asked)
            .await
        {
            Ok(()) => self.relay_shares(&mut asked, shares, order, relay).await,
            Err(fault) => Err(fault),
        };
        if outcome.is_err() {
            Box::pin(self.call_off(&mut asked)).await;
        }
        outcome
    }

    /// Runs one share and keeps what comes back, up to its error perhaps: the client may never hear of it.
    pub(super) async fn try_share(
        &mut self,
        share: &Share<'_>,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> (Tried, Result<(), Fault>) {
        let mut asked = Vec::with_capacity(1);
        let mut messages = Vec::new();
        let shares = std::slice::from_ref(share);
        let outcome = match self
            .ask_shares(shares, effect, invocation, &mut asked)
            .await
        {
            Ok(()) => self.messages_of(&mut asked, &mut messages).await,
            Err(fault) => Err(fault),
        };
        if outcome.is_err() {
            Box::pin(self.call_off(&mut asked)).await;
        }
        let shard = share.shard;
        (Tried { shard, messages }, outcome)
    }

    async fn messages_of(
        &mut self,
        asked: &mut [Asked],
        messages: &mut Vec<Message>,
    ) -> Result<(), Fault> {
        while let Some(message) = self.next_message(asked, 0).await? {
            messages.push(message);
        }
        Ok(())
    }

    /// Passes on what came back, behind the rounds before it.
    pub(super) async fn relay_tried(
        &mut self,
        tried: Tried,
        relay: &mut Relay,
    ) -> Result<(), Fault> {
        relay.begin_round(1);
        for message in tried.messages {
            self.relay_share(relay, tried.shard, 0, message).await?;
        }
        relay.end_round()
    }

    /// Tells the client of the columns, where it has not been told.
    pub(super) fn describe_tried(&mut self, tried: &Tried, relay: &mut Relay) -> Result<(), Fault> {
        relay.begin_round(1);
        let mut messages = tried.messages.iter();
        match messages.find(|message| message.tag == tag::ROW_DESCRIPTION) {
            Some(message) => self.describe_share(relay, tried.shard, 0, message),
            None => Ok(()),
        }
    }

    async fn ask_shares(
        &mut self,
        shares: &[Share<'_>],
        effect: Effect,
        invocation: &Invocation<'_>,
        asked: &mut Vec<Asked>,
    ) -> Result<(), Fault> {
        let shards: Vec<ShardId> = shares.iter().map(|share| share.shard).collect();
        let branches = self.join_all(&shards).await?;
        let formats = result_formats(invocation);
        for (share, index) in shares.iter().zip(branches) {
            self.note_effect(index, effect);
            asked.push(self.ask_share(index, share, &formats)?);
        }
        Ok(())
    }

    /// Sends one share to a branch.
    pub(super) fn ask_share(
        &mut self,
        index: usize,
        share: &Share<'_>,
        result_formats: &[Format],
    ) -> Result<Asked, Fault> {
        let parameters = share.parameters.iter();
        let parameters: Vec<_> = parameters
            .map(|(format, value)| (*format, value.as_deref()))
            .collect();
        let request = Request {
            identity: &unshared(&share.text, &share.types),
            named: false,
            parameters: &parameters,
            types: &share.types,
            result_formats,
        };
        self.ask(index, &request)
    }

    /// Passes the rows on as they come.
    async fn relay_shares(
        &mut self,
        asked: &mut [Asked],
        shares: &[Share<'_>],
        order: &Order<'_>,
        relay: &mut Relay,
    ) -> Result<(), Fault> {
        relay.begin_round(asked.len());
        if let Order::Given(positions) = order {
            for &position in *positions {
                self.relay_until_row(relay, asked, shares, position, true)
                    .await?;
            }
        }
        for position in 0..asked.len() {
            self.relay_until_row(relay, asked, shares, position, false)
                .await?;
        }
        relay.end_round()
    }

    /// Passes on one row of a share, or all of them. A trigger may have swallowed rows: then the end of the
    /// share comes early.
    async fn relay_until_row(
        &mut self,
        relay: &mut Relay,
        asked: &mut [Asked],
        shares: &[Share<'_>],
        position: usize,
        one_row: bool,
    ) -> Result<(), Fault> {
        if one_row && relay.complete[position].is_some() {
            return Ok(());
        }
        while let Some(message) = self.next_message(asked, position).await? {
            let is_row = message.tag == tag::DATA_ROW;
            self.relay_share(relay, shares[position].shard, position, message)
                .await?;
            if one_row && (is_row || relay.complete[position].is_some()) {
                break;
            }
        }
        Ok(())
    }

    async fn relay_share(
        &mut self,
        relay: &mut Relay,
        shard: ShardId,
        position: usize,
        message: Message,
    ) -> Result<(), Fault> {
        if !relay.is_heard(shard) {
            return Ok(());
        }
        match message.tag {
            tag::ROW_DESCRIPTION => self.describe_share(relay, shard, position, &message),
            tag::DATA_ROW => {
                let rewrite = relay.row_oids[position].as_ref();
                let translated = rewrite
                    .zip(self.current_space().oids(shard))
                    .map(|(columns, oids)| columns.rewrite(oids, &message.bytes.slice(5..)));
                let row = |out: &mut BytesMut| {
                    match &translated {
                        Some(body) => {
                            out.extend_from_slice(&message.bytes[..5]);
                            out.extend_from_slice(body);
                        }
                        None => out.extend_from_slice(&message.bytes),
                    }
                    Ok(true)
                };
                self.reply_row(&mut relay.reply, row).await.map(|_| ())
            }
            tag::COMMAND_COMPLETE => {
                relay.complete[position] = Some(message.bytes);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Session {
    /// The client is told once; the rows of each share may have oids of their own.
    fn describe_share(
        &mut self,
        relay: &mut Relay,
        shard: ShardId,
        position: usize,
        message: &Message,
    ) -> Result<(), Fault> {
        if let Some(oids) = self.current_space().oids(shard) {
            let description = RowDescription::parse(message.body())?;
            relay.row_oids[position] = RowOids::of(&description, oids);
        }
        if std::mem::replace(&mut relay.described, true) {
            return Ok(());
        }
        self.reply_description(&mut relay.reply, shard, &message.bytes, 0)
    }
}

/// What has come so far.
pub(super) struct Relay {
    pub reply: Reply,
    /// CommandComplete of each share.
    complete: Vec<Option<Bytes>>,
    /// The client has been told of the columns.
    pub described: bool,
    /// What in the rows of each share must be rewritten.
    row_oids: Vec<Option<RowOids>>,
    /// Only what comes from this shard counts: the others do the same.
    pub only: Option<ShardId>,
    /// A whole CommandComplete, but for the count.
    pub tag: Bytes,
    /// Of all rounds.
    rows: u64,
}

impl Relay {
    pub fn new(reply: Reply) -> Self {
        Self {
            reply,
            complete: Vec::new(),
            described: false,
            row_oids: Vec::new(),
            only: None,
            tag: Bytes::new(),
            rows: 0,
        }
    }

    fn begin_round(&mut self, shares: usize) {
        self.complete = vec![None; shares];
        self.row_oids = (0..shares).map(|_| None).collect();
    }

    fn end_round(&mut self) -> Result<(), Fault> {
        for message in self.complete.iter().flatten() {
            self.rows += CommandComplete::parse(&message[5..])?.rows().unwrap_or(0);
        }
        if let Some(first) = self.complete.iter().flatten().next() {
            self.tag = first.clone();
        }
        Ok(())
    }

    /// One CommandComplete with the rows of all.
    pub fn complete(&self) -> Result<Bytes, Fault> {
        let mut out = BytesMut::new();
        if !self.tag.is_empty() {
            CommandComplete::parse(&self.tag[5..])?.write_with_rows(&mut out, self.rows);
        }
        Ok(out.freeze())
    }

    /// Whether the client is to know of what this shard does.
    fn is_heard(&self, shard: ShardId) -> bool {
        self.only.is_none_or(|only| only == shard)
    }
}

/// Such texts are long and seldom come again: they are kept by nobody.
pub(super) fn unshared(text: &str, types: &[u32]) -> Rc<StatementIdentity> {
    Rc::new(StatementIdentity {
        number: 0,
        text: text.into(),
        types: types.into(),
        server_name: Box::default(),
    })
}

fn result_formats(invocation: &Invocation<'_>) -> Vec<Format> {
    match invocation {
        Invocation::Simple { .. } => Vec::new(),
        Invocation::Extended { bind, .. } => bind.result_formats().iter().collect(),
    }
}
