//! A directory in memory, with what a disk does that loses its power: what was not synced is gone, all of it or some
//! sectors. A sync that fails loses what it should have written for good, and the next one says that all is well, as
//! kernels do. For tests, and for the fuzzer.

use super::files::{Files, LogFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

#[derive(Debug, Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    on_disk: Vec<u8>,
    /// Sectors that a sync has to write.
    dirty: BTreeSet<usize>,
    names: usize,
    locked: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    inodes: Vec<Inode>,
    handles: usize,
    /// Syncs of files from now that succeed before one fails.
    #[cfg(test)]
    good_syncs: Option<usize>,
    /// Syncs of files that fail: one bit each, the next one lowest.
    #[cfg(test)]
    bad_syncs: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug)]
struct Handle {
    memory: Memory,
    inode: usize,
    number: usize,
}

fn absent() -> Error {
    Error::from(ErrorKind::NotFound)
}

impl Inode {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR..end.div_ceil(SECTOR));
    }

    fn persist(&mut self, sector: usize) {
        let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.bytes.len()));
        if from < to {
            self.on_disk.resize(self.on_disk.len().max(to), 0);
            self.on_disk[from..to].copy_from_slice(&self.bytes[from..to]);
        }
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
        self.on_disk.resize(self.bytes.len(), 0);
    }
}

impl State {
    fn inode(&mut self, name: &str) -> Result<&mut Inode> {
        let inode = *self.names.get(name).ok_or_else(absent)?;
        Ok(&mut self.inodes[inode])
    }

    fn unname(&mut self, name: &str) -> Result<()> {
        let inode = self.names.remove(name).ok_or_else(absent)?;
        self.inodes[inode].names -= 1;
        Ok(())
    }

    #[cfg(test)]
    fn sync_fails(&mut self) -> bool {
        let bad = self.bad_syncs & 1 != 0;
        self.bad_syncs >>= 1;
        if bad {
            return true;
        }
        match self.good_syncs {
            Some(0) => {
                self.good_syncs = None;
                true
            }
            Some(left) => {
                self.good_syncs = Some(left - 1);
                false
            }
            None => false,
        }
    }

    #[cfg(not(test))]
    fn sync_fails(&mut self) -> bool {
        false
    }
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }

    pub fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn handle(&self, state: &mut State, inode: usize) -> Box<dyn LogFile> {
        state.handles += 1;
        Box::new(Handle { memory: self.clone(), inode, number: state.handles })
    }

    /// Puts a file there, durable.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let _ = state.unname(name);
        state.inodes.push(Inode {
            bytes: bytes.to_vec(),
            on_disk: bytes.to_vec(),
            names: 1,
            ..Inode::default()
        });
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_string(), inode);
        state.names_on_disk.insert(name.to_string(), inode);
    }
}

#[cfg(test)]
impl Memory {
    /// What is on the disk when the power comes back. `keeps` says which of the sectors that were not synced got there.
    pub fn after_power_cut(&self, mut keeps: impl FnMut() -> bool) -> Memory {
        let state = self.state();
        let after = Memory::new();
        for (name, inode) in &state.names_on_disk {
            let mut inode = state.inodes[*inode].clone();
            for sector in std::mem::take(&mut inode.dirty) {
                if keeps() {
                    inode.persist(sector);
                }
            }
            after.put(name, &inode.on_disk);
        }
        drop(state);
        after
    }

    /// A copy of it as its processes see it.
    pub fn copy(&self) -> Memory {
        let state = self.state();
        let copy = Memory::new();
        for (name, inode) in &state.names {
            copy.put(name, &state.inodes[*inode].bytes);
        }
        copy
    }

    /// After so many good ones a sync of a file fails.
    pub fn fail_sync_after(&self, good: usize) {
        self.state().good_syncs = Some(good);
    }

    /// One bit for each sync of a file from now on, the next one lowest: 1 fails.
    pub fn fail_syncs(&self, pattern: u64) {
        self.state().bad_syncs = pattern;
    }

    /// Also those in directories below.
    pub fn all_names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// The locks of processes that were killed.
    pub fn kill_all(&self) {
        self.state().inodes.iter_mut().for_each(|inode| inode.locked = None);
    }

    pub fn bytes(&self) -> usize {
        let state = self.state();
        state.names.values().map(|inode| state.inodes[*inode].bytes.len()).sum()
    }
}

impl Files for Memory {
    fn make(&self) -> Result<()> {
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>> {
        let state = self.state();
        Ok(state.names.keys().filter(|name| !name.contains('/')).cloned().collect())
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>> {
        let mut state = self.state();
        let bytes = &state.inode(name)?.bytes;
        Ok(bytes[..bytes.len().min(max)].to_vec())
    }

    fn size(&self, name: &str) -> Result<u64> {
        Ok(self.state().inode(name)?.bytes.len() as u64)
    }

    fn create(&self, name: &str) -> Result<Box<dyn LogFile>> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(Error::from(ErrorKind::AlreadyExists));
        }
        state.inodes.push(Inode { names: 1, ..Inode::default() });
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_string(), inode);
        Ok(self.handle(&mut state, inode))
    }

    fn open(&self, name: &str) -> Result<Box<dyn LogFile>> {
        let mut state = self.state();
        let inode = *state.names.get(name).ok_or_else(absent)?;
        Ok(self.handle(&mut state, inode))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.state().names.contains_key(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or_else(absent)?;
        let _ = state.unname(to);
        state.names.insert(to.to_string(), inode);
        Ok(())
    }

    fn publish(&self, from: &str, to: &str) -> Result<()> {
        if self.exists(to)? {
            return Err(Error::from(ErrorKind::AlreadyExists));
        }
        self.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.state().unname(name)
    }

    fn remove_all(&self) -> Result<()> {
        let names: Vec<String> = self.state().names.keys().cloned().collect();
        names.iter().try_for_each(|name| self.remove(name))
    }

    fn make_below(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn sync_below(&self, _name: &str) -> Result<()> {
        self.sync_names()
    }

    fn sync_names(&self) -> Result<()> {
        let mut state = self.state();
        state.names_on_disk = state.names.clone();
        Ok(())
    }

    fn place(&self, name: &str) -> String {
        format!("log/{name}")
    }
}

impl LogFile for Handle {
    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.memory.state().inodes[self.inode].write(at as usize, bytes);
        Ok(())
    }

    fn allocate(&self, size: u64) -> Result<()> {
        let mut state = self.memory.state();
        let bytes = &mut state.inodes[self.inode].bytes;
        bytes.resize(bytes.len().max(size as usize), 0);
        Ok(())
    }

    fn cut(&self, size: u64) -> Result<()> {
        self.memory.state().inodes[self.inode].bytes.truncate(size as usize);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.memory.state();
        if state.sync_fails() {
            state.inodes[self.inode].dirty.clear();
            return Err(Error::from_raw_os_error(libc::EIO));
        }
        state.inodes[self.inode].sync();
        Ok(())
    }

    fn is_removed(&self) -> Result<bool> {
        Ok(self.memory.state().inodes[self.inode].names == 0)
    }

    fn try_lock(&self) -> Result<bool> {
        let mut state = self.memory.state();
        let holder = state.inodes[self.inode].locked.get_or_insert(self.number);
        Ok(*holder == self.number)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        let locked = &mut state.inodes[self.inode].locked;
        if *locked == Some(self.number) {
            *locked = None;
        }
    }
}
