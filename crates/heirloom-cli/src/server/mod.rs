//! `heirloom serve` and `heirloom upgrade`: the cache, and its next program. `check`, `client`: what virtual machines do with them.

pub(crate) mod check;
pub(crate) mod client;
mod serve;
mod upgrade;

pub(crate) use self::serve::{ServeArgs, run as serve};
pub(crate) use self::upgrade::{UpgradeArgs, run as upgrade};
