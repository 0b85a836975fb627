//! The command line as people and scripts meet it: the program itself against canned answers of a daemon.

mod endings;
mod fake_api;
mod fixtures;
mod help;
mod networks;
mod payloads;
mod requests;
mod service_fixtures;
mod services;
mod texts;
