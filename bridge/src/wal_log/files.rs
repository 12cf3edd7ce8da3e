//! What a log asks of a file system: one directory of files with names. A trait, so that tests can cut the power.
//!
//! Names are relative to the directory; one may lie in a directory below it. A file that is created is durable after its
//! `sync`, and its name after `sync_names`.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

pub trait Files: Debug + Send + Sync {
    /// Makes the directory if it is not there.
    fn make(&self) -> Result<()>;
    /// Names in the directory, in no order; none if there is no directory.
    fn names(&self) -> Result<Vec<String>>;
    /// The first `max` bytes of a file.
    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>>;
    /// A new file; an error if the name is taken.
    fn create(&self, name: &str) -> Result<Box<dyn LogFile>>;
    fn open(&self, name: &str) -> Result<Box<dyn LogFile>>;
    fn exists(&self, name: &str) -> Result<bool>;
    /// Replaces what has the other name.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Gives a file its name; an error if that is taken.
    fn publish(&self, from: &str, to: &str) -> Result<()>;
    fn remove(&self, name: &str) -> Result<()>;
    /// The directory and all below it.
    fn remove_all(&self) -> Result<()>;
    /// A directory below; what is moved there is durable after `sync_below`.
    fn make_below(&self, name: &str) -> Result<()>;
    fn sync_below(&self, name: &str) -> Result<()>;
    fn sync_names(&self) -> Result<()>;
    /// Where a file is, for people.
    fn place(&self, name: &str) -> String;
}

pub trait LogFile: Debug + Send {
    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()>;
    /// Gives the file its blocks, so that a later sync has no size to write.
    fn allocate(&self, size: u64) -> Result<()>;
    /// Gives back what is behind `size`.
    fn cut(&self, size: u64) -> Result<()>;
    fn sync(&self) -> Result<()>;
    /// Somebody removed its name.
    fn is_removed(&self) -> Result<bool>;
    /// Ours until it is closed, which the end of the process does too; false: it is somebody else's. A process that is
    /// stopped keeps it.
    fn try_lock(&self) -> Result<bool>;
}

/// A directory on a disk of this machine.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    fsync: bool,
}

#[derive(Debug)]
struct DiskFile {
    file: File,
    fsync: bool,
}

impl Disk {
    pub fn new(path: PathBuf, fsync: bool) -> Disk {
        Disk { path, fsync }
    }

    fn file(&self, file: File) -> Box<dyn LogFile> {
        Box::new(DiskFile { file, fsync: self.fsync })
    }
}

impl Files for Disk {
    fn make(&self) -> Result<()> {
        std::fs::create_dir_all(&self.path)?;
        self.path.ancestors().skip(1).take(3).try_for_each(|dir| sync_dir(dir, self.fsync))
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>> {
        let mut file = File::open(self.path.join(name))?;
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(size.min(max));
        Read::take(&mut file, max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> Result<Box<dyn LogFile>> {
        let path = self.path.join(name);
        Ok(self.file(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn open(&self, name: &str) -> Result<Box<dyn LogFile>> {
        Ok(self.file(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.path.join(name).try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn publish(&self, from: &str, to: &str) -> Result<()> {
        std::fs::hard_link(self.path.join(from), self.path.join(to))?;
        std::fs::remove_file(self.path.join(from))
    }

    fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn remove_all(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.path.parent().map_or(Ok(()), |above| sync_dir(above, self.fsync)),
        }
    }

    fn make_below(&self, name: &str) -> Result<()> {
        std::fs::create_dir_all(self.path.join(name))
    }

    fn sync_below(&self, name: &str) -> Result<()> {
        sync_dir(&self.path.join(name), self.fsync)
    }

    fn sync_names(&self) -> Result<()> {
        sync_dir(&self.path, self.fsync)
    }

    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl LogFile for DiskFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn allocate(&self, size: u64) -> Result<()> {
        let size = libc::off_t::try_from(size).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
        // SAFETY: the descriptor is open.
        match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), 0, size) } {
            0 => Ok(()),
            code => Err(Error::from_raw_os_error(code)),
        }
    }

    fn cut(&self, size: u64) -> Result<()> {
        self.file.set_len(size)
    }

    fn sync(&self) -> Result<()> {
        if self.fsync {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }

    fn is_removed(&self) -> Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    fn try_lock(&self) -> Result<bool> {
        // SAFETY: the descriptor is open.
        if unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = Error::last_os_error();
        match error.kind() {
            ErrorKind::WouldBlock => Ok(false),
            _ => Err(error),
        }
    }
}

fn sync_dir(path: &Path, fsync: bool) -> Result<()> {
    if fsync {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}
