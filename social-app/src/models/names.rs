//! User names that this process has seen, and whose they are: asked when the database cannot be.
//!
//! The way from a user name to a person leads over the shard of the name, which may be down while the person's is not. A name
//! changes hands only after its account is deleted, and who asks for the person then finds that there is none: so what is
//! remembered can be out of date, and never wrong.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::models::Person;

/// Names that are remembered; all are forgotten before there are more.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<String, i64>>);

impl Names {
    pub fn remember(&self, person: &Person) {
        let mut names = self.lock();
        if names.len() >= MOST {
            names.clear();
        }
        if names.get(&person.user_name) != Some(&person.id) {
            names.insert(person.user_name.clone(), person.id);
        }
    }

    pub fn id_of(&self, user_name: &str) -> Option<i64> {
        self.lock().get(user_name).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
