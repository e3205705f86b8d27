//! The command as people and programs run it: real processes, real files, exit statuses.

mod check;
mod demo;
mod foreign;
mod lab;
mod support;
