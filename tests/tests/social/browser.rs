//! A person at a real browser, on four shards, and another one whose page is told without being reloaded. Pictures are
//! kept in `target/social-pictures`.

use std::path::PathBuf;

use serde_json::json;
use tests::Cluster;
use tests::social::Town;
use tests::social::browser::{Browser, Driver, Look};
use tests::toolchain;

pub const LOOKS: [Look; 4] = [
    Look {
        name: "phone-light",
        width: 390,
        height: 844,
        dark: false,
    },
    Look {
        name: "phone-dark",
        width: 390,
        height: 844,
        dark: true,
    },
    Look {
        name: "desk-light",
        width: 1280,
        height: 900,
        dark: false,
    },
    Look {
        name: "desk-dark",
        width: 1280,
        height: 900,
        dark: true,
    },
];

pub fn picture(look: Look, name: &str) -> PathBuf {
    let directory = toolchain::target().join("social-pictures");
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(format!("{}-{name}.png", look.name))
}

/// Signs up at the door.
async fn join(browser: &Browser<'_>, town: &Town, user_name: &str, name: &str) {
    browser.go(&town.url("/")).await;
    browser.write("#user_name", user_name).await;
    browser.write("#name", name).await;
    browser
        .write("#email", &format!("{user_name}@town.example"))
        .await;
    browser.write("#password", "a long password").await;
    browser.click("form.account button").await;
    browser
        .holds("return !!document.querySelector('#composer')")
        .await;
}

/// Nothing sticks out at the side, and every field has a name.
pub async fn is_well_made(browser: &Browser<'_>) {
    let script = "return document.documentElement.scrollWidth <= window.innerWidth";
    browser.holds(script).await;
    let nameless = "return [...document.querySelectorAll('input:not([type=hidden]),textarea,select')].every(field => \
        field.labels.length > 0 || field.ariaLabel)";
    browser.holds(nameless).await;
    let mute = "return [...document.querySelectorAll('button,a')].every(element => element.textContent.trim() || element.ariaLabel || element.ariaHidden)";
    browser.holds(mute).await;
}

/// The picture of the first post is there, not only its place.
const SHOWN: &str = "const picture = document.querySelector('.post .gallery img'); return !!picture && picture.naturalWidth > 0";
/// A browser chooses among these.
const SIZES: &str = "const sizes = document.querySelector('.post .gallery img').srcset; \
    return [...sizes.matchAll(/ (\\d+)w/g)].map(size => size[1]).join() === '320,640,1280'";

/// A file as a camera makes it, with the directory that it is in.
fn photograph(look: Look) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("harbour.jpg");
    let seed = u64::from(look.width) + u64::from(look.dark);
    let small = social_app::seed::pictures::landscape(seed, 400, 300);
    let large = image::imageops::resize(&small, 1600, 1200, image::imageops::FilterType::Triangle);
    large.save(&file).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

