//! What people must not be able to do to one another: see through a block, reach what is another's, write markup, send forms for
//! somebody else.

use serde_json::{Value, json};
use tests::Cluster;
use tests::social::{Citizen, Town, send};

use super::doors::{FORM, cookies, proof};

/// The cookie of somebody's session, and the proof for forms.
async fn signed_in(town: &Town, who: &Citizen) -> (String, String) {
    let door = send(town.address, "GET", "/sign-in", &[], b"").await;
    let (visitor, csrf) = (cookies(&door), proof(&door.text()));
    let form = format!("csrf={csrf}&login={}&password=a+long+password", who.name);
    let headers = [FORM, ("cookie", visitor.as_str())];
    let answer = send(town.address, "POST", "/sign-in", &headers, form.as_bytes()).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let session = cookies(&answer);
    let page = send(
        town.address,
        "GET",
        "/settings",
        &[("cookie", &session)],
        b"",
    )
    .await;
    (session, proof(&page.text()))
}

async fn page(town: &Town, session: &str, path: &str) -> (u16, String) {
    let answer = send(town.address, "GET", path, &[("cookie", session)], b"").await;
    (answer.status, answer.text())
}

/// Lists of the API in which somebody could be.
async fn lists(who: &Citizen, third: &Citizen, post: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for path in [
        "/people?q=hidden".to_owned(),
        "/feed".to_owned(),
        "/conversations".to_owned(),
        "/notifications".to_owned(),
        "/friend-requests".to_owned(),
        format!("/people/{}/followers", third.id),
        format!("/people/{}/following", third.id),
        format!("/people/{}/friends", third.id),
        format!("{post}/comments"),
    ] {
        found.push((path.clone(), who.get(&path).await));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_sees_nothing_by_any_path() {
    let database = Cluster::shared().database("social_blocked");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    let (hidden, curious) = (town.join("hidden").await, town.join("curious").await);
    let third = town.join("third").await;
    let own = hidden.write("a post of the hidden").await;
    let post = third.write("everybody's post").await;
    hidden
        .post(
            &format!("{post}/comments"),
            json!({ "body": "a word of the hidden" }),
        )
        .await;
    for (one, other) in [(&curious, &hidden), (&hidden, &curious)] {
        one.put(&format!("/people/{}/friend", other.id)).await;
    }
    for other in [&curious, &hidden] {
        other.put(&format!("/people/{}/friend", third.id)).await;
        third.put(&format!("/people/{}/friend", other.id)).await;
    }
    let talk = format!("/conversations/{}/messages", curious.id);
    hidden
        .post(&talk, json!({ "body": "a message of the hidden" }))
        .await;
    let seen = lists(&curious, &third, &post).await;
    let with = seen
        .iter()
        .filter(|(_, list)| list.to_string().contains("hidden"))
        .count();
    assert!(with >= 6, "there is something to be hidden: {seen:?}");

    hidden.put(&format!("/people/{}/block", curious.id)).await;
    for (path, list) in lists(&curious, &third, &post).await {
        assert!(!list.to_string().contains("hidden"), "{path}: {list}");
    }
    let id = hidden.id;
    for (method, path, body) in [
        ("GET", format!("/people/{id}"), None),
        ("GET", "/people/by-name/hidden".to_owned(), None),
        ("GET", format!("/people/{id}/posts"), None),
        ("GET", format!("/people/{id}/followers"), None),
        ("GET", format!("/people/{id}/following"), None),
        ("GET", format!("/people/{id}/friends"), None),
        ("PUT", format!("/people/{id}/follow"), None),
        ("PUT", format!("/people/{id}/friend"), None),
        ("GET", own.clone(), None),
        ("PUT", format!("{own}/like"), None),
        ("GET", format!("{own}/comments"), None),
        (
            "POST",
            format!("{own}/comments"),
            Some(json!({ "body": "x" })),
        ),
        ("GET", format!("/conversations/{id}/messages"), None),
        (
            "POST",
            format!("/conversations/{id}/messages"),
            Some(json!({ "body": "x" })),
        ),
    ] {
        let answer = curious.call(method, &path, body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
    }
    let (session, _) = signed_in(&town, &curious).await;
    let number = own.rsplit('/').next().unwrap();
    for path in [
        "/@hidden".to_owned(),
        "/@hidden/followers".to_owned(),
        format!("/people/{id}/head"),
        format!("/p/{id}/{number}"),
        format!("/p/{id}/{number}/gallery"),
        format!("/p/{id}/{number}/comments"),
        format!("/messages/{id}"),
        format!("/messages/{id}/since?after=0"),
    ] {
        let (status, text) = page(&town, &session, &path).await;
        assert!(
            status == 404 && !text.contains("of the hidden"),
            "{path}: {status}"
        );
    }
    for path in [
        "/",
        "/messages",
        "/notifications",
        "/search?q=hidden",
        "/@third/friends",
    ] {
        let (status, text) = page(&town, &session, path).await;
        assert!(
            status == 200 && !text.contains("The hidden"),
            "{path}: {text}"
        );
    }
    // Neither sees the other, but whoever has blocked can end it.
    let list = hidden.get(&format!("/people/{}/friends", third.id)).await;
    assert!(!list.to_string().contains("curious"), "{list}");
    assert!(hidden.get("/blocks").await.to_string().contains("curious"));
    hidden
        .delete(&format!("/people/{}/block", curious.id))
        .await;
    assert_eq!(
        curious.get(&format!("/people/{id}")).await["user_name"],
        "hidden"
    );
    let talk = curious.get(&format!("/conversations/{id}/messages")).await;
    assert!(talk.to_string().contains("a message of the hidden"));
}

/// Sends one; gives its id.
pub async fn picture(town: &Town, who: &Citizen) -> i64 {
    let drawn = social_app::seed::pictures::landscape(3, 400, 300);
    let mut file = std::io::Cursor::new(Vec::new());
    drawn.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let bearer = format!("Bearer {}", who.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "image/png"),
    ];
    let answer = send(
        town.address,
        "POST",
        "/api/v1/media",
        &headers,
        &file.into_inner(),
    )
    .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_out_of_reach() {
    let database = Cluster::shared().database("social_others");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    let (owner, thief, third) = (
        town.join("owner").await,
        town.join("thief").await,
        town.join("third").await,
    );
    let media = picture(&town, &owner).await;
    let post = owner
        .post(
            "/posts",
            json!({ "body": "for friends", "audience": "friends" }),
        )
        .await;
    let (secret, id) = (format!("/posts/{}/{}", owner.id, post["id"]), owner.id);
    let open = owner.write("for everyone").await;
    let comment = third
        .post(&format!("{open}/comments"), json!({ "body": "mine" }))
        .await;
    let token = owner.get("/tokens").await["items"][0]["id"].clone();
    owner
        .post(
            &format!("/conversations/{}/messages", third.id),
            json!({ "body": "between us" }),
        )
        .await;
    for (method, path, body, status) in [
        ("GET", format!("/media/{media}"), None, 404),
        ("DELETE", format!("/media/{media}"), None, 404),
        (
            "POST",
            "/posts".to_owned(),
            Some(json!({ "body": "stolen", "media": [media] })),
            422,
        ),
        (
            "PATCH",
            "/me".to_owned(),
            Some(json!({ "name": "T", "bio": "", "avatar_id": media })),
            422,
        ),
        ("DELETE", format!("/tokens/{token}"), None, 404),
        ("DELETE", open.clone(), None, 404),
        (
            "DELETE",
            format!("{open}/comments/{}", comment["id"]),
            None,
            404,
        ),
        ("GET", secret.clone(), None, 404),
        ("PUT", format!("{secret}/like"), None, 404),
        ("GET", format!("{secret}/comments"), None, 404),
        (
            "POST",
            format!("{secret}/comments"),
            Some(json!({ "body": "x" })),
            404,
        ),
    ] {
        let answer = thief.call(method, &path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    let posts = thief.get(&format!("/people/{id}/posts")).await;
    assert!(!posts.to_string().contains("for friends"), "{posts}");
    // Addresses with a person's id are about one's own copy.
    for peer in [owner.id, third.id] {
        let talk = thief.get(&format!("/conversations/{peer}/messages")).await;
        assert_eq!(talk["items"], json!([]));
    }
    assert_eq!(
        owner.get(&format!("/media/{media}")).await["owner_id"],
        owner.id
    );
    assert_eq!(
        owner.get("/tokens").await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(owner.get(&open).await["comment_count"], 1);
}

const MARKUP: &str = "\"'></textarea><script>alert(1)</script><img src=x onerror=alert(1)>";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_people_write_becomes_markup() {
    let database = Cluster::shared().database("social_markup");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    let (writer, reader) = (town.join("writer").await, town.join("reader").await);
    let name = "<b onclick=alert(1)>\"Bob'";
    let change = json!({ "name": name, "bio": MARKUP });
    assert_eq!(writer.call("PATCH", "/me", Some(change)).await.status, 200);
    reader.put(&format!("/people/{}/friend", writer.id)).await;
    writer.put(&format!("/people/{}/friend", reader.id)).await;
    let body = format!(
        "{MARKUP} https://example.com/\"onmouseover=alert(1) javascript:alert(1) @writer<script>"
    );
    let post = writer.write(&body).await;
    writer
        .post(&format!("{post}/comments"), json!({ "body": MARKUP }))
        .await;
    let mine = reader.write("look").await;
    writer
        .post(&format!("{mine}/comments"), json!({ "body": MARKUP }))
        .await;
    writer
        .post(
            &format!("/conversations/{}/messages", reader.id),
            json!({ "body": MARKUP }),
        )
        .await;
    let (session, csrf) = signed_in(&town, &writer).await;
    let label = format!("csrf={csrf}&label=%3Cscript%3Ealert(1)%3C%2Fscript%3E");
    let headers = [FORM, ("cookie", session.as_str())];
    send(
        town.address,
        "POST",
        "/settings/tokens",
        &headers,
        label.as_bytes(),
    )
    .await;
    let (reading, _) = signed_in(&town, &reader).await;
    let web = post.replace("/posts/", "/p/");
    tests::eventually("the post is in the feed", async || {
        reader.feed().await.len() > 1
    })
    .await;
    let talk = format!("/messages/{}", writer.id);
    let reads = [
        "/",
        "/@writer",
        &web,
        "/messages",
        "/notifications",
        "/search?q=wr",
        &talk,
        "/search?q=%22%3E%3Cscript%3Ealert(1)",
    ];
    let mut pages = vec![(session.as_str(), "/settings")];
    pages.extend(reads.map(|path| (reading.as_str(), path)));
    for (session, path) in pages {
        let (status, text) = page(&town, session, path).await;
        assert_eq!(status, 200, "{path}: {text}");
        for markup in [
            "<script>alert",
            "<img src=x",
            "<b onclick",
            "\"onmouseover",
            "href=\"javascript:",
        ] {
            assert!(!text.contains(markup), "{markup} in {path}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_proven_by_the_session_that_it_is_for() {
    let database = Cluster::shared().database("social_forms");
    let town = Town::start(&database.url(), &[]).await;
    let ada = town.join("ada").await;
    let (session, csrf) = signed_in(&town, &ada).await;
    // A neighbour site has set a visitor's cookie of which it knows the proof.
    let door = send(town.address, "GET", "/sign-in", &[], b"").await;
    let (visitor, known) = (cookies(&door), proof(&door.text()));
    let both = format!("{visitor}; {session}");
    let forged = format!("csrf={known}&body=forged");
    let headers = [FORM, ("cookie", both.as_str())];
    let answer = send(town.address, "POST", "/posts", &headers, forged.as_bytes()).await;
    assert_eq!(answer.status, 403);
    let headers = [("cookie", both.as_str()), ("x-csrf-token", known.as_str())];
    let answer = send(
        town.address,
        "PUT",
        "/api/v1/notifications/seen",
        &headers,
        b"",
    )
    .await;
    assert_eq!(answer.status, 403);
    let headers = [FORM, ("cookie", both.as_str())];
    let own = format!("csrf={csrf}&body=own");
    let answer = send(town.address, "POST", "/posts", &headers, own.as_bytes()).await;
    assert_eq!(answer.status, 303);

    // Whoever guesses the password on the way out has to wait, too.
    let guess = format!("csrf={csrf}&password=a+guess");
    let mut seen = Vec::new();
    for _ in 0..14 {
        let answer = send(
            town.address,
            "POST",
            "/settings/delete",
            &headers,
            guess.as_bytes(),
        )
        .await;
        seen.push(answer.status);
    }
    assert!(seen.contains(&429) && !seen.contains(&303), "{seen:?}");
    // And what can be done can be done so often only.
    let mut refused = 0;
    for _ in 0..80 {
        refused += i32::from(ada.call("DELETE", "/people/1/follow", None).await.status == 429);
    }
    assert!(refused > 0);
}
