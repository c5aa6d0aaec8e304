//! What the texts of one gather are bound with: the client's parameters, the time, pulled rows.

use std::collections::HashSet;
use std::rc::Rc;

use bytes::Bytes;
use wire::Format;

use super::super::super::fault::Fault;
use super::super::Invocation;
use super::super::asking::Request;
use super::super::by_key::check_parameter_count;
use super::explained::Figures;
use super::original::Original;
use super::scratch::Scratch;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::Effect;
use crate::plan::gather::template::{Handed, Parameter};
use crate::plan::gather::{Argument, Finish, Fragment, Gather, Rendered, Source};

/// PostgreSQL's oid of timestamptz.
const TIMESTAMPTZ: u32 = 1184;
/// PostgreSQL takes no longer message (`PQ_LARGE_MESSAGE_LIMIT`), less what stands around the arrays.
const LONGEST_BIND: usize = (1 << 30) - (1 << 20);

/// A gather under way.
pub(super) struct Work<'a> {
    pub gather: &'a Gather,
    pub effect: Effect,
    pub invocation: &'a Invocation<'a>,
    pub original: Rc<Original>,
    bound: Vec<(Format, Option<&'a [u8]>)>,
    /// Timestamptz in binary.
    pub clock: Option<[u8; 8]>,
    /// By pull; in place until it is pulled.
    pub inputs: Vec<Input>,
    /// Bytes of rows pulled so far.
    pub bytes: usize,
    pub scratch: Option<Scratch>,
    /// Cancel requests that came before the statement.
    pub cancels_before: u64,
    /// Of the last pull.
    pub pulled: Figures,
    /// By mark: rows that pulls leave out, because others have locked them.
    pub skipped: Vec<HashSet<String>>,
}

/// The rows of one pull.
#[derive(Debug)]
pub(super) enum Input {
    Arrays(Vec<Array>),
    /// A table of the scratch connection, by its qualified name.
    Table(String),
    /// Left where they are.
    InPlace,
}

/// A column of pulled rows.
#[derive(Debug)]
pub(super) struct Array {
    /// Of the array, in the home shard's oids.
    pub type_oid: u32,
    /// In binary.
    pub bytes: Bytes,
    /// Type that its elements are texts of.
    pub cast: Option<String>,
}

/// What a rendered text is bound with.
pub(super) struct Binding<'a> {
    /// In the home shard's oids.
    pub types: Vec<u32>,
    pub parameters: Vec<(Format, Option<&'a [u8]>)>,
}

impl<'a> Binding<'a> {
    pub fn request(
        &'a self,
        identity: &'a Rc<StatementIdentity>,
        named: bool,
        result_formats: &'a [Format],
    ) -> Request<'a> {
        Request {
            identity,
            named,
            parameters: &self.parameters,
            types: &self.types,
            result_formats,
        }
    }
}

impl<'a> Work<'a> {
    pub fn new(
        gather: &'a Gather,
        effect: Effect,
        invocation: &'a Invocation<'a>,
        original: Rc<Original>,
    ) -> Result<Self, Fault> {
        let wanted = original.parameters.len();
        match invocation.bind() {
            Some(bind) => check_parameter_count(bind, wanted)?,
            None if wanted > 0 => return Err(no_parameter().into()),
            None => {}
        }
        Ok(Self {
            gather,
            effect,
            invocation,
            original,
            bound: invocation
                .bind()
                .map(|bind| bind.parameters().collect())
                .unwrap_or_default(),
            clock: None,
            inputs: gather.pulls.iter().map(|_| Input::InPlace).collect(),
            bytes: 0,
            scratch: None,
            cancels_before: 0,
            pulled: Figures::default(),
            skipped: Vec::new(),
        })
    }

    /// How the rows of the pulls so far are at hand.
    pub fn handed(&self) -> Vec<Handed> {
        let handed = |input: &Input| match input {
            Input::Arrays(arrays) => {
                Handed::Arrays(arrays.iter().map(|array| array.cast.clone()).collect())
            }
            Input::Table(name) => Handed::Table(name.clone()),
            Input::InPlace => Handed::InPlace,
        };
        self.inputs.iter().map(handed).collect()
    }

    /// The rows of a pull may go into a table of the scratch connection: nobody else reads them, and the
    /// finishing statement changes nothing that is to last.
    pub fn may_use_table(&self, pull: usize) -> bool {
        let apart = matches!(
            self.gather.place,
            Finish::Apart { .. } | Finish::Locked { .. }
        );
        let given = matches!(self.gather.pulls[pull].source, Source::Part(_));
        apart && !given && !self.effect.writes && !self.is_read_by_a_pull(pull)
    }

