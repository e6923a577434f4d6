//! Claims of a pool where each costs it a pod. Hardly ever is there such a pool, and a look is all that others pay for it.

use jiff::Timestamp;

use super::{refused::ClaimRefusal, tables::Cache};
use crate::object::Key;

impl Cache {
    /// A pod of this pool is to be claimed.
    ///
    /// # Errors
    /// Where its claims cost it pods, and it is not the time for one.
    pub fn try_one(&self, pool: &Key, now: Timestamp) -> Result<(), ClaimRefusal> {
        let is_costly = self.read().is_costly(pool);
        if is_costly { self.write().try_one(pool, now) } else { Ok(()) }
    }

    /// A claim of this pool holds. Returns the Sandboxes that wait to hear so.
    pub fn claim_holds(&self, pool: &Key) -> Vec<Key> {
        let is_costly = self.read().is_costly(pool);
        if is_costly { self.write().claim_holds(pool) } else { Vec::new() }
    }
}
