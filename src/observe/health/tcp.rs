//! A connection that opens passes.

use std::net::SocketAddr;
use std::time::Duration;

use crate::outside::{Net, Result};

pub(crate) fn probe(net: &dyn Net, to: SocketAddr, timeout: Duration) -> Result<()> {
    net.connect(to, timeout)
}
