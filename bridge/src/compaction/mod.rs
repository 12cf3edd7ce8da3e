//! Merging sorted files: what (policy.rs), where first (scheduler.rs), how fast (pace.rs), and from when to when (merger.rs).

mod merger;
mod pace;
mod policy;
mod scheduler;

pub use merger::{MakeCompactor, Merger};
pub use pace::{Account, Pace, PacedStore};
pub use policy::{Policy, POLICY_KEYS};
pub use scheduler::{with_spare_place, Supplier};
