//! Why a file is not taken, in words for the person who sent it.

use axum::http::StatusCode;

use crate::Error;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("The file is empty.")]
    Empty,
    #[error("The form has no file: send it as a part named \"file\".")]
    NoFile,
    #[error("The form is not understood: {0}.")]
    Form(String),
    #[error(
        "This is not a picture or video that we know, whatever its name says. JPEG, PNG, GIF, WebP, MP4 and WebM are."
    )]
    NotMedia,
    #[error("The file is larger than {} MiB, which is the most for {what}.", .limit >> 20)]
    TooLarge { what: &'static str, limit: u64 },
    #[error("The picture has {width} x {height} pixels; at most {} million are taken, and {side} on a side.", .pixels / 1_000_000)]
    TooManyPixels {
        width: u32,
        height: u32,
        pixels: u64,
        side: u32,
    },
    #[error("The file is damaged: {0}.")]
    Damaged(String),
    #[error("Nothing came for {0} seconds. Please send the file again.")]
    Stalled(u64),
    #[error("The connection ended before the file did.")]
    Interrupted,
    #[error("Too many files are coming in right now. Please try again in a moment.")]
    Busy,
    #[error("You have {0} files that no post uses yet. Please use or remove some first.")]
    TooMany(i64),
}

impl Refusal {
    pub fn damaged(what: impl std::fmt::Display) -> Refusal {
        Refusal::Damaged(what.to_string())
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Empty | Refusal::Damaged(_) | Refusal::TooManyPixels { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Refusal::NoFile | Refusal::Form(_) | Refusal::Interrupted => StatusCode::BAD_REQUEST,
            Refusal::NotMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
            Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::TooMany(_) => StatusCode::CONFLICT,
        }
    }

    /// A stable name of the reason, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Refusal::Empty => "media-empty",
            Refusal::NoFile => "media-no-file",
            Refusal::Form(_) => "media-form",
            Refusal::NotMedia => "media-unknown-format",
            Refusal::TooLarge { .. } => "media-too-large",
            Refusal::TooManyPixels { .. } => "media-too-many-pixels",
            Refusal::Damaged(_) => "media-damaged",
            Refusal::Stalled(_) => "media-stalled",
            Refusal::Interrupted => "media-interrupted",
            Refusal::Busy => "media-busy",
            Refusal::TooMany(_) => "media-too-many",
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused {
            status: refusal.status(),
            kind: refusal.kind(),
            detail: refusal.to_string(),
        }
    }
}
