//! What people do, told as a list of facts that must be the same on both kinds of database.

use serde_json::{Value, json};
use tests::social::{Citizen, Town, texts};
use tests::{Cluster, eventually};

/// Of each page: who is on it.
fn names(page: &Value) -> Vec<String> {
    texts(page, "user_name")
}

async fn lived(url: &str) -> Vec<String> {
    let town = Town::start(url, &["--unlimited"]).await;
    let mut people = Vec::new();
    for name in [
        "ada", "bruno", "clara", "dmitri", "elif", "farid", "greta", "hugo", "ines", "jonas",
        "kaja", "mira",
    ] {
        people.push(town.join(name).await);
    }
    let mut facts = Vec::new();
    names_are_unique(&town, &mut facts).await;
    following(&people, &mut facts).await;
    friends(&people, &mut facts).await;
    answers(&people, &mut facts).await;
    messages(&people, &mut facts).await;
    blocks(&people, &mut facts).await;
    search(&people, &mut facts).await;
    for one in &people {
        one.write("good night").await;
    }
    facts
}

async fn names_are_unique(town: &Town, facts: &mut Vec<String>) {
    for (user_name, email) in [
        ("ADA", "other@town.example"),
        ("other", "Ada@Town.example"),
        ("no", "x@y.z"),
        ("fine", "nonsense"),
    ] {
        let wish = json!({ "user_name": user_name, "email": email, "name": "N", "password": "long enough" });
        let answer =
            tests::social::request(town.address, "POST", "/api/v1/people", &[], Some(&wish)).await;
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        facts.push(format!(
            "{user_name}: {} {}",
            answer.status,
            answer.json()["field"]
        ));
    }
    let login =
        json!({ "login": "Ada@town.example", "password": "a long password", "label": "phone" });
    let answer =
        tests::social::request(town.address, "POST", "/api/v1/tokens", &[], Some(&login)).await;
    facts.push(format!(
        "signs in by e-mail: {} {}",
        answer.status,
        answer.json()["label"]
    ));
}

async fn following(people: &[Citizen], facts: &mut Vec<String>) {
    let [ada, bruno, clara, ..] = people else {
        unreachable!()
    };
    bruno.write("before anybody followed").await;
    for one in &people[2..] {
        one.put(&format!("/people/{}/follow", bruno.id)).await;
        one.put(&format!("/people/{}/follow", bruno.id)).await;
    }
    ada.put(&format!("/people/{}/follow", bruno.id)).await;
    ada.put(&format!("/people/{}/follow", clara.id)).await;
    bruno.write("hello followers").await;
    clara.write("hello from clara").await;
    eventually("posts come to the feed", async || {
        ada.feed().await.len() == 3
    })
    .await;
    facts.push(format!("feed: {:?}", ada.feed().await));
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ada.get(&format!("/feed?limit=1&cursor={cursor}")).await;
        pages.push(texts(&page, "body"));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    facts.push(format!("in pages of one: {pages:?}"));
    let followers = bruno
        .get(&format!("/people/{}/followers?limit=4", bruno.id))
        .await;
    facts.push(format!(
        "followers: {:?} {}",
        names(&followers),
        followers["next"].is_string()
    ));
    facts.push(format!(
        "counted: {}",
        ada.get(&format!("/people/{}", bruno.id)).await["follower_count"]
    ));
    ada.delete(&format!("/people/{}/follow", clara.id)).await;
    facts.push(format!("feed without clara: {:?}", ada.feed().await));
}

async fn friends(people: &[Citizen], facts: &mut Vec<String>) {
    let [ada, bruno, clara, dmitri, ..] = people else {
        unreachable!()
    };
    let secret = clara
        .post(
            "/posts",
            json!({ "body": "for friends", "audience": "friends" }),
        )
        .await;
    let secret = format!("/posts/{}/{}", clara.id, secret["id"]);
    facts.push(format!(
        "a stranger sees it: {}",
        dmitri.call("GET", &secret, None).await.status
    ));
    ada.put(&format!("/people/{}/friend", clara.id)).await;
    facts.push(format!(
        "asked: {:?}",
        names(&clara.get("/friend-requests").await)
    ));
    clara.put(&format!("/people/{}/friend", ada.id)).await;
    // Friends follow one another: what she wrote before comes by a job.
    eventually("her posts come to the feed", async || {
        ada.feed().await.contains(&"hello from clara".to_owned())
    })
    .await;
    facts.push(format!(
        "a friend sees it: {}",
        ada.get(&secret).await["body"]
    ));
    facts.push(format!(
        "friends: {:?}",
        names(&bruno.get(&format!("/people/{}/friends", ada.id)).await)
    ));
    facts.push(format!(
        "relation: {}",
        ada.get(&format!("/people/{}", clara.id)).await["relation"]
    ));
    ada.delete(&format!("/people/{}/friend", clara.id)).await;
    facts.push(format!(
        "no friend any more: {}",
        ada.call("GET", &secret, None).await.status
    ));
}

