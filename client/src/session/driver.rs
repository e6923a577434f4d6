//! Keeps one stream to a pod as long as somebody needs it, opens another when it breaks, and takes up every process where it was.

use std::time::Duration;

use arl_agent::message::LIVE_VERSION;
use kube::Client;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    attempts::{Attempts, Hopeless},
    converse::converse,
    fate,
    flow::StreamEnd,
    state::{Command, State},
};
use crate::{
    error::{Error, Fault},
    stream::{self, Greeting, Place, StreamError},
};

/// Runs until all handles are dropped. `patience` is how long the pod may be out of reach before what is in progress fails.
pub(crate) async fn drive(
    client: Client,
    place: Place,
    patience: Duration,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut state = State::of(&place.pod);
    let (mut attempts, mut has_worked, mut end) = (Attempts::new(patience), false, StreamEnd::Broken);
    loop {
        if state.is_idle() {
            let Some(command) = commands.recv().await else { return };
            state.take(command);
            attempts = Attempts::new(patience);
        }
        let retry_at = attempts.next();
        while let Ok(command) = timeout_at(retry_at, commands.recv()).await {
            match command {
                Some(command) => state.take(command),
                // Nobody is there any more, but what was asked to end is to be told.
                None if state.has_kill() => {
                    sleep_until(retry_at).await;
                    break;
                }
                None => return,
            }
        }
        let error = match stream::open(&client, &place, has_worked).await {
            Ok((_, Greeting { version, .. })) if version < LIVE_VERSION => {
                state.fail(|| Error::OldAgent { pod: place.pod.clone() });
                continue;
            }
            Ok((socket, Greeting { instance, .. })) => {
                has_worked = true;
                let since = Instant::now();
                state.resume(instance, &end);
                let Some(error) = converse(socket, &mut state, &mut commands).await else { return };
                state.disconnected();
                end = match &error {
                    StreamError::Protocol(message) => StreamEnd::Exited(message.clone()),
                    _ => StreamEnd::Broken,
                };
                attempts.closed(since, state.has_news);
                error
            }
            Err(error) => error,
        };
        tracing::debug!(pod = place.pod, ?error, "no stream to the agent");
        let Some(hopeless) = attempts.failed(&error) else { continue };
        let (pod, said) = (place.pod.clone(), error.printable().into_message());
        let fate = if hopeless == Hopeless::Gone { fate::of_sandbox(&client, &place).await } else { None };
        let (message, fault) = fate.unwrap_or((said, Fault::Infrastructure));
        state.fail(|| {
            let (pod, message) = (pod.clone(), message.clone());
            match hopeless {
                Hopeless::Forbidden => Error::Forbidden { pod, message },
                Hopeless::Gone => Error::PodLost { pod, message, fault },
                Hopeless::Unusable => Error::AgentUnusable { pod, message },
                Hopeless::Unreachable => Error::Unreachable { pod, message },
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Session, stream::testing::agents_of};

    fn session(client: Client) -> Session {
        let place = Place {
            namespace: "ns".into(),
            pod: "p".into(),
            pod_uid: "uid".into(),
            sandbox: None,
            container: Some("executor".into()),
        };
        Session::new(client, place, Duration::from_secs(60))
    }

    /// Its pod is there for as long as it takes to end.
    #[tokio::test]
    async fn nothing_new_is_begun_in_a_sandbox_that_was_released() {
        let (client, _told) = agents_of(LIVE_VERSION).await.unwrap();
        let session = session(client);
        session.clone().release();
        let refused = [
            session.run(Command::new(["true"])).await.unwrap_err(),
            session.files().read("/f").await.unwrap_err(),
            session.list().await.unwrap_err(),
        ];
        for error in refused {
            let expected = "pod p is lost: its Sandbox was released; use another Sandbox";
            assert_eq!((error.to_string().as_str(), error.fault()), (expected, Fault::Usage));
        }
    }

    /// One of version 1 closes a stream at what it does not know, so that it is told nothing.
    #[tokio::test]
    async fn an_agent_of_an_older_operator_is_met_in_words() {
        let (client, mut told) = agents_of(LIVE_VERSION - 1).await.unwrap();
        let session = session(client);
        // Each time anew: the pod stays, and so does the answer.
        for _ in 0..2 {
            let error = session.run(Command::new(["true"])).await.unwrap_err();
            let expected = "pod p was made by an older operator: its agent cannot run live commands; Tasks still work";
            assert_eq!((error.to_string().as_str(), error.fault()), (expected, Fault::Usage));
        }
        let listed = session.list().await.unwrap_err();
        assert!(matches!(listed, Error::OldAgent { .. }), "{listed}");
        assert!(told.try_recv().is_err());
    }
}
