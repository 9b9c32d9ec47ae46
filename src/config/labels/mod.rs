//! Services that labels of docker compose's containers configure. A label `plimsoll.PATH` is the
//! key `services.NAME.PATH`; the labels become the tree that a file's text becomes, so that one
//! parser reads both.

#[cfg(test)]
mod agreement;
mod read;
mod resolve;
mod short_forms;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

pub(crate) use crate::config::labels::read::is_off;
pub(crate) use crate::config::labels::resolve::{ComposeLabels, Resolution, check, resolve};
