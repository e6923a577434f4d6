//! What a seed stands for: its scenario, and what goes wrong.

use crate::{
    elastic,
    faults::Faults,
    process::Death,
    scenario::{self, Scenario},
    stories,
};

/// What to simulate.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub scenario: Scenario,
    pub faults: Faults,
    pub death: Option<Death>,
    /// Whether more fields of the specs are set than the scenario sets.
    pub is_varied: bool,
}

/// How seeds are dealt out among the scenarios. What a seed plays changes where a story is added, so that seeds that found something
/// are played as they were dealt out then.
#[derive(Clone, Copy)]
pub struct Deal {
    /// How many stories take turns.
    pub stories: usize,
    /// Of eleven seeds those that play a story.
    pub places: &'static [u64],
    /// How many stories of elastic pools take turns.
    pub elastic: usize,
    /// Of the other seeds, and of seventeen, those that play one of these.
    pub elastic_places: &'static [u64],
    pub is_varied: bool,
}

impl Deal {
    pub const FIRST: Self =
        Self { stories: 13, places: &[4, 5, 8], elastic: 3, elastic_places: &[9], is_varied: false };
    pub const SECOND: Self = Self { stories: 17, places: &[1, 3, 4, 5, 8], is_varied: true, ..Self::FIRST };
    pub const THIRD: Self = Self { stories: 18, elastic: 6, elastic_places: &[2, 9, 14], ..Self::SECOND };
    pub const FOURTH: Self = Self { stories: 24, places: &[1, 3, 4, 5, 8, 10], ..Self::THIRD };
    pub const NOW: Self = Self { stories: stories::CONTRACT.len(), elastic: elastic::ELASTIC.len(), ..Self::FOURTH };
}

impl Plan {
    /// The history of a seed.
    pub fn of(seed: u64) -> Self {
        Self::dealt(seed, Deal::NOW)
    }

    pub fn dealt(seed: u64, Deal { stories, places, elastic, elastic_places, is_varied }: Deal) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let number = usize::try_from(seed).unwrap_or(0);
        if let Some(place) = places.iter().position(|rest| seed % 11 == *rest) {
            let turn = number / 11 * places.len() + place;
            let scenario = stories::CONTRACT[turn % stories];
            let drawn = Faults::drawn(&mut rng);
            // Every other one where nothing goes wrong.
            let faults = match turn / stories % 4 {
                _ if scenario.name == "late_tasks" => Faults::late_watches(),
                _ if scenario.name == "claims_side_by_side" => Faults::second_processes(),
                0 | 2 => drawn.orderly(),
                1 => drawn.outages(&mut rng),
                _ => drawn,
            };
            return Self { seed, scenario, faults, death: None, is_varied };
        }
        if let Some(place) = elastic_places.iter().position(|rest| seed % 17 == *rest) {
            let turn = number / 17 * elastic_places.len() + place;
            let scenario = elastic::ELASTIC[turn % elastic];
            let drawn = Faults::drawn(&mut rng);
            let faults = if (turn / elastic).is_multiple_of(2) { drawn.orderly() } else { drawn };
            return Self { seed, scenario, faults, death: None, is_varied };
        }
        let scenario = match seed {
            _ if seed % 997 == 996 => scenario::THOUSAND,
            _ if seed % 13 == 12 => scenario::PLAIN_EXEC,
            _ => scenario::ALL[number % scenario::ALL.len()],
        };
        Self { seed, scenario, faults: Faults::drawn(&mut rng), death: None, is_varied }
    }
}
