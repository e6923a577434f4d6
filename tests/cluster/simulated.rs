//! The API server answers as the one in `tests/sim` does, which everything simulated rests on.

use crate::api;
use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_as_its_model_does() {
    let world = World::without_operator("api").await;
    let dialogue = api::dialogue(world.client.clone(), &world.ns);
    let said = tokio::time::timeout(crate::harness::wait::DEADLINE, dialogue).await.expect("the watch reports it all");
    assert_eq!(said, api::ANSWERS);
}
