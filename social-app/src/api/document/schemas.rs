//! What goes in and out.

use serde_json::{Map, Value, json};

/// An object all of whose fields are there.
fn object(fields: Value) -> Value {
    let required: Vec<&String> = fields.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "required": required, "properties": fields })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn page(of: &str) -> Value {
    object(json!({
        "items": { "type": "array", "items": reference(of) },
        "next": { "type": ["string", "null"], "description": "Cursor of the next page; null: this is the last" },
    }))
}

fn items(of: &str) -> Value {
    object(json!({ "items": { "type": "array", "items": reference(of) } }))
}

fn id() -> Value {
    json!({ "type": "integer", "format": "int64" })
}

fn text(least: u32, most: u32) -> Value {
    json!({ "type": "string", "minLength": least, "maxLength": most })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub fn schemas() -> Value {
    let mut all = inputs();
    all.append(&mut outputs());
    for of in [
        "Post",
        "Person",
        "Comment",
        "Notification",
        "Conversation",
        "Message",
    ] {
        all.insert(format!("{of}Page"), page(of));
    }
    Value::Object(all)
}

fn inputs() -> Map<String, Value> {
    let string = json!({ "type": "string" });
    let mut change = object(json!({ "name": text(1, 60), "bio": text(0, 500) }));
    change["properties"]["avatar_id"] = json!({ "type": ["integer", "null"], "format": "int64" });
    let all = json!({
        "Joining": object(json!({
            "user_name": { "type": "string", "pattern": "^[a-zA-Z0-9_]{3,30}$" },
            "email": { "type": "string", "format": "email", "maxLength": 254 },
            "name": text(1, 60),
            "password": text(8, 200),
        })),
        "Login": object(json!({ "login": string, "password": string, "label": text(1, 60) })),
        "Change": change,
        "Password": object(json!({ "password": string })),
        "NewPost": {
            "type": "object",
            "properties": {
                "body": text(0, 5000),
                "audience": { "type": ["string", "null"], "enum": ["everyone", "friends", null] },
                "media": { "type": "array", "items": id(), "maxItems": 6 },
            },
        },
        "Text": object(json!({ "body": text(1, 2000) })),
    });
    into_map(all)
}

fn outputs() -> Map<String, Value> {
    let string = json!({ "type": "string" });
    let flag = json!({ "type": "boolean" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let person = json!({ "id": id(), "user_name": string, "name": string, "avatar": { "oneOf": [reference("Medium"), { "type": "null" }] } });
    let mut profile = into_map(person.clone());
    profile.append(&mut into_map(json!({
        "bio": string, "follower_count": count, "following_count": count, "post_count": count, "created": time(),
        "relation": { "oneOf": [reference("Relation"), { "type": "null" }] },
    })));
    let token = json!({ "id": id(), "label": string, "created": time(), "expires": time() });
    let mut new_token = into_map(token.clone());
    new_token.append(&mut into_map(json!({ "token": string, "user_id": id() })));
    let side = json!({ "type": ["integer", "null"] });
    into_map(json!({
        "Problem": {
            "type": "object", "required": ["type", "title", "status", "detail"],
            "properties": { "type": string, "title": string, "status": { "type": "integer" }, "detail": string, "field": string },
        },
        "Anything": { "type": "object" },
        "Created": object(json!({ "id": id() })),
        "Person": object(person),
        "People": items("Person"),
        "Profile": object(Value::Object(profile)),
        "Relation": object(json!({
            "following": flag, "friends": flag, "request_sent": flag, "request_received": flag, "blocked_by_me": flag,
        })),
        "Token": object(token),
        "Tokens": items("Token"),
        "NewToken": object(Value::Object(new_token)),
        "Medium": object(json!({
            "owner_id": id(), "id": id(), "kind": { "enum": ["image", "video"] }, "hash": string, "mime": string, "width": side, "height": side,
            "placeholder": { "type": ["string", "null"] }, "alt": string, "state": { "enum": ["waiting", "ready", "failed"] },
            "variants": { "type": "array", "items": object(json!({
                "hash": string, "mime": string, "width": { "type": "integer" }, "height": { "type": "integer" }, "bytes": { "type": "integer" },
            })) },
        })),
        "Post": object(json!({
            "id": id(), "author": reference("Person"), "body": string, "audience": { "enum": ["everyone", "friends"] },
            "like_count": count, "comment_count": count, "liked": flag, "created": time(),
            "media": { "type": "array", "items": reference("Medium") },
        })),
        "Liked": object(json!({ "liked": flag, "like_count": count })),
        "Comment": object(json!({ "id": id(), "writer": reference("Person"), "body": string, "created": time() })),
        "Notification": object(json!({
            "id": id(), "kind": { "enum": ["follow", "friend_request", "friend", "like", "comment"] }, "actor": reference("Person"),
            "post_id": { "type": ["integer", "null"] }, "seen": flag, "created": time(),
        })),
        "Conversation": object(json!({ "peer": reference("Person"), "excerpt": string, "unread": count, "latest": time() })),
        "Message": object(json!({ "id": { "type": "string", "format": "uuid" }, "sender_id": id(), "body": string, "created": time() })),
    }))
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
