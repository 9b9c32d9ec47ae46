//! A turn to what people read.

pub(crate) mod events;
mod repeated;
pub(crate) mod status;