async fn answers(people: &[Citizen], facts: &mut Vec<String>) {
    let bruno = &people[1];
    let post = bruno.write("what do you think?").await;
    for one in &people[2..7] {
        one.put(&format!("{post}/like")).await;
        one.put(&format!("{post}/like")).await;
        one.post(
            &format!("{post}/comments"),
            json!({ "body": format!("{} thinks\r\nso", one.name) }),
        )
        .await;
    }
    people[2].delete(&format!("{post}/like")).await;
    let shown = people[3].get(&post).await;
    facts.push(format!(
        "{} likes, {} comments, mine: {}",
        shown["like_count"], shown["comment_count"], shown["liked"]
    ));
    let comments = people[0].get(&format!("{post}/comments?limit=3")).await;
    facts.push(format!("comments: {:?}", texts(&comments, "body")));
    let number = comments["items"][0]["id"].clone();
    let stranger = people[8]
        .call("DELETE", &format!("{post}/comments/{number}"), None)
        .await
        .status;
    facts.push(format!("a stranger deletes a comment: {stranger}"));
    bruno.delete(&format!("{post}/comments/{number}")).await;
    let news = texts(&bruno.get("/notifications?limit=100").await, "kind");
    let count = |kind: &str| news.iter().filter(|known| *known == kind).count();
    facts.push(format!(
        "news: {} likes, {} comments, {} follows",
        count("like"),
        count("comment"),
        count("follow")
    ));
    bruno.delete(&post).await;
    facts.push(format!(
        "deleted: {}",
        people[0].call("GET", &post, None).await.status
    ));
    eventually("it leaves the feeds", async || {
        let feed = people[2].feed().await;
        !feed.contains(&"what do you think?".to_owned())
    })
    .await;
}

async fn messages(people: &[Citizen], facts: &mut Vec<String>) {
    let [ada, bruno, clara, ..] = people else {
        unreachable!()
    };
    for (from, to, text) in [
        (ada, bruno, "one"),
        (bruno, ada, "two"),
        (ada, bruno, "three"),
        (clara, bruno, "four"),
    ] {
        from.post(
            &format!("/conversations/{}/messages", to.id),
            json!({ "body": text }),
        )
        .await;
    }
    let talk = ada
        .get(&format!("/conversations/{}/messages?limit=2", bruno.id))
        .await;
    facts.push(format!("ada's copy: {:?}", texts(&talk, "body")));
    let inbox = bruno.get("/conversations").await;
    let unread: Vec<String> = inbox["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|talk| format!("{} {}", talk["excerpt"], talk["unread"]))
        .collect();
    facts.push(format!("bruno's inbox: {unread:?}"));
    bruno.put(&format!("/conversations/{}/read", ada.id)).await;
    facts.push(format!(
        "read: {}",
        bruno.get("/conversations").await["items"][1]["unread"]
    ));
}

async fn blocks(people: &[Citizen], facts: &mut Vec<String>) {
    let [ada, bruno, ..] = people else {
        unreachable!()
    };
    bruno.put(&format!("/people/{}/block", ada.id)).await;
    facts.push(format!(
        "blocked: {}",
        ada.call("GET", &format!("/people/{}", bruno.id), None)
            .await
            .status
    ));
    let text = Some(json!({ "body": "hi" }));
    facts.push(format!(
        "writes: {}",
        ada.call(
            "POST",
            &format!("/conversations/{}/messages", bruno.id),
            text
        )
        .await
        .status
    ));
    facts.push(format!(
        "follows: {}",
        ada.call("PUT", &format!("/people/{}/follow", bruno.id), None)
            .await
            .status
    ));
    facts.push(format!("feed: {:?}", ada.feed().await));
    bruno.delete(&format!("/people/{}/block", ada.id)).await;
    facts.push(format!(
        "unblocked: {}",
        ada.call("GET", &format!("/people/{}", bruno.id), None)
            .await
            .status
    ));
}

async fn search(people: &[Citizen], facts: &mut Vec<String>) {
    let ada = &people[0];
    for text in ["da", "The%20ad", "the", "bru", "a", "", "x%00y", "100%25"] {
        facts.push(format!(
            "found by {text}: {:?}",
            names(&ada.get(&format!("/people?q={text}")).await)
        ));
    }
    let change = json!({ "name": "Augusta King", "bio": "counts" });
    ada.call("PATCH", "/me", Some(change)).await;
    facts.push(format!(
        "augusta: {:?}",
        names(&ada.get("/people?q=augu").await)
    ));
    facts.push(format!(
        "by name: {}",
        ada.get("/people/by-name/ADA").await["bio"]
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_live_alike_on_one_postgresql_and_on_four_shards() {
    let database = Cluster::shared().database("social_life");
    let on_one = lived(&database.oracle_url()).await;
    let on_cluster = lived(&database.url()).await;
    assert_eq!(on_cluster, on_one);
    for table in ["users", "posts", "follows", "feed"] {
        let rows = database.rows_by_shard(table).await;
        assert!(rows.iter().all(|rows| *rows > 0), "{table}: {rows:?}");
    }
}
