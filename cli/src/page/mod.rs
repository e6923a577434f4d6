//! The page of `ui`: what is there, as it changes, outputs of Tasks and shells, for a browser on this machine.
//!
//! ```text
//!   browser ── GET /, /page.* ──────────────> assets
//!           ── GET /api/state ──────────────> view and fill, a line for each change
//!           ── GET /api/output/TASK ────────> output
//!           ── POST /api/open, input, size ─> terminal
//! ```
//!
//! Whoever holds the token has the rights of the kubeconfig: see [`guard`].

mod answer;
mod context;
mod fill;
mod guard;
mod output;
mod terminal;
mod terminals;
mod view;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::HeaderValue,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
pub use context::Page;
use tokio::{net::TcpListener, sync::mpsc};

use self::answer::body;
use crate::failure::Failure;

/// Answers until this is dropped.
pub async fn serve(page: Arc<Page>, listener: TcpListener) -> Result<(), Failure> {
    let routes = Router::new()
        .route("/", get(|| async { asset("text/html; charset=utf-8", include_str!("assets/page.html")) }))
        .route("/page.css", get(|| async { asset("text/css", include_str!("assets/page.css")) }))
        .route("/page.js", get(|| async { asset("text/javascript", include_str!("assets/page.js")) }))
        .route("/terminal.js", get(|| async { asset("text/javascript", include_str!("assets/terminal.js")) }))
        .route("/chart.js", get(|| async { asset("text/javascript", include_str!("assets/chart.js")) }))
        .route("/elements.js", get(|| async { asset("text/javascript", include_str!("assets/elements.js")) }))
        .route("/api/state", get(state))
        .route("/api/output/{task}", get(output::output))
        .route("/api/open/{sandbox}/{id}/{columns}/{rows}", post(terminal::open))
        .route("/api/input/{id}", post(terminal::input))
        .route("/api/size/{id}/{columns}/{rows}", post(terminal::size))
        .layer(middleware::from_fn_with_state(Arc::clone(&page), guarded))
        .with_state(page);
    axum::serve(listener, routes).await.map_err(|error| Failure::ours(format!("the page cannot be served: {error}")))
}

async fn guarded(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let refused = page.guard.refuses(request.uri().path(), request.headers());
    let mut response = match refused {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in guard::HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn asset(kind: &'static str, content: &'static str) -> impl IntoResponse {
    ([("content-type", kind)], content)
}

/// The fill so far, what is there, and then what is there after each change.
async fn state(State(page): State<Arc<Page>>) -> Body {
    let (sender, lines) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut changes = page.changes();
        let mut line = format!("{}\n", page.fill());
        loop {
            let view = serde_json::to_string(&page.view()).unwrap_or_default();
            line.extend([&view, "\n"]);
            if sender.send(line.into()).await.is_err() {
                return;
            }
            line = String::new();
            tokio::select! {
                told = changes.changed() => if told.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    body(lines)
}
