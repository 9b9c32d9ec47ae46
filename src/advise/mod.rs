//! Advice for one service from its recorded load: the settings that would have kept the load
//! within what its replicas carry, for so much of the time, with the fewest replica-hours. Chosen
//! by the first half of the history, judged by the second. Pure, and changes nothing.

pub(crate) mod advice;
pub(crate) mod brief;
pub(crate) mod document;
pub(crate) mod effort;
mod evaluator;
mod fragment;
mod judge;
mod load;
pub(crate) mod screen;
mod search;
mod tuning;
mod weekly;
#[cfg(test)]
mod tests;