    /// The plan to be followed where a pull gives more rows than are handed over as arrays.
    pub fn otherwise(&self) -> Option<&'a Gather> {
        match &self.gather.place {
            Finish::Shards { otherwise, .. } => otherwise.as_deref(),
            Finish::Apart { .. } | Finish::Locked { .. } | Finish::Mirrored(_) => None,
        }
    }

    /// The finishing statement can read the rows where they are, as it runs in the transaction itself.
    pub fn may_stay(&self, pull: usize) -> bool {
        self.gather.pulls[pull].is_optional && !self.is_read_by_a_pull(pull)
    }

    fn is_read_by_a_pull(&self, pull: usize) -> bool {
        let texts = self.gather.pulls.iter().map(|pull| &pull.text);
        texts
            .flat_map(|text| &text.fragments)
            .any(|fragment| reads(fragment, pull))
    }

    /// Whether any text needs the time.
    pub fn needs_clock(&self) -> bool {
        let texts = self.gather.pulls.iter().map(|pull| &pull.text);
        texts
            .chain([&self.gather.finish])
            .flat_map(|text| text.arguments())
            .any(|argument| argument == Argument::Clock)
    }

    /// The result formats that the client has asked for.
    pub fn result_formats(&self) -> Vec<Format> {
        let bind = self.invocation.bind();
        bind.map(|bind| bind.result_formats().iter().collect())
            .unwrap_or_default()
    }

    /// Whether shards are to keep the texts prepared.
    pub fn is_named(&self) -> bool {
        self.scratch.is_none()
            && self
                .invocation
                .bind()
                .is_some_and(|bind| !bind.statement.is_empty())
    }

    pub fn bind(&self, rendered: &Rendered) -> Result<Binding<'_>, Fault> {
        let mut binding = Binding {
            types: Vec::with_capacity(rendered.parameters.len()),
            parameters: Vec::with_capacity(rendered.parameters.len()),
        };
        for parameter in &rendered.parameters {
            let (type_oid, format, value) = self.value(*parameter).ok_or_else(out_of_plan)?;
            binding.types.push(type_oid);
            binding.parameters.push((format, value));
        }
        let lengths = binding.parameters.iter();
        let length: usize = lengths.map(|(_, value)| value.map_or(0, <[u8]>::len)).sum();
        if length > LONGEST_BIND {
            return Err(too_long().into());
        }
        Ok(binding)
    }

    fn value(&self, parameter: Parameter) -> Option<(u32, Format, Option<&[u8]>)> {
        match parameter {
            Parameter::Argument(Argument::Client(number)) => {
                let index = usize::from(number).checked_sub(1)?;
                let (format, value) = *self.bound.get(index)?;
                Some((*self.original.parameters.get(index)?, format, value))
            }
            Parameter::Argument(Argument::Clock) => {
                Some((TIMESTAMPTZ, Format::Binary, Some(self.clock.as_ref()?)))
            }
            Parameter::Column { pull, column } => {
                let Input::Arrays(arrays) = self.inputs.get(pull)? else {
                    return None;
                };
                let array = arrays.get(column)?;
                Some((array.type_oid, Format::Binary, Some(&array.bytes)))
            }
        }
    }
}

fn reads(fragment: &Fragment, pull: usize) -> bool {
    match fragment {
        Fragment::Rows(other) => *other == pull,
        Fragment::Table { pulled, .. } => pulled.iter().any(|inner| reads(inner, pull)),
        // It can do without.
        Fragment::IfArrays { .. } | Fragment::Text(_) | Fragment::Argument(_) => false,
    }
}

/// As PostgreSQL says it of a parameter in a simple query.
fn no_parameter() -> RouterError {
    RouterError::new(
        wire::sqlstate::UNDEFINED_PARAMETER,
        "there is no parameter $1",
    )
}

fn out_of_plan() -> RouterError {
    RouterError::new(
        wire::sqlstate::INTERNAL_ERROR,
        "a gather plan names what it does not have",
    )
}

fn too_long() -> RouterError {
    RouterError::new(
        wire::sqlstate::PROGRAM_LIMIT_EXCEEDED,
        "the rows to be handed to one shard are longer than PostgreSQL takes in one message",
    )
    .detail("1 GiB is the longest message.")
    .hint("Restrict the statement to fewer rows.")
}
