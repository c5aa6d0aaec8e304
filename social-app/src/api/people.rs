//! People: found, looked at, followed, befriended, blocked.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, put};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::api::input::{Path, Query};
use crate::api::{Caller, Part, Problem, Routes, Writer};
use crate::models::follows::{self, List};
use crate::models::people::{self, Profile};
use crate::models::rate_limits::{self, SEARCH};
use crate::models::{Page, Person, Post, blocks, friends, posts, search};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Method::GET, "/people", get(find))
        .on(Method::GET, "/people/{id}", get(profile))
        .on(Method::GET, "/people/by-name/{user_name}", get(by_name))
        .on(Method::GET, "/people/{id}/posts", get(their_posts))
        .on(Method::GET, "/people/{id}/followers", get(followers))
        .on(Method::GET, "/people/{id}/following", get(following))
        .on(Method::GET, "/people/{id}/friends", get(their_friends))
        .on(Method::PUT, "/people/{id}/follow", put(follow))
        .on(Method::DELETE, "/people/{id}/follow", delete(unfollow))
        .on(Method::PUT, "/people/{id}/friend", put(befriend))
        .on(Method::DELETE, "/people/{id}/friend", delete(unfriend))
        .on(Method::PUT, "/people/{id}/block", put(block))
        .on(Method::DELETE, "/people/{id}/block", delete(unblock))
        .on(Method::GET, "/friend-requests", get(requests))
        .on(Method::GET, "/blocks", get(blocked))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    q: String,
}

fn items(people: Vec<Person>) -> Answer<Value> {
    Answer(json!({ "items": people }))
}

async fn find(
    State(app): State<App>,
    caller: Caller,
    Query(Wanted { q }): Query<Wanted>,
) -> Result<Answer<Value>, Problem> {
    rate_limits::take(&app, SEARCH, caller.id).await?;
    Ok(items(search::find(&app, caller.id, &q).await?))
}

async fn profile(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Answer<Profile>, Problem> {
    Ok(Answer(people::profile(&app, id, Some(caller.id)).await?))
}

async fn by_name(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Answer<Profile>, Problem> {
    let id = people::id_of(&app, &name).await?;
    Ok(Answer(people::profile(&app, id, Some(caller.id)).await?))
}

async fn their_posts(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Post>>, Problem> {
    people::profile(&app, id, Some(caller.id)).await?;
    Ok(Answer(
        posts::by_author(&app, id, Some(caller.id), part.cursor()?, part.size()?).await?,
    ))
}

async fn list(
    app: &App,
    caller: Caller,
    id: i64,
    list: List,
    part: &Part,
) -> Result<Answer<Page<Person>>, Problem> {
    people::profile(app, id, Some(caller.id)).await?;
    Ok(Answer(
        follows::list(app, id, list, Some(caller.id), part.cursor()?, part.size()?).await?,
    ))
}

async fn followers(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Person>>, Problem> {
    list(&app, caller, id, List::Followers, &part).await
}

async fn following(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Person>>, Problem> {
    list(&app, caller, id, List::Following, &part).await
}

async fn their_friends(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Person>>, Problem> {
    list(&app, caller, id, List::Friends, &part).await
}

async fn follow(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    follows::follow(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unfollow(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    follows::unfollow(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn befriend(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    friends::request(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unfriend(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    friends::end(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn block(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    blocks::block(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unblock(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    blocks::unblock(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn requests(State(app): State<App>, caller: Caller) -> Result<Answer<Value>, Problem> {
    Ok(items(friends::requests(&app, caller.id).await?))
}

async fn blocked(State(app): State<App>, caller: Caller) -> Result<Answer<Value>, Problem> {
    Ok(items(blocks::list(&app, caller.id).await?))
}
