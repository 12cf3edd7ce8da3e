//! Merging sorted files: what (policy.rs), where first (scheduler.rs) and how fast (pace.rs).

mod pace;
mod policy;
mod scheduler;

pub use pace::{Account, Pace, PacedStore};
pub use policy::{Policy, POLICY_KEYS};
pub use scheduler::{with_spare_place, Supplier};
