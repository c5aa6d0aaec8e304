//! Pages as a browser without script uses them: forms, cookies, proofs, limits; and what programs find at the edges.

use serde_json::json;
use tests::Cluster;
use tests::social::{Answer, Town, request, send};

pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The cookies that an answer sets, as they are sent back.
pub fn cookies(answer: &Answer) -> String {
    let set = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    let pairs: Vec<&str> = set
        .filter_map(|(_, value)| value.split(';').next())
        .collect();
    pairs.join("; ")
}

pub fn proof(page: &str) -> String {
    let (_, rest) = page
        .split_once("name=\"csrf\" value=\"")
        .expect("a form with a proof");
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_script_forms_do_all() {
    let database = Cluster::shared().database("social_doors");
    let town = Town::start(&database.url(), &[]).await;
    let at = town.address;
    let door = send(at, "GET", "/", &[], b"").await;
    let (visitor, csrf) = (cookies(&door), proof(&door.text()));
    let joining = format!(
        "csrf={csrf}&user_name=ada&email=ada%40town.example&name=Ada+L&password=a+long+password"
    );
    let without = send(at, "POST", "/sign-up", &[FORM], joining.as_bytes()).await;
    assert_eq!(without.status, 403, "a form of another site");
    let taken = format!("csrf={csrf}&user_name=a&email=x&name=&password=1");
    let mistaken = send(
        at,
        "POST",
        "/sign-up",
        &[FORM, ("cookie", &visitor)],
        taken.as_bytes(),
    )
    .await;
    assert_eq!(mistaken.status, 422);
    assert!(
        mistaken.text().contains("role=\"alert\""),
        "{}",
        mistaken.text()
    );
    let joined = send(
        at,
        "POST",
        "/sign-up",
        &[FORM, ("cookie", &visitor)],
        joining.as_bytes(),
    )
    .await;
    assert_eq!(
        (joined.status, joined.header("location")),
        (303, Some("/")),
        "{}",
        joined.text()
    );
    let cookie = joined.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let session = cookies(&joined);

    let home = send(at, "GET", "/", &[("cookie", &session)], b"").await;
    let csrf = proof(&home.text());
    let post = format!("csrf={csrf}&body=%3Cb%3Ehello%3C%2Fb%3E&audience=everyone");
    let posted = send(
        at,
        "POST",
        "/posts",
        &[FORM, ("cookie", &session)],
        post.as_bytes(),
    )
    .await;
    assert_eq!(posted.status, 303);
    let home = send(at, "GET", "/", &[("cookie", &session)], b"")
        .await
        .text();
    assert!(
        home.contains("&lt;b&gt;hello&lt;/b&gt;") && !home.contains("<b>hello"),
        "{home}"
    );
    let stranger = send(
        at,
        "POST",
        "/posts",
        &[FORM, ("cookie", &session)],
        b"csrf=wrong&body=x",
    )
    .await;
    assert_eq!(stranger.status, 403);
    let api = send(
        at,
        "PUT",
        "/api/v1/notifications/seen",
        &[("cookie", &session)],
        b"",
    )
    .await;
    assert_eq!(api.status, 403, "a cookie alone is no proof");
    let api = send(
        at,
        "PUT",
        "/api/v1/notifications/seen",
        &[("cookie", &session), ("x-csrf-token", &csrf)],
        b"",
    )
    .await;
    assert_eq!(api.status, 204);
    for path in [
        "/@ada",
        "/@ada/followers",
        "/messages",
        "/notifications",
        "/search?q=ad",
        "/settings",
        "/friends",
    ] {
        let page = send(at, "GET", path, &[("cookie", &session)], b"").await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert!(page.header("content-security-policy").is_some());
    }
    let out = send(
        at,
        "POST",
        "/sign-out",
        &[FORM, ("cookie", &session)],
        format!("csrf={csrf}").as_bytes(),
    )
    .await;
    assert_eq!(out.status, 303);
    let gone = send(at, "GET", "/settings", &[("cookie", &session)], b"").await;
    assert_eq!(
        (gone.status, gone.header("location")),
        (303, Some("/sign-in"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_has_to_wait() {
    let database = Cluster::shared().database("social_limits");
    let town = Town::start(&database.url(), &[]).await;
    town.join("ada").await;
    let guess = json!({ "login": "ada", "password": "a guess", "label": "x" });
    let mut seen = Vec::new();
    for _ in 0..14 {
        let answer = request(town.address, "POST", "/api/v1/tokens", &[], Some(&guess)).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.json()["type"], "/problems/too-many-requests");
        }
        seen.push(answer.status);
    }
    assert_eq!(seen[0], 422, "{seen:?}");
    assert!(seen.contains(&429), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_is_a_problem_in_json() {
    let database = Cluster::shared().database("social_problems");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    let ada = town.join("ada").await;
    let cases = [
        ("GET", "/people/none", None, 404),
        ("GET", "/people/99999999999999999999", None, 404),
        ("GET", "/people/-1", None, 404),
        ("GET", "/feed?cursor=nonsense", None, 422),
        ("GET", "/feed?limit=0", None, 422),
        ("GET", "/feed?limit=x", None, 422),
        ("PUT", "/feed", None, 405),
        ("GET", "/nothing", None, 404),
        ("POST", "/posts", Some(json!({ "body": "" })), 422),
        ("POST", "/posts", Some(json!({ "body": "\u{0}" })), 422),
        (
            "POST",
            "/posts",
            Some(json!({ "body": "x", "audience": "aliens" })),
            422,
        ),
        (
            "POST",
            "/posts",
            Some(json!({ "body": "x", "media": [1] })),
            422,
        ),
        ("POST", "/posts", Some(json!({ "body": 5 })), 422),
        (
            "POST",
            "/posts",
            Some(json!({ "body": "x".repeat(70_000) })),
            413,
        ),
        ("PUT", "/people/99/follow", None, 404),
        ("PUT", "/posts/99/99/like", None, 404),
        ("GET", "/people/by-name/%00", None, 404),
        ("DELETE", "/tokens/99", None, 404),
    ];
    for (method, path, body, wanted) in cases {
        let answer = ada.call(method, path, body).await;
        assert_eq!(answer.status, wanted, "{method} {path}: {}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{method} {path}"
        );
        assert_eq!(answer.json()["status"], wanted);
    }
    let metrics = send(town.address, "GET", "/metrics", &[], b"").await.text();
    assert!(
        metrics.contains("social_responses_total{class=\"4xx\"} 1"),
        "{metrics}"
    );
    assert_eq!(
        send(town.address, "GET", "/health", &[], b"").await.status,
        200
    );
}
