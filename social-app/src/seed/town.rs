//! Who there is in the town and what they do. People and posts are known by their place in the lists.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom as _;

use crate::seed::words;

/// Days that the town's memory goes back.
const DAYS: i64 = 21;

pub struct Someone {
    pub user_name: String,
    pub name: String,
    pub bio: String,
}

pub fn people(count: usize, random: &mut impl Rng) -> Vec<Someone> {
    (0..count).map(|number| someone(number, random)).collect()
}

fn someone(number: usize, random: &mut impl Rng) -> Someone {
    let (first, round) = (number % words::FIRST.len(), number / words::FIRST.len());
    let last = (number * 7 + round * 3) % words::LAST.len();
    let (first, last) = (words::FIRST[first], words::LAST[last]);
    let lower = first.to_lowercase();
    let user_name = match round {
        0 => lower,
        1 => format!("{lower}_{}", last.to_lowercase()),
        _ => format!("{lower}{round}"),
    };
    let bio = format!(
        "{}. {}, mostly.",
        capital(pick(&words::TRADES, random)),
        capital(pick(&words::LOVES, random))
    );
    Someone {
        user_name,
        name: format!("{first} {last}"),
        bio,
    }
}

fn pick<'a>(from: &[&'a str], random: &mut impl Rng) -> &'a str {
    from.choose(random).copied().unwrap_or("")
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// Who follows whom, and who are friends.
#[derive(Default)]
pub struct Bonds {
    pub follows: BTreeSet<(usize, usize)>,
    /// The lower number first.
    pub friends: BTreeSet<(usize, usize)>,
}

impl Bonds {
    pub fn followers(&self, of: usize) -> impl Iterator<Item = usize> {
        self.follows
            .iter()
            .filter(move |(_, followee)| *followee == of)
            .map(|(follower, _)| *follower)
    }
}

/// Few are followed by many: who comes first in the list is known best.
pub fn bonds(people: usize, random: &mut impl Rng) -> Bonds {
    let mut bonds = Bonds::default();
    for person in 0..people {
        for _ in 0..random.random_range(8..20) {
            let known: f64 = random.random::<f64>();
            let other = (known * known * people as f64) as usize;
            if other != person {
                bonds.follows.insert((person, other));
            }
        }
        for _ in 0..2 {
            let other = (person + random.random_range(1..12)) % people;
            bonds.friends.insert((person.min(other), person.max(other)));
            bonds.follows.extend([(person, other), (other, person)]);
        }
    }
    bonds
}

pub struct NewPost {
    pub author: usize,
    pub body: String,
    pub for_friends: bool,
    pub minutes_ago: i64,
}

/// The oldest first.
pub fn posts(people: usize, bonds: &Bonds, random: &mut impl Rng) -> Vec<NewPost> {
    let mut posts = Vec::new();
    for author in 0..people {
        let most = if bonds.followers(author).count() > 20 {
            12
        } else {
            6
        };
        for _ in 0..random.random_range(2..=most) {
            let text = pick(&words::POSTS, random);
            let body = text
                .replace("{p}", pick(&words::PLACES, random))
                .replace("{l}", pick(&words::LOVES, random));
            posts.push(NewPost {
                author,
                body,
                for_friends: random.random_bool(0.07),
                minutes_ago: (random.random::<f64>().powi(2) * (DAYS * 24 * 60) as f64) as i64 + 2,
            });
        }
    }
    posts.sort_by_key(|post| std::cmp::Reverse(post.minutes_ago));
    posts
}

/// A like, or with a text a comment.
pub struct Answer {
    pub post: usize,
    pub person: usize,
    pub comment: Option<&'static str>,
    pub minutes_ago: i64,
}

/// By followers, each once a post.
pub fn answers(
    people: &[Someone],
    bonds: &Bonds,
    posts: &[super::rows::Written],
    random: &mut impl Rng,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (number, post) in posts.iter().enumerate() {
        let warm = random.random_range(0.05..0.4);
        let readers = bonds
            .followers(post.author)
            .filter(|_| !post.for_friends)
            .filter(|reader| *reader < people.len());
        for person in readers.collect::<Vec<_>>() {
            let minutes_ago = random.random_range(0..post.minutes_ago.max(1));
            if random.random_bool(warm) {
                answers.push(Answer {
                    post: number,
                    person,
                    comment: None,
                    minutes_ago,
                });
            }
            if random.random_bool(warm / 5.0) {
                let comment = words::COMMENTS.choose(random).copied();
                answers.push(Answer {
                    post: number,
                    person,
                    comment,
                    minutes_ago,
                });
            }
        }
    }
    answers
}

pub struct Talk {
    pub one: usize,
    pub other: usize,
    /// Whether the first of the two wrote it, what, and how many minutes ago; the oldest first.
    pub lines: Vec<(bool, &'static str, i64)>,
}

pub fn talks(bonds: &Bonds, random: &mut impl Rng) -> Vec<Talk> {
    let mut talks = Vec::new();
    for (one, other) in &bonds.friends {
        if random.random_bool(0.6) {
            let count = random.random_range(2..9);
            let start = random.random_range(0..words::MESSAGES.len());
            let mut minutes_ago = random.random_range(count * 3..DAYS * 24 * 60);
            let lines = (0..count).map(|line| {
                minutes_ago -= random.random_range(1..3);
                let text = words::MESSAGES[(start + line as usize) % words::MESSAGES.len()];
                ((start + line as usize).is_multiple_of(2), text, minutes_ago)
            });
            talks.push(Talk {
                one: *one,
                other: *other,
                lines: lines.collect(),
            });
        }
    }
    talks
}
