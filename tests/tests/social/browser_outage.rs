//! One shard is killed while people sit at their browsers: those of the others notice nothing.

use serde_json::json;
use shard_node::Stop;
use tests::social::browser::{Browser, Driver, Look};
use tests::social::{Citizen, Town};
use tests::{Cluster, eventually, toolchain};

use super::browser::{LOOKS, is_well_made, picture};
use super::outage::Spread;

/// One whose shard goes, and two of others who follow one another and the first.
struct People<'a> {
    sleeper: &'a Citizen,
    awake: [&'a Citizen; 2],
}

async fn signed_in<'a>(driver: &'a Driver, town: &Town, who: &Citizen, look: Look) -> Browser<'a> {
    let browser = driver.open(look).await;
    browser.go(&town.url("/sign-in")).await;
    browser.write("#login", &who.name).await;
    browser.write("#password", "a long password").await;
    browser.click("form.account button").await;
    browser
        .holds("return !!document.querySelector('#composer')")
        .await;
    browser
}

async fn posts(browser: &Browser<'_>, text: &str) {
    browser.write("#composer", text).await;
    browser.click(".composer .button").await;
    let there =
        format!("return document.querySelector('#feed .post')?.innerText.includes('{text}')");
    browser.holds(&there).await;
}

async fn feed_has(browser: &Browser<'_>, town: &Town, text: &str) {
    eventually("the post is in the feed", async || {
        browser.go(&town.url("/")).await;
        browser.text().await.contains(text)
    })
    .await;
}

/// No page of theirs has anything but what it should have.
async fn notices_nothing(browser: &Browser<'_>, town: &Town, other: &Citizen) {
    let profile = format!("/@{}", other.name);
    for page in ["/", "/messages", "/notifications", "/settings", &profile] {
        browser.go(&town.url(page)).await;
        let text = browser.text().await;
        assert!(
            text.contains("Home") && !text.contains("Back in a moment"),
            "{page}: {text}"
        );
    }
}

async fn night(
    driver: &Driver,
    town: &Town,
    cluster: &Cluster,
    down: usize,
    who: &People<'_>,
    look: Look,
) {
    let [ada, bruno] = who.awake;
    let sleeper = signed_in(driver, town, who.sleeper, look).await;
    let (at_ada, at_bruno) = (
        signed_in(driver, town, ada, look).await,
        signed_in(driver, town, bruno, look).await,
    );
    posts(&at_ada, &format!("before {}", look.name)).await;
    feed_has(&at_bruno, town, &format!("before {}", look.name)).await;

    cluster.stop_shard(down, Stop::Immediate);
    // The page that was open stays, and what cannot be done is told.
    sleeper.write("#composer", "does anybody hear me?").await;
    sleeper.click(".composer .button").await;
    sleeper.says("asleep for a moment").await;
    sleeper
        .holds("return document.querySelector('#composer').value === 'does anybody hear me?'")
        .await;
    sleeper.go(&town.url("/")).await;
    sleeper.says("Back in a moment").await;
    is_well_made(&sleeper).await;
    sleeper.picture(&picture(look, "asleep")).await;

    // The others' open pages go on, their posts come to one another, news is told, pages are whole.
    posts(&at_ada, &format!("during {}", look.name)).await;
    feed_has(&at_bruno, town, &format!("during {}", look.name)).await;
    at_ada.run("window.stayed = true").await;
    at_bruno.click(".like").await;
    at_bruno
        .holds("return document.querySelector('.like').ariaPressed === 'true'")
        .await;
    at_ada.says("likes your post").await;
    at_ada.holds("return window.stayed === true").await;
    at_bruno
        .go(&town.url(&format!("/messages/{}", ada.id)))
        .await;
    at_bruno
        .write("#message", &format!("good night {}", look.name))
        .await;
    at_bruno.click(".talk .button").await;
    at_ada
        .holds("return !document.querySelector('[data-badge=messages]').hidden")
        .await;
    notices_nothing(&at_ada, town, bruno).await;
    notices_nothing(&at_bruno, town, ada).await;
    at_ada.go(&town.url("/")).await;
    at_ada.picture(&picture(look, "awake")).await;

    cluster.start_shard(down);
    eventually("the sleeper's page is back", async || {
        sleeper.go(&town.url("/")).await;
        !sleeper.text().await.contains("Back in a moment")
    })
    .await;
}

// cargo test -p tests --test social browser_outage -- --ignored
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: real browsers in four looks"]
async fn one_shard_is_killed_while_people_sit_at_their_browsers() {
    let driver = match Driver::start().await {
        Ok(driver) => driver,
        Err(missing) => return toolchain::skip("one_shard_is_killed", &missing),
    };
    let cluster = Cluster::start(4);
    let database = cluster.database("social_browser_outage");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    let spread = Spread::over(&town, &database).await;
    let elsewhere = spread.elsewhere();
    let who = People {
        sleeper: spread.on_it()[0],
        awake: [elsewhere[0], elsewhere[1]],
    };
    let [ada, bruno] = who.awake;
    for (one, other) in [
        (ada, bruno),
        (bruno, ada),
        (ada, who.sleeper),
        (bruno, who.sleeper),
    ] {
        one.put(&format!("/people/{}/follow", other.id)).await;
    }
    who.sleeper
        .post("/posts", json!({ "body": "soon asleep" }))
        .await;
    for look in LOOKS {
        night(&driver, &town, &cluster, spread.down, &who, look).await;
    }
}
