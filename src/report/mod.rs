//! A turn to what people read.

pub(crate) mod events;
pub(crate) mod status;