async fn walk(driver: &Driver, town: &Town, look: Look) {
    let suffix = look.name.replace('-', "_");
    let (ada, bruno) = (driver.open(look).await, driver.open(look).await);
    ada.go(&town.url("/")).await;
    is_well_made(&ada).await;
    ada.picture(&picture(look, "door")).await;
    join(&ada, town, &format!("ada_{suffix}"), "Ada Lovelace").await;
    join(&bruno, town, &format!("bruno_{suffix}"), "Bruno Costa").await;

    // Search as one types, then follow without a reload.
    bruno.go(&town.url("/search")).await;
    bruno.run("window.stayed = true").await;
    bruno.write("#q", &format!("ada_{suffix}")).await;
    bruno.says("Ada Lovelace").await;
    bruno.picture(&picture(look, "search")).await;
    bruno.click("[data-results] .person-link").await;
    bruno.says("Follow").await;
    ada.go(&town.url(&format!("/@ada_{suffix}"))).await;
    ada.says("0 followers").await;
    ada.run("window.stayed = true").await;
    bruno.run("window.stayed = true").await;
    bruno.click(".button.strong").await;
    bruno.says("Following").await;
    bruno.says("1 follower").await;
    bruno.holds("return window.stayed === true").await;
    is_well_made(&bruno).await;
    bruno.picture(&picture(look, "profile")).await;
    ada.says("1 follower").await;
    ada.picture(&picture(look, "own-profile")).await;

    // Ada's open page is told of it.
    ada.holds(
        "return document.querySelector('[data-badge=notifications]').textContent.startsWith('1')",
    )
    .await;
    ada.holds("return window.stayed === true").await;
    ada.go(&town.url("/")).await;

    // What she posts is there at once, and comes to his feed, in its sizes.
    ada.run("window.stayed = true").await;
    let (_directory, photograph) = photograph(look);
    ada.write(".composer input[type=file]", &photograph).await;
    ada.holds("return document.querySelectorAll('.preview input[name=media]').length === 1")
        .await;
    ada.write(
        "#composer",
        "The first post of this town.\n\nWho is here? @bruno",
    )
    .await;
    ada.picture(&picture(look, "composer")).await;
    ada.click(".composer .button").await;
    ada.holds("return document.querySelectorAll('#feed .post').length === 1")
        .await;
    ada.holds(SHOWN).await;
    ada.holds("return window.stayed === true").await;
    is_well_made(&ada).await;
    let feed = || async {
        bruno.go(&town.url("/")).await;
        bruno.text().await.contains("The first post")
    };
    tests::eventually("the post is in his feed", async || feed().await).await;
    bruno.holds(SHOWN).await;
    bruno.holds(SIZES).await;
    bruno.picture(&picture(look, "feed")).await;
    bruno.run("window.stayed = true").await;
    bruno.click(".like").await;
    bruno.holds("return document.querySelector('.like').ariaPressed === 'true' && document.querySelector('.like').textContent.includes('1')").await;
    bruno.holds("return window.stayed === true").await;

    // The like is told on her page, which was not loaded again.
    ada.says("likes your post").await;
    ada.picture(&picture(look, "told")).await;
    ada.holds("return window.stayed === true").await;

    bruno.click("a.act").await;
    bruno.write("#comment", "I am here!").await;
    bruno.click(".comment-form .button").await;
    bruno
        .holds("return document.querySelectorAll('.comment').length === 1")
        .await;
    bruno
        .holds("return document.querySelector('[data-comment-count]').textContent === '1'")
        .await;
    is_well_made(&bruno).await;
    bruno.picture(&picture(look, "post")).await;

    talk(&ada, &bruno, town, look).await;
    for (page, name) in [
        ("/notifications", "news"),
        ("/messages", "inbox"),
        ("/settings", "settings"),
        ("/nowhere", "nowhere"),
    ] {
        ada.go(&town.url(page)).await;
        is_well_made(&ada).await;
        ada.picture(&picture(look, name)).await;
    }
}

/// Both write; each sees the other's words come.
async fn talk(ada: &Browser<'_>, bruno: &Browser<'_>, town: &Town, look: Look) {
    bruno.click(".post-head .name").await;
    bruno.click("a.button[href^='/messages/']").await;
    bruno
        .write("#message", "Hello Ada, is the pigeon yours?")
        .await;
    bruno.click(".talk .button").await;
    bruno
        .holds("return document.querySelectorAll('.message.mine').length === 1")
        .await;
    ada.holds("return document.querySelector('[data-badge=messages]').textContent.startsWith('1')")
        .await;
    ada.go(&town.url("/messages")).await;
    ada.click(".person-link").await;
    ada.says("is the pigeon yours?").await;
    ada.write("#message", "No, it belongs to everybody.").await;
    ada.click(".talk .button").await;
    bruno.says("it belongs to everybody").await;
    bruno.run("window.stayed = true").await;
    bruno.picture(&picture(look, "talk")).await;
    is_well_made(bruno).await;
}

// Two minutes on a quiet machine: cargo test -p tests --test social browser -- --ignored
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: real browsers in four looks"]
async fn two_people_at_their_browsers() {
    let driver = match Driver::start().await {
        Ok(driver) => driver,
        Err(missing) => return toolchain::skip("two_people_at_their_browsers", &missing),
    };
    let database = Cluster::shared().database("social_browser");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    for look in LOOKS {
        walk(&driver, &town, look).await;
    }
    endless(&driver, &town).await;
}

/// The feed goes on as one comes to its end.
async fn endless(driver: &Driver, town: &Town) {
    let browser = driver.open(LOOKS[0]).await;
    join(&browser, town, "reader", "Reader").await;
    let writer = town.join("writer").await;
    for number in 0..40 {
        writer
            .post("/posts", json!({ "body": format!("Post number {number}") }))
            .await;
    }
    browser.go(&town.url("/@writer")).await;
    browser.says("Post number 39").await;
    let down = "window.scrollTo(0, document.body.scrollHeight); return document.body.innerText.includes('Post number 0')";
    browser.holds(down).await;
    browser
        .holds("return document.querySelectorAll('.post').length === 40")
        .await;
}
