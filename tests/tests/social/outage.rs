//! One shard down: people of the others go on, those on it are told kindly, and afterwards all is as it was.

use shard_node::Stop;
use tests::social::{Citizen, Town};
use tests::{Cluster, eventually};

/// Which shard each person's row is on.
async fn shards(database: &tests::Database<'_>, people: &[Citizen]) -> Vec<usize> {
    let mut homes = vec![usize::MAX; people.len()];
    for shard in 0..4 {
        let client = database.shard(shard).await;
        for row in client.query("SELECT id FROM users", &[]).await.unwrap() {
            let id: i64 = row.get(0);
            if let Some(at) = people.iter().position(|person| person.id == id) {
                homes[at] = shard;
            }
        }
    }
    homes
}

/// People on all shards, and one of these that is not the home shard, which has what all need.
pub struct Spread {
    people: Vec<Citizen>,
    homes: Vec<usize>,
    pub down: usize,
}

impl Spread {
    pub async fn over(town: &Town, database: &tests::Database<'_>) -> Spread {
        let mut people = Vec::new();
        for number in 0..16 {
            people.push(town.join(&format!("person{number}")).await);
        }
        let homes = shards(database, &people).await;
        let down = homes.iter().copied().find(|shard| *shard != 0);
        let down = down.expect("people are on all shards");
        Spread {
            people,
            homes,
            down,
        }
    }

    pub fn on_it(&self) -> Vec<&Citizen> {
        self.those(|shard| shard == self.down)
    }

    pub fn elsewhere(&self) -> Vec<&Citizen> {
        self.those(|shard| shard != self.down)
    }

    fn those(&self, are: impl Fn(usize) -> bool) -> Vec<&Citizen> {
        let homes = self.people.iter().zip(&self.homes);
        homes
            .filter(|(_, shard)| are(**shard))
            .map(|(person, _)| person)
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_shard_down_the_people_of_the_others_go_on() {
    let cluster = Cluster::start(4);
    let database = cluster.database("social_outage");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    let spread = Spread::over(&town, &database).await;
    let (down, elsewhere) = (spread.down, spread.elsewhere());
    let (sleeper, awake, other) = (spread.on_it()[0], elsewhere[0], elsewhere[1]);
    for person in [sleeper, other] {
        awake.put(&format!("/people/{}/follow", person.id)).await;
        person.write(&format!("from {}", person.name)).await;
    }
    eventually("both posts are there", async || {
        awake.feed().await.len() == 2
    })
    .await;

    let follow = format!("/people/{}/follow", other.id);
    sleeper.put(&follow).await;

    cluster.stop_shard(down, Stop::Immediate);
    let told = sleeper.call("GET", "/me", None).await;
    assert_eq!(told.status, 503, "{}", told.text());
    assert_eq!(told.json()["type"], "/problems/unavailable");
    assert!(told.header("retry-after").is_some());
    for _ in 0..5 {
        assert_eq!(
            awake.feed().await,
            [format!("from {}", other.name)],
            "what can be read is read"
        );
    }
    other.write("still here").await;
    eventually(
        "a post of now comes to who follows its author",
        async || awake.feed().await.contains(&"still here".to_owned()),
    )
    .await;
    for person in &elsewhere {
        for path in ["/me", "/feed", "/conversations", "/notifications"] {
            let answer = person.call("GET", path, None).await;
            assert_eq!(
                answer.status,
                200,
                "{} {path}: {}",
                person.name,
                answer.text()
            );
        }
    }
    awake
        .post(
            &format!("/conversations/{}/messages", other.id),
            serde_json::json!({ "body": "are you there?" }),
        )
        .await;

    cluster.start_shard(down);
    eventually("the shard's people are back", async || {
        sleeper.call("GET", "/me", None).await.status == 200
    })
    .await;
    eventually("and their posts", async || awake.feed().await.len() == 3).await;
    eventually("and what was written meanwhile", async || {
        sleeper.feed().await.contains(&"still here".to_owned())
    })
    .await;
}
