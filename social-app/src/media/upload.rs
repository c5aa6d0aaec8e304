//! Files in requests: sent as `multipart/form-data`, asked about, taken away, and looked at.

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartRejection};
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Response};
use axum::response::{IntoResponse as _, Response as AnyResponse};
use tokio_postgres::types::Json;

use super::refusal::Refusal;
use super::{ATTACHMENT, Attachment, names, serve, shelf, store};
use crate::api::Problem;
use crate::{App, Error, db};

/// Bytes of a describing text.
const ALT: usize = 4 * 500;
const ALT_CHARACTERS: usize = 500;
/// Parts of a form that are looked at.
const MOST_PARTS: usize = 8;

/// Takes the body as a file, or the one file of a form.
pub async fn receive(app: &App, owner: i64, request: Request) -> Result<Attachment, Error> {
    if is_form(request.headers()) {
        return receive_form(app, owner, request).await;
    }
    let checked = app
        .desk
        .check(request.into_body().into_data_stream())
        .await?;
    shelf::add(app, owner, checked, "").await
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("multipart/"))
}

/// An optional part `alt` (what is to be seen, for those who do not see it) and, behind it, the part `file`.
async fn receive_form(app: &App, owner: i64, request: Request) -> Result<Attachment, Error> {
    let mut form = form(request).await?;
    let mut alt = String::new();
    for _ in 0..MOST_PARTS {
        let Some(field) = form.next_field().await.map_err(broken)? else {
            break;
        };
        match field.name() {
            Some("alt") => alt = text(field).await?,
            Some("file") => {
                let checked = app.desk.check(field).await?;
                return shelf::add(app, owner, checked, &alt).await;
            }
            // Read to its end, and no more, by the next one.
            _ => {}
        }
    }
    Err(Refusal::NoFile.into())
}

async fn form(request: Request) -> Result<Multipart, Error> {
    let form = Multipart::from_request(request, &()).await;
    form.map_err(|error: MultipartRejection| Refusal::Form(error.body_text()).into())
}

fn broken(error: axum::extract::multipart::MultipartError) -> Error {
    Refusal::Form(error.body_text()).into()
}

async fn text(mut field: Field<'_>) -> Result<String, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > ALT {
            return Err(too_long());
        }
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Error::invalid("alt", "The text is not UTF-8."))?;
    let text = crate::models::people::clean(text.trim());
    if text.chars().count() > ALT_CHARACTERS {
        Err(too_long())
    } else {
        Ok(text)
    }
}

fn too_long() -> Error {
    Error::invalid("alt", "Please describe it in at most 500 characters.")
}

/// One's own file: whether it is ready yet.
pub async fn find(app: &App, owner: i64, media: i64) -> Result<Attachment, Error> {
    let client = app.pool.get().await?;
    let sql = format!("SELECT {ATTACHMENT} FROM media m WHERE m.owner_id = $1 AND m.id = $2");
    let Json(found): Json<Attachment> = db::one(&client, &sql, &[&owner, &media]).await?.get(0);
    Ok(found)
}

/// Takes away a file of one's own that no post uses.
pub async fn delete(app: &App, owner: i64, media: i64) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = "DELETE FROM media WHERE owner_id = $1 AND id = $2 AND post_id IS NULL";
    if db::run(&client, sql, &[&owner, &media]).await? == 0 {
        return Err(Error::NotFound);
    }
    drop(client);
    store::remove_all(&*app.media, &names::all_of(owner, media)).await?;
    Ok(())
}

/// GET and HEAD of an object.
pub async fn served(
    State(app): State<App>,
    method: Method,
    path: Path<(String, String, String)>,
    headers: HeaderMap,
) -> AnyResponse {
    match find_and_serve(&app, method, path, headers).await {
        Ok(response) => response.into_response(),
        Err(error) => Problem(error).into_response(),
    }
}

async fn find_and_serve(
    app: &App,
    method: Method,
    Path((owner, media, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, Error> {
    let number = |text: &str| text.parse::<i64>().map_err(|_| Error::NotFound);
    let path = Path((number(&owner)?, number(&media)?, file));
    serve::serve(&*app.media, method, path, headers).await
}
