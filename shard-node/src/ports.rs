//! Free TCP ports of 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use rand::Rng;

use crate::{Error, Result};

/// Below the range that Linux hands to outgoing connections (ip_local_port_range, 32768 and up), so that none of
/// those takes the port between our look and the server's.
const CANDIDATES: Range<u16> = 15_000..32_700;

/// A port that nobody listens on now. Another process may still be quicker; the server then says so.
pub fn free_port() -> Result<u16> {
    let mut random = rand::rng();
    let mut tries = std::iter::repeat_with(|| random.random_range(CANDIDATES)).take(1000);
    tries.find(|port| is_free(*port)).ok_or(Error::NoFreePort)
}

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
