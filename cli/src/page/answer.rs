//! How requests are answered.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
};
use futures::stream;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// A status and its words.
pub type Refusal = (StatusCode, String);

/// What comes through a channel, as it comes.
pub fn body(pieces: mpsc::Receiver<Bytes>) -> Body {
    let pieces = stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    Body::from_stream(pieces)
}

/// Of what the cluster refuses.
pub fn refusal(failure: &Failure) -> Refusal {
    (StatusCode::BAD_GATEWAY, failure.message.clone())
}
