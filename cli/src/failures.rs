//! Failures of several things that are done one after the other.

use crate::{failure::Failure, print};

/// Failures of several, none of which keeps the others: the first of them is that of all, further ones are said.
#[derive(Debug, Default)]
pub struct Failures(Option<Failure>);

impl Failures {
    /// What came of the next; nothing where it failed.
    pub fn take<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        let failure = match result {
            Ok(done) => return Some(done),
            Err(failure) => failure,
        };
        match &self.0 {
            None => self.0 = Some(failure),
            Some(_) => print::note(failure.message),
        }
        None
    }

    /// That of all.
    pub fn result(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_does_not_keep_the_others() {
        let mut failures = Failures::default();
        let done: Vec<_> = [Ok(1), Err(Failure::ours("first")), Err(Failure::ours("second")), Ok(2)]
            .into_iter()
            .filter_map(|result| failures.take(result))
            .collect();
        assert_eq!((done, failures.result()), (vec![1, 2], Err(Failure::ours("first"))));
        assert_eq!(Failures::default().result(), Ok(()));
    }
}
