//! The OpenAPI document, written as a list of operations; a test holds it against the routes.

mod schemas;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// One operation: method, path, what it does, the body it takes, its status of success, what it answers.
type Operation = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
    Option<&'static str>,
);

/// Who may call it without a token.
const OPEN: [&str; 3] = ["post /people", "post /tokens", "get /openapi.json"];

const OPERATIONS: &[Operation] = &[
    (
        "post",
        "/media",
        "Send a picture or video, by itself or as the part \"file\" of a form; its sizes are made afterwards",
        None,
        "201",
        Some("Medium"),
    ),
    (
        "get",
        "/media/{id}",
        "One's own picture or video: whether it is ready",
        None,
        "200",
        Some("Medium"),
    ),
    (
        "delete",
        "/media/{id}",
        "Delete a picture or video that no post uses",
        None,
        "204",
        None,
    ),
    (
        "post",
        "/people",
        "Join; gives a token",
        Some("Joining"),
        "201",
        Some("NewToken"),
    ),
    (
        "get",
        "/people",
        "Find people by the beginning of a name",
        None,
        "200",
        Some("People"),
    ),
    (
        "get",
        "/people/{id}",
        "A person's profile",
        None,
        "200",
        Some("Profile"),
    ),
    (
        "get",
        "/people/by-name/{user_name}",
        "A person's profile, by user name",
        None,
        "200",
        Some("Profile"),
    ),
    (
        "get",
        "/people/{id}/posts",
        "A person's posts, the newest first",
        None,
        "200",
        Some("PostPage"),
    ),
    (
        "get",
        "/people/{id}/followers",
        "Who follows a person",
        None,
        "200",
        Some("PersonPage"),
    ),
    (
        "get",
        "/people/{id}/following",
        "Whom a person follows",
        None,
        "200",
        Some("PersonPage"),
    ),
    (
        "get",
        "/people/{id}/friends",
        "A person's friends",
        None,
        "200",
        Some("PersonPage"),
    ),
    ("put", "/people/{id}/follow", "Follow", None, "204", None),
    (
        "delete",
        "/people/{id}/follow",
        "Stop following",
        None,
        "204",
        None,
    ),
    (
        "put",
        "/people/{id}/friend",
        "Ask for friendship, or accept it",
        None,
        "204",
        None,
    ),
    (
        "delete",
        "/people/{id}/friend",
        "End a friendship, or decline or take back a request",
        None,
        "204",
        None,
    ),
    ("put", "/people/{id}/block", "Block", None, "204", None),
    ("delete", "/people/{id}/block", "Unblock", None, "204", None),
    (
        "get",
        "/friend-requests",
        "Who waits for an answer",
        None,
        "200",
        Some("People"),
    ),
    (
        "get",
        "/blocks",
        "Whom the caller has blocked",
        None,
        "200",
        Some("People"),
    ),
    (
        "post",
        "/tokens",
        "Sign in: a token for a program",
        Some("Login"),
        "201",
        Some("NewToken"),
    ),
    (
        "get",
        "/tokens",
        "The caller's tokens",
        None,
        "200",
        Some("Tokens"),
    ),
    (
        "delete",
        "/tokens/{id}",
        "Revoke a token",
        None,
        "204",
        None,
    ),
    (
        "get",
        "/me",
        "The caller's profile",
        None,
        "200",
        Some("Profile"),
    ),
    (
        "patch",
        "/me",
        "Change the caller's profile",
        Some("Change"),
        "200",
        Some("Profile"),
    ),
    (
        "delete",
        "/me",
        "Delete the caller's account, everywhere",
        Some("Password"),
        "202",
        None,
    ),
    (
        "get",
        "/feed",
        "The caller's home feed, the newest first",
        None,
        "200",
        Some("PostPage"),
    ),
    (
        "get",
        "/notifications",
        "What others did",
        None,
        "200",
        Some("NotificationPage"),
    ),
    (
        "put",
        "/notifications/seen",
        "All notifications are seen",
        None,
        "204",
        None,
    ),
    (
        "post",
        "/posts",
        "Post",
        Some("NewPost"),
        "201",
        Some("Post"),
    ),
    (
        "get",
        "/posts/{author}/{id}",
        "One post",
        None,
        "200",
        Some("Post"),
    ),
    (
        "delete",
        "/posts/{author}/{id}",
        "Delete one's own post",
        None,
        "204",
        None,
    ),
    (
        "put",
        "/posts/{author}/{id}/like",
        "Like",
        None,
        "200",
        Some("Liked"),
    ),
    (
        "delete",
        "/posts/{author}/{id}/like",
        "Take a like back",
        None,
        "200",
        Some("Liked"),
    ),
    (
        "get",
        "/posts/{author}/{id}/comments",
        "Comments, the newest first",
        None,
        "200",
        Some("CommentPage"),
    ),
    (
        "post",
        "/posts/{author}/{id}/comments",
        "Comment",
        Some("Text"),
        "201",
        Some("Created"),
    ),
    (
        "delete",
        "/posts/{author}/{id}/comments/{comment}",
        "Delete a comment",
        None,
        "204",
        None,
    ),
    (
        "get",
        "/conversations",
        "Conversations, the latest first",
        None,
        "200",
        Some("ConversationPage"),
    ),
    (
        "get",
        "/conversations/{peer}/messages",
        "Messages with one person, the newest first",
        None,
        "200",
        Some("MessagePage"),
    ),
    (
        "post",
        "/conversations/{peer}/messages",
        "Send a message",
        Some("Text"),
        "201",
        Some("Message"),
    ),
    (
        "put",
        "/conversations/{peer}/read",
        "The conversation is read",
        None,
        "204",
        None,
    ),
    (
        "get",
        "/openapi.json",
        "This document",
        None,
        "200",
        Some("Anything"),
    ),
];

pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths
            .entry(operation.1)
            .or_insert_with(|| json!({ "parameters": parameters(operation.1) }));
        path[operation.0] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Oskol Town",
            "version": "1",
            "description": "Lists come in pages: send `next` of one as `cursor` of the following. Errors are problems (RFC 9457) \
                whose `type` is stable. Times are RFC 3339 in UTC.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/api/v1" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas::schemas(),
            "responses": {
                "Problem": {
                    "description": "What was wrong",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
            },
        },
    })
}

/// Of the path: numbers, but for a user name.
fn parameters(path: &str) -> Value {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let schema = match name {
                "user_name" => json!({ "type": "string", "minLength": 1 }),
                _ => json!({ "type": "integer", "format": "int64" }),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect()
}

fn described((method, path, summary, body, status, answer): &Operation) -> Value {
    let mut success = json!({ "description": summary });
    if let Some(answer) = answer {
        success["content"] = json!({ "application/json": { "schema": reference(answer) } });
    }
    let mut operation = json!({
        "summary": summary,
        "operationId": name(method, path),
        "responses": { *status: success, "default": { "$ref": "#/components/responses/Problem" } },
    });
    if let Some(body) = body {
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": reference(body) } } });
    }
    if (*method, *path) == ("post", "/media") {
        operation["requestBody"] = files();
    }
    if answer.is_some_and(|answer| answer.ends_with("Page")) {
        operation["parameters"] = json!([
            { "name": "cursor", "in": "query", "schema": { "type": "string" } },
            { "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 100, "default": 20 } },
        ]);
    }
    if (*method, *path) == ("get", "/people") {
        operation["parameters"] = json!([{ "name": "q", "in": "query", "required": true, "schema": { "type": "string" } }]);
    }
    if OPEN.contains(&format!("{method} {path}").as_str()) {
        operation["security"] = json!([]);
    }
    operation
}

/// Bodies that are no JSON.
fn files() -> Value {
    let file = json!({ "type": "string", "format": "binary" });
    let form = json!({
        "type": "object", "required": ["file"],
        "properties": { "alt": { "type": "string", "maxLength": 500 }, "file": file },
    });
    json!({ "required": true, "content": {
        "image/*": { "schema": file }, "video/*": { "schema": file }, "multipart/form-data": { "schema": form },
    } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// `get /people/{id}/posts` as `get_people_id_posts`.
fn name(method: &str, path: &str) -> String {
    let words = path
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |name, word| format!("{name}_{word}"))
}
