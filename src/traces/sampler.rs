//! Which traces go out.

use super::span::Context;

/// Decides by what is on record of a trace and by nothing else, so that an operator that was restarted decides the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether who began a trace decides of it.
    pub(super) heeds_caller: bool,
    /// The part of the other traces that goes out, from 0 to 1.
    pub(super) ratio: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { heeds_caller: true, ratio: 1.0 }
    }
}

impl Sampler {
    /// Whether what is of this trace goes out.
    pub fn takes(self, context: &Context) -> bool {
        context.sampled.filter(|_| self.heeds_caller).unwrap_or_else(|| chance(context.trace) >= 1.0 - self.ratio)
    }
}

/// From 0 to below 1. Only the last 56 bits of an id are sure to be random: the bits before them are a UUID's variant, always
/// the same, which the library's own sampler takes for chance.
/// <https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/#randomness-values>
fn chance(trace: u128) -> f64 {
    let [.., a, b, c, d, _, _, _] = trace.to_be_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / 2_f64.powi(32)
}
