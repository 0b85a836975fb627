//! The process runtime with real processes: what a task may count on, and what is left of it afterwards.

mod life;
mod limits;
mod logs;
mod many;
mod outlive;
mod secrets;
mod world;
