//! A way to the API server that can be cut.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use arl_client::Client;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::{World, setup};

/// What stands between a client and the API server: it passes connections on, until they are reset.
pub struct Proxy {
    /// Of a client that goes through it.
    pub kubeconfig: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_away: bool,
    open: Vec<tokio::task::AbortHandle>,
}

impl Proxy {
    pub async fn start(world: &World) -> Self {
        let mut kubeconfig = serde_json::to_value(setup::admin()).unwrap();
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().unwrap().to_owned();
        let address = server.strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        cluster["server"] = json!(format!("https://{}", listener.local_addr().unwrap()));
        // The certificate is for the server's own address.
        let (host, _) = address.rsplit_once(':').unwrap();
        cluster["tls-server-name"] = json!(host);
        let path = setup::logs().join(format!("{}.proxy.kubeconfig", world.ns));
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(pass(listener, address, Arc::clone(&state)));
        Self { kubeconfig: path, state }
    }

    /// Resets so many connections of those that are open, or all; returns how many there were.
    pub fn cut(&self, count: usize, random: &mut fastrand::Rng) -> usize {
        let mut state = self.state.lock().unwrap();
        state.open.retain(|connection| !connection.is_finished());
        random.shuffle(&mut state.open);
        let kept = state.open.len().saturating_sub(count);
        state.open.drain(kept..).map(|connection| connection.abort()).count()
    }

    /// Takes no connections, or takes them again.
    pub fn set_away(&self, is_away: bool) {
        self.state.lock().unwrap().is_away = is_away;
        if is_away {
            self.cut(usize::MAX, &mut fastrand::Rng::new());
        }
    }

    pub async fn client(&self, world: &World) -> Client {
        Client::new(setup::client_of(&self.kubeconfig).await, world.ns.as_str())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _absent = std::fs::remove_file(&self.kubeconfig);
    }
}

async fn pass(listener: TcpListener, address: String, state: Arc<Mutex<State>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        // What is closed now, or aborted later, is reset: the other side has no chance to tidy up.
        let _ = near.set_zero_linger();
        let mut state = state.lock().unwrap();
        if state.is_away {
            continue;
        }
        let address = address.clone();
        let connection = tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(address).await else { return };
            let _ = far.set_zero_linger();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        state.open.retain(|connection| !connection.is_finished());
        state.open.push(connection.abort_handle());
    }
}
