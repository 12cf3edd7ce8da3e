//! A writer's time in a log, from the fencing of those before it to its end.
//!
//! A writer that never appended takes its files with it when it goes, so that opens that fail leave nothing behind. From
//! its first record on they stay, and from the moment the collector removes anything because this writer's segment holds
//! it too.

use super::book::{Note, Presence};
use super::dir::LogDir;
use super::files::{or_absent, UNFINISHED};
use super::segment::SegmentName;
use std::io::Result;
use std::sync::{Mutex, MutexGuard};

#[derive(Debug)]
struct Stay {
    /// None: it has left.
    presence: Option<Presence>,
    kept: bool,
}

#[derive(Debug)]
pub struct Tenure {
    pub dir: LogDir,
    pub epoch: u64,
    stay: Mutex<Stay>,
}

impl Tenure {
    pub fn begin(dir: &LogDir, epoch: u64) -> Result<Tenure> {
        let presence = Presence::enter(dir.files.as_ref(), epoch)?;
        let stay = Mutex::new(Stay { presence: Some(presence), kept: false });
        Ok(Tenure { dir: dir.clone(), epoch, stay })
    }

    fn lock(&self) -> MutexGuard<'_, Stay> {
        self.stay.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The files stay; false: they have gone.
    pub fn keep(&self) -> bool {
        let mut stay = self.lock();
        stay.kept |= stay.presence.is_some();
        stay.kept
    }

    /// Says this durably.
    pub fn note(&self, note: Note) -> Result<()> {
        self.lock().presence.as_mut().map_or(Ok(()), |presence| presence.note(note))
    }

    /// Says durably that the newest segment has so many bytes.
    pub fn note_size(&self, size: u64) -> Result<()> {
        self.lock().presence.as_mut().map_or(Ok(()), |presence| {
            let noted = presence.noted();
            presence.note(Note { size, ..noted })
        })
    }

    /// Says durably that nothing more comes: all that was acknowledged is below this id.
    pub fn note_end(&self, durable_below: u64) -> Result<()> {
        let mut stay = self.lock();
        let kept = stay.kept;
        match &mut stay.presence {
            Some(presence) if kept => {
                let noted = presence.noted();
                presence.note(Note { size: 0, durable_below, ..noted })
            }
            _ => Ok(()),
        }
    }

    /// Nobody came after, and nobody made the log anew. To be asked once a new segment has its name: who takes over
    /// afterwards finds that segment, and marks this epoch before reading it.
    pub fn is_current(&self) -> Result<bool> {
        let removed =
            self.lock().presence.as_ref().is_none_or(|presence| presence.is_removed().unwrap_or(true));
        Ok(!removed && !self.dir.is_fenced(self.epoch)? && !self.dir.has_newer(self.epoch)?)
    }

    /// Nothing is written in this epoch's name any more.
    pub fn end(&self) {
        let mut stay = self.lock();
        if stay.presence.is_some() && !stay.kept {
            if let Err(error) = self.take_files() {
                log::warn!("{}: what a writer left: {error}", self.dir.files.place(""));
            }
        }
        stay.presence = None;
    }

    /// The book first: without it no segment is missing.
    fn take_files(&self) -> Result<()> {
        self.dir.remove_writer(self.epoch)?;
        for name in self.dir.list()?.segments.into_iter().filter(|name| name.epoch == self.epoch) {
            self.dir.remove(name)?;
        }
        or_absent(self.dir.files.remove(&(SegmentName { epoch: self.epoch, number: 0 }.file() + UNFINISHED)))
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.end();
    }
}
