//! The configured bounds. They win over every earlier stage.

use crate::model::bounds::Bounds;
use crate::model::reason::{AppliedRule, Rule};

/// The rule that corrects a number outside the bounds, whatever load and cooldown say.
pub(crate) fn correction(current: u32, bounds: Bounds) -> Option<Rule> {
    if current < bounds.min() {
        Some(Rule::BelowMin(bounds.min()))
    } else if bounds.max() < current {
        Some(Rule::AboveMax(bounds.max()))
    } else {
        None
    }
}

pub(crate) fn to_bounds(proposed: u32, bounds: Bounds, because: &mut Vec<AppliedRule>) -> u32 {
    let number = proposed.clamp(bounds.min(), bounds.max());
    because.extend(correction(proposed, bounds).map(|rule| AppliedRule { rule, number }));
    number
}
