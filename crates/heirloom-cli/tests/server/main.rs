//! `heirloom serve` as its clients see it: what clients of others make of it, its commands beside those of redis-server, upgrades under
//! load, hostile clients.

mod clients;
mod differential;
mod hostile;
mod kept;
mod kills;
mod life;
mod manager;
mod support;
mod upgrade;
