//! The bounds that the operator set. They win over every earlier stage.

use crate::model::bounds::Bounds;
use crate::model::reason::{Cause, Rule};

/// A number outside the bounds is put right at once, without a look at load or cooldown.
pub(crate) fn correction(current: u32, bounds: Bounds) -> Option<Rule> {
    if current < bounds.min() {
        Some(Rule::BelowMin(bounds.min()))
    } else if bounds.max() < current {
        Some(Rule::AboveMax(bounds.max()))
    } else {
        None
    }
}

pub(crate) fn to_bounds(proposed: u32, bounds: Bounds, because: &mut Vec<Cause>) -> u32 {
    let number = proposed.clamp(bounds.min(), bounds.max());
    because.extend(correction(proposed, bounds).map(|rule| Cause { rule, number }));
    number
}
