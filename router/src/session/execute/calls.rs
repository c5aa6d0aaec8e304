//! Calls of functions of schema `oskol` that only a router may call: it passes the shard's token, as a parameter, so
//! that no statement's text and no view has it. Must never know what the functions do.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use topology::ShardId;
use wire::Format;
use wire::backend::{DataRow, ErrorResponse, field, tag};

use super::super::fault::Fault;
use super::super::state::Session;
use super::asking::{Asked, Request};
use super::at_once::Rows;

/// PostgreSQL's oid of type text.
const TEXT: u32 = 25;

/// One shard's call.
pub(super) struct Call<'a> {
    pub shard: ShardId,
    /// Behind the token, `$2` and on.
    pub arguments: Vec<&'a str>,
}

impl Session {
    /// Runs `sql`, whose `$1` is the token and whose parameters are all of type text, on several shards at once,
    /// in the transaction. Gives the rows of each call.
    pub(super) async fn call(&mut self, sql: &str, calls: &[Call<'_>]) -> Result<Vec<Rows>, Fault> {
        let mut asked: SmallVec<[Asked; 8]> = SmallVec::new();
        for call in calls {
            let one = self.ask_call(sql, call).await;
            let one = self.unless_called_off(&mut asked, one).await?;
            asked.push(one);
        }
        let rows = self.rows_of_calls(&mut asked).await;
        let rows = self.unless_called_off(&mut asked, rows).await;
        rows.map_err(without_context)
    }

    /// As [`Self::call`], on a branch beside the transaction.
    pub(super) async fn call_apart(
        &mut self,
        index: usize,
        sql: &str,
        arguments: Vec<&str>,
    ) -> Result<Rows, Fault> {
        let shard = self.transaction.branches[index].server.shard;
        let call = Call { shard, arguments };
        let mut asked = [self.ask_on(index, sql, &call)?];
        let rows = self.rows_of_calls(&mut asked).await;
        let rows = self.unless_called_off(&mut asked, rows).await;
        Ok(rows.map_err(without_context)?.pop().unwrap_or_default())
    }

    async fn ask_call(&mut self, sql: &str, call: &Call<'_>) -> Result<Asked, Fault> {
        let index = self.join(call.shard).await?;
        self.ask_on(index, sql, call)
    }

    fn ask_on(&mut self, index: usize, sql: &str, call: &Call<'_>) -> Result<Asked, Fault> {
        let token = self.space.state.token_of(call.shard);
        let arguments = call.arguments.iter().map(|argument| argument.as_bytes());
        let parameters: Vec<_> = std::iter::once(token.as_bytes())
            .chain(arguments)
            .map(|value| (Format::Text, Some(value)))
            .collect();
        let types = vec![TEXT; parameters.len()];
        let identity = self.identity(sql, &types);
        let request = Request {
            identity: &identity,
            named: true,
            parameters: &parameters,
            types: &types,
            result_formats: &[],
        };
        self.ask(index, &request)
    }

    async fn rows_of_calls(&mut self, asked: &mut [Asked]) -> Result<Vec<Rows>, Fault> {
        let mut all = Vec::with_capacity(asked.len());
        for position in 0..asked.len() {
            let mut rows = Rows::new();
            while let Some(message) = self.next_message(asked, position).await? {
                if message.tag == tag::DATA_ROW {
                    rows.push(row(message.body())?);
                }
            }
            all.push(rows);
        }
        Ok(all)
    }
}

fn row(body: &[u8]) -> Result<Vec<Option<String>>, Fault> {
    let row = DataRow::parse(body)?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(row.iter().map(|value| value.map(text)).collect())
}

/// The error without where in the router's own statements it arose, and without their parameters.
pub(super) fn without_context(fault: Fault) -> Fault {
    match fault {
        Fault::Shard(message) => Fault::Shard(cut(&message).unwrap_or(message)),
        other => other,
    }
}

fn cut(message: &Bytes) -> Option<Bytes> {
    let error = ErrorResponse::parse(message.get(5..)?).ok()?;
    let told = error.fields().filter(|(code, _)| {
        !matches!(
            *code,
            field::WHERE | field::INTERNAL_QUERY | field::INTERNAL_POSITION | field::POSITION
        )
    });
    let mut body = BytesMut::with_capacity(message.len());
    for (code, text) in told {
        body.put_u8(code);
        body.put_slice(text);
        body.put_u8(0);
    }
    body.put_u8(0);
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u8(tag::ERROR_RESPONSE);
    out.put_u32(u32::try_from(body.len() + 4).ok()?);
    out.put_slice(&body);
    Some(out.freeze())
}
